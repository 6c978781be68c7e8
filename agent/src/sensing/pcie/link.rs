//! The four link files of a PCI function, and the slowest of several hops.

use crate::sensing::host_root::Place;
use crate::sensing::scan::Scan;
use ouro_common::device::PcieLink;

/// What the link files of one function say; each may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct HopLink {
    pub(crate) current_gt_per_s: Option<f64>,
    pub(crate) current_lanes: Option<u32>,
    pub(crate) max_gt_per_s: Option<f64>,
    pub(crate) max_lanes: Option<u32>,
    /// A file is there but says `Unknown`, or a width of 0, 63 or 255: there is no link, or no device any more.
    pub(crate) no_link: Option<NoLink>,
}

/// Why link files hold no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoLink {
    /// Width 0 and no width that it could have: the function is part of the processor.
    Internal,
    /// Width 0 of a link that could have lanes: it is down, its device asleep or not there.
    Down,
    /// All-ones reads: the device is gone or asleep.
    Gone,
}

impl HopLink {
    pub(crate) fn read(scan: &Scan<'_>, function: &Place) -> Self {
        let speed = |name: &str| scan.text(&function.join(name));
        let width = |name: &str| scan.number::<u32>(&function.join(name));
        let (raw_current, raw_max) = (width("current_link_width"), width("max_link_width"));
        Self {
            current_gt_per_s: speed("current_link_speed").and_then(|text| parse_speed(&text)),
            current_lanes: raw_current.and_then(is_width),
            max_gt_per_s: speed("max_link_speed").and_then(|text| parse_speed(&text)),
            max_lanes: raw_max.and_then(is_width),
            no_link: no_link(raw_current, raw_max),
        }
    }

    pub(crate) fn current(&self) -> Option<PcieLink> {
        PcieLink::new(self.current_gt_per_s?, self.current_lanes?)
    }

    pub(crate) fn max(&self) -> Option<PcieLink> {
        PcieLink::new(self.max_gt_per_s?, self.max_lanes?)
    }

    /// Whether any figure was read.
    pub(crate) fn has_figures(&self) -> bool {
        self.current().is_some() || self.max().is_some()
    }

    /// What the hop carries under load: idle devices lower the speed and keep the width.
    pub(crate) fn capability(&self) -> Option<PcieLink> {
        if self.no_link.is_some() {
            return None;
        }
        PcieLink::new(self.max_gt_per_s.or(self.current_gt_per_s)?, self.current_lanes.or(self.max_lanes)?)
    }
}

/// What widths mean that are none. The kernel writes 255 for a maximum where the function has no such register.
fn no_link(current: Option<u32>, max: Option<u32>) -> Option<NoLink> {
    match current.or(max)? {
        0 if max.is_some_and(|max| is_width(max).is_some()) => Some(NoLink::Down),
        0 => Some(NoLink::Internal),
        lanes if is_width(lanes).is_none() => Some(NoLink::Gone),
        _ => None,
    }
}

fn is_width(lanes: u32) -> Option<u32> {
    PcieLink::new(2.5, lanes).map(|link| link.lanes)
}

/// Reads `8 GT/s`, `8.0 GT/s PCIe`, `2.5 GT/s`; `None` for `Unknown` and speeds that do not exist.
pub(crate) fn parse_speed(text: &str) -> Option<f64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let gt_per_s = number.parse().ok()?;
    (unit.trim_start().starts_with("GT/s") && PcieLink::new(gt_per_s, 1).is_some()).then_some(gt_per_s)
}

/// The slowest hop in bytes per second; hops without figures say nothing.
pub(crate) fn slowest<'a>(hops: impl Iterator<Item = &'a HopLink>) -> Option<f64> {
    hops.filter_map(HopLink::capability).map(|link| link.bytes_per_s).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_speed_is_read() {
        for (text, gt) in [("8 GT/s", 8.0), ("8.0 GT/s PCIe", 8.0), ("2.5 GT/s PCIe", 2.5), ("5 GT/s", 5.0), ("64.0 GT/s PCIe", 64.0)] {
            assert_eq!(parse_speed(text), Some(gt), "{text}");
        }
        for text in ["Unknown", "Unknown speed", "", "8", "GT/s", "7.3 GT/s", "NaN GT/s", "inf GT/s", "-8 GT/s"] {
            assert_eq!(parse_speed(text), None, "{text}");
        }
    }

    #[test]
    fn widths_that_are_none_are_told_apart() {
        assert_eq!(no_link(Some(0), Some(0)), Some(NoLink::Internal));
        assert_eq!(no_link(Some(0), Some(255)), Some(NoLink::Internal), "no such register");
        assert_eq!(no_link(Some(0), None), Some(NoLink::Internal));
        assert_eq!(no_link(Some(0), Some(4)), Some(NoLink::Down), "a drive that sleeps is no part of the processor");
        assert_eq!(no_link(Some(63), Some(63)), Some(NoLink::Gone));
        assert_eq!(no_link(None, Some(255)), Some(NoLink::Gone));
        assert_eq!((no_link(Some(4), Some(255)), no_link(Some(4), Some(4)), no_link(None, None)), (None, None, None));
    }

    #[test]
    fn a_hop_counts_with_its_maximum_speed_at_its_present_width() {
        let port = HopLink {
            max_gt_per_s: Some(16.0),
            max_lanes: Some(8),
            current_gt_per_s: Some(2.5),
            current_lanes: Some(4),
            no_link: None,
        };
        let device = HopLink { current_gt_per_s: Some(8.0), current_lanes: Some(4), ..HopLink::default() };
        assert_eq!(port.capability(), PcieLink::new(16.0, 4));
        assert_eq!(slowest([&port, &device, &HopLink::default()].into_iter()), PcieLink::new(8.0, 4).map(|l| l.bytes_per_s));
        assert_eq!(slowest(std::iter::empty()), None);
        let gone = HopLink { no_link: Some(NoLink::Gone), ..port };
        assert_eq!(gone.capability(), None);
    }
}
