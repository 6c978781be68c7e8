//! When requests come and how long they are: a recorded trace, or one generated with its statistics.
//!
//! A recorded trace is a table with the columns `TIMESTAMP,ContextTokens,GeneratedTokens`, the form of the Azure LLM inference
//! traces of 2023 (Azure/AzurePublicDataset, CC-BY 4.0). What is generated has the rates, medians and burstiness of those two.

use ouro_common::error::{Fault, FaultCode};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp, LogNormal};

/// A request of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Seconds since the first of the trace.
    pub at_s: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: f64,
    /// Tokens that were generated.
    pub output_tokens: f64,
}

/// A trace with a name for tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// As tables show it.
    pub name: String,
    /// In order of time.
    pub arrivals: Vec<Arrival>,
}

/// What a generated trace is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    name: &'static str,
    per_s: f64,
    /// Coefficient of variation of the gaps between requests.
    burstiness: f64,
    prompt: (f64, f64),
    output: (f64, f64),
}

/// Conversations: nearly Poisson, 5.53 a second; half of the prompts up to 1,020 tokens, half of the answers up to 129.
pub const CHAT: Shape = Shape { name: "chat (generated)", per_s: 5.53, burstiness: 1.09, prompt: (1020.0, 0.9), output: (129.0, 0.9) };
/// Completions of code: bursts, 2.57 a second; long prompts, half of the answers up to 13 tokens.
pub const CODE: Shape = Shape { name: "code (generated)", per_s: 2.57, burstiness: 13.0, prompt: (1469.0, 0.8), output: (13.0, 0.9) };

impl Trace {
    /// Reads a recorded trace.
    ///
    /// # Errors
    /// The first line that is not as the header says.
    pub fn parse(name: &str, text: &str) -> Result<Self, Fault> {
        let mut arrivals = Vec::new();
        let mut first = None;
        for (index, line) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
            let wrong = || {
                Fault::new(FaultCode::InvalidArgument, "not a row of a trace")
                    .at(format!("{name}, line {}", index + 1))
                    .remedy("a row is TIMESTAMP,ContextTokens,GeneratedTokens, like 2023-11-16 18:17:03.97,4808,10")
            };
            let mut fields = line.trim().split(',');
            let (Some(at), Some(prompt), Some(output), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
                return Err(wrong());
            };
            let at = seconds(at).ok_or_else(wrong)?;
            let tokens = |text: &str| text.parse::<u32>().map(f64::from).map_err(|_| wrong());
            let at_s = at - *first.get_or_insert(at);
            arrivals.push(Arrival { at_s, prompt_tokens: tokens(prompt)?, output_tokens: tokens(output)?.max(1.0) });
        }
        if arrivals.len() < 2 {
            return Err(Fault::new(FaultCode::InvalidArgument, "a trace needs two requests or more").at(name));
        }
        arrivals.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        Ok(Self { name: name.into(), arrivals })
    }

    /// `count` requests of a shape.
    pub fn generate(shape: Shape, count: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut at_s = 0.0;
        let next = |_| {
            at_s += gap(shape, rng);
            let length = |(median, sigma): (f64, f64), rng: &mut ChaCha8Rng| spread(median, sigma, rng).round().clamp(1.0, 16_384.0);
            Arrival { at_s, prompt_tokens: length(shape.prompt, rng), output_tokens: length(shape.output, rng) }
        };
        Self { name: shape.name.into(), arrivals: (0..count).map(next).collect() }
    }

    /// `count` requests in a row from anywhere in the trace, with their times spread so that `per_s` come each second.
    pub fn window(&self, count: usize, per_s: f64, rng: &mut ChaCha8Rng) -> Vec<Arrival> {
        let count = count.clamp(2, self.arrivals.len());
        let start = rng.random_range(0..=self.arrivals.len() - count);
        let window = &self.arrivals[start..start + count];
        let (begin, end) = (window[0].at_s, window[count - 1].at_s);
        let stretch = (count as f64 / per_s) / (end - begin).max(1e-9);
        window.iter().map(|a| Arrival { at_s: (a.at_s - begin) * stretch, ..*a }).collect()
    }

    /// The mean number of tokens that are generated.
    pub fn mean_output(&self) -> f64 {
        self.arrivals.iter().map(|a| a.output_tokens).sum::<f64>() / self.arrivals.len() as f64
    }
}

/// A log-normal figure with this median.
pub(super) fn spread(median: f64, sigma: f64, rng: &mut ChaCha8Rng) -> f64 {
    LogNormal::new(median.ln(), sigma).map_or(median, |d| d.sample(rng))
}

/// An exponential figure with this mean.
pub(super) fn waiting(mean: f64, rng: &mut ChaCha8Rng) -> f64 {
    Exp::new(1.0 / mean).map_or(mean, |d| d.sample(rng))
}

/// A gap between two requests: hyperexponential with balanced means, which has any coefficient of variation from one on.
fn gap(shape: Shape, rng: &mut ChaCha8Rng) -> f64 {
    let square = shape.burstiness * shape.burstiness;
    let often = 0.5 * (1.0 + ((square - 1.0) / (square + 1.0)).max(0.0).sqrt());
    let share = if rng.random_bool(often) { often } else { 1.0 - often };
    waiting(1.0 / (2.0 * share * shape.per_s), rng)
}

/// Seconds of `YYYY-MM-DD HH:MM:SS.fff`; days are counted as far as one month needs it.
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.trim().split_once(' ')?;
    let day: f64 = date.rsplit('-').next()?.parse().ok()?;
    let mut parts = time.split(':').map(|p| p.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let total = ((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds;
    (parts.next().is_none() && total.is_finite()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn rows_are_read_and_wrong_ones_named() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5,4808,10\n2023-11-17 00:00:01.0000000,3180,8\n";
        let trace = Trace::parse("code.csv", text).unwrap();
        assert_eq!(trace.arrivals[1], Arrival { at_s: 1.5, prompt_tokens: 3180.0, output_tokens: 8.0 });
        for bad in ["yesterday,1,2", "2023-11-16 18:17:03,many,2", "2023-11-16 18:17:03,1", "2023-11-16 18:17:03,1,2,3"] {
            let fault = Trace::parse("t.csv", &format!("{text}{bad}\n")).unwrap_err();
            assert!(fault.at.contains("t.csv, line 4"), "{fault}");
        }
        assert!(Trace::parse("t.csv", "TIMESTAMP\n").is_err());
    }

    #[test]
    fn what_is_generated_has_the_statistics_of_the_recorded_traces() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (shape, tolerance) in [(CHAT, 0.05), (CODE, 0.5)] {
            let trace = Trace::generate(shape, 40_000, &mut rng);
            let gaps: Vec<f64> = trace.arrivals.windows(2).map(|w| w[1].at_s - w[0].at_s).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean * shape.per_s - 1.0).abs() < tolerance, "{mean}");
            assert!((variance.sqrt() / mean / shape.burstiness - 1.0).abs() < tolerance, "{}", variance.sqrt() / mean);
            let mut prompts: Vec<f64> = trace.arrivals.iter().map(|a| a.prompt_tokens).collect();
            prompts.sort_by(f64::total_cmp);
            assert!((prompts[20_000] / shape.prompt.0 - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn a_window_has_the_rate_that_was_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let window = Trace::generate(CHAT, 5_000, &mut rng).window(1_000, 0.25, &mut rng);
        assert_eq!((window.len(), window[0].at_s), (1_000, 0.0));
        assert!((window[999].at_s / 4_000.0 - 1.0).abs() < 1e-9);
    }
}
