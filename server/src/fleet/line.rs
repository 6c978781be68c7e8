//! What is known of the line to a node: its round trip as the kernel and as pings measured it, and its rates as transfers showed them.

use ouro_common::mfpi::LinkFactors;
use ouro_proto::channel::TcpFigures;
use std::time::Duration;

/// What is assumed of a link's rate until transfers have measured it: 100 Mbit/s, as the reference node.
pub(super) const UNMEASURED_BYTES_PER_S: f64 = 12.5e6;
/// Figures that differ by less than this share are the same: they would only make every decision read every node anew.
const SAME: f64 = 0.1;
/// Pings that never took less than so much more than the kernel's shortest round trip, and twice as long, went farther, seconds.
const BETWEEN_S: f64 = 0.005;

/// A line's figures so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    /// What the kernel said last; its rate is the last one that the network set.
    measured: Option<TcpFigures>,
    pings: Option<Pings>,
    /// Smoothed seconds a byte, to the node and from it. Not its inverse: what a slow transfer takes counts in full.
    down_s_per_byte: Option<f64>,
    up_s_per_byte: Option<f64>,
}

/// Smoothed round trip, as RFC 6298 has it: α = 1/8, β = 1/4.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pings {
    srtt_s: f64,
    rttvar_s: f64,
    /// The shortest so far.
    least_s: f64,
}

impl Pings {
    fn after(previous: Option<Self>, sample_s: f64) -> Self {
        match previous {
            None => Self { srtt_s: sample_s, rttvar_s: sample_s / 2.0, least_s: sample_s },
            Some(p) => Self {
                rttvar_s: 0.75 * p.rttvar_s + 0.25 * (p.srtt_s - sample_s).abs(),
                srtt_s: 0.875 * p.srtt_s + 0.125 * sample_s,
                least_s: p.least_s.min(sample_s),
            },
        }
    }
}

impl Line {
    /// A ping was answered.
    pub(super) fn pinged(&mut self, took: Duration) {
        self.pings = Some(Pings::after(self.pings, took.as_secs_f64()));
    }

    /// The kernel was asked; whether that changes anything.
    pub(super) fn measured(&mut self, fresh: TcpFigures) -> bool {
        let before = self.measured;
        let delivered_bytes_per_s = fresh.delivered_bytes_per_s.or(before.and_then(|b| b.delivered_bytes_per_s));
        let figures = TcpFigures { delivered_bytes_per_s, ..fresh };
        let differs = before.is_none_or(|before| differ(&before, &figures));
        if differs {
            self.measured = Some(figures);
        }
        differs
    }

    /// A blob came from the node at this rate, bytes per second. `held_up`: somebody slower took it, so that the line could do at least
    /// that. Whether the line's rate has become another one.
    pub(super) fn came_up(&mut self, bytes_per_s: f64, held_up: bool) -> bool {
        smooth(&mut self.up_s_per_byte, 1.0 / bytes_per_s, held_up)
    }

    /// A blob went to the node, at the rate at which it was handed over and the one that the kernel saw, where they tell something.
    pub(super) fn went_down(&mut self, (counted, kernel): (Option<f64>, Option<f64>), held_up: bool) -> bool {
        // The kernel sees no farther than to a relay.
        let kernel = kernel.filter(|_| !self.is_relayed());
        let rate = [counted, kernel].into_iter().flatten().min_by(f64::total_cmp);
        rate.is_some_and(|rate| smooth(&mut self.down_s_per_byte, 1.0 / rate, held_up))
    }

    /// Whether something ends the connection long before the node: a relay, a proxy, a tunnel. The kernel measures to there.
    fn is_relayed(&self) -> bool {
        let (Some(kernel), Some(pings)) = (self.measured, self.pings) else {
            return false;
        };
        pings.least_s > 2.0 * kernel.min_rtt.as_secs_f64() + BETWEEN_S
    }

    /// Smoothed round trip and its mean deviation, seconds; `None` before anything was measured.
    ///
    /// The kernel's includes acknowledgements that were put off (RFC 1122, 4.2.3.2), a ping's what the processors on its way did: none of
    /// them is too short, so the shorter one is nearer.
    fn round_trip(&self) -> Option<(f64, f64)> {
        let pings = self.pings.map(|p| (p.srtt_s, p.rttvar_s));
        let kernel = self.measured.map(|m| (m.srtt.as_secs_f64(), m.rttvar.as_secs_f64()));
        match (kernel.filter(|_| !self.is_relayed()), pings) {
            (Some(kernel), Some(pings)) if pings.0 < kernel.0 => Some(pings),
            (kernel, pings) => kernel.or(pings),
        }
    }

    /// The rate to the node, if the network ever set it, bytes per second.
    pub(super) fn delivered_bytes_per_s(&self) -> Option<f64> {
        self.measured.filter(|_| !self.is_relayed()).and_then(|m| m.delivered_bytes_per_s)
    }

    /// As predictions use it.
    pub(super) fn factors(&self) -> Option<LinkFactors> {
        let (srtt_s, rttvar_s) = self.round_trip()?;
        let rates = [self.delivered_bytes_per_s(), self.down_s_per_byte.map(|s| 1.0 / s)];
        let down = rates.into_iter().flatten().min_by(f64::total_cmp);
        Some(LinkFactors {
            srtt_s,
            rttvar_s,
            down_bytes_per_s: down.unwrap_or(UNMEASURED_BYTES_PER_S),
            up_bytes_per_s: self.up_s_per_byte.map_or(UNMEASURED_BYTES_PER_S, |s| 1.0 / s),
        })
    }
}

fn differ(a: &TcpFigures, b: &TcpFigures) -> bool {
    let apart = |a: f64, b: f64| (a - b).abs() > SAME * a.max(b);
    let rate = match (a.delivered_bytes_per_s, b.delivered_bytes_per_s) {
        (Some(a), Some(b)) => apart(a, b),
        (a, b) => a.is_some() != b.is_some(),
    };
    let times = |of: fn(&TcpFigures) -> Duration| apart(of(a).as_secs_f64(), of(b).as_secs_f64());
    rate || times(|f| f.srtt) || times(|f| f.rttvar) || times(|f| f.min_rtt)
}

/// Smooths seconds a byte; whether they have become others.
fn smooth(figure: &mut Option<f64>, sample: f64, held_up: bool) -> bool {
    if !sample.is_finite() || figure.is_some_and(|known| held_up && sample >= known) {
        return false;
    }
    let next = figure.map_or(sample, |before| 0.75 * before + 0.25 * sample);
    let moved = figure.is_none_or(|before| (before - next).abs() > SAME * before.max(next));
    *figure = Some(next);
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn line(kernel: Option<(u64, u64)>, pings: &[u64]) -> Line {
        let mut line = Line::default();
        if let Some((srtt, least)) = kernel {
            line.measured(TcpFigures { srtt: ms(srtt), rttvar: ms(1), min_rtt: ms(least), delivered_bytes_per_s: Some(1e9) });
        }
        pings.iter().for_each(|ping| line.pinged(ms(*ping)));
        line
    }

    #[test]
    fn pings_know_the_way_behind_a_relay_and_the_shorter_figure_is_nearer() {
        let srtt_ms = |line: Line| line.round_trip().map(|(srtt_s, _)| (srtt_s * 1e3).round());
        assert_eq!(srtt_ms(Line::default()), None);
        assert_eq!(srtt_ms(line(Some((0, 0)), &[80, 80])), Some(80.0), "a relay");
        assert_eq!(srtt_ms(line(Some((40, 0)), &[80, 80])), Some(80.0), "a relay that puts its acknowledgements off");
        assert_eq!(srtt_ms(line(Some((40, 1)), &[3, 3])), Some(3.0), "acknowledgements that were put off");
        assert_eq!(srtt_ms(line(Some((1, 1)), &[30, 4, 30])), Some(1.0), "a busy processor");
        assert_eq!((srtt_ms(line(None, &[7])), srtt_ms(line(Some((9, 9)), &[]))), (Some(7.0), Some(9.0)));
    }

    #[test]
    fn transfers_show_what_a_line_carries() {
        let mut line = line(Some((1, 1)), &[1]);
        assert_eq!(line.factors().unwrap().up_bytes_per_s, UNMEASURED_BYTES_PER_S);
        let up = |line: &mut Line, rate, held_up| {
            line.came_up(rate, held_up);
            line.factors().unwrap().up_bytes_per_s
        };
        assert_eq!(up(&mut line, 1e6, false), 1e6);
        assert_eq!(up(&mut line, 1e3, true), 1e6, "whoever took it was slow");
        assert!((up(&mut line, 2e6, true) - 1e6 / 0.875).abs() < 1.0, "times are smoothed");
        line.went_down((Some(4e6), Some(8e6)), false);
        assert_eq!(line.factors().unwrap().down_bytes_per_s, 4e6);
        assert!(!line.went_down((None, None), false));
    }

    #[test]
    fn the_kernel_says_nothing_of_the_rate_behind_a_relay() {
        let mut far = line(Some((0, 0)), &[80]);
        assert_eq!((far.delivered_bytes_per_s(), far.factors().unwrap().down_bytes_per_s), (None, UNMEASURED_BYTES_PER_S));
        far.went_down((None, Some(3e9)), false);
        assert_eq!(far.factors().unwrap().down_bytes_per_s, UNMEASURED_BYTES_PER_S);
        assert_eq!(line(Some((1, 1)), &[1]).factors().unwrap().down_bytes_per_s, 1e9);
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_has_it() {
        let first = Pings::after(None, 0.100);
        assert_eq!((first.srtt_s, first.rttvar_s), (0.100, 0.050));
        let second = Pings::after(Some(first), 0.200);
        assert!((second.srtt_s - 0.1125).abs() < 1e-12);
        assert!((second.rttvar_s - 0.0625).abs() < 1e-12);
        assert_eq!(second.least_s, 0.1);
    }
}
