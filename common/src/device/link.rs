//! PCI Express link arithmetic: PCI Express Base Specification, section "Physical Layer" (line coding per generation).

use serde::{Deserialize, Serialize};

/// A PCIe link: speed per lane and number of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PcieLink {
    /// Transfer rate of one lane in GT/s: 2.5, 5, 8, 16, 32 or 64.
    pub gt_per_s: f64,
    /// Number of lanes, 1 to 32.
    pub lanes: u32,
    /// Bytes per second in one direction, after line coding and before packet overhead.
    pub bytes_per_s: f64,
}

impl PcieLink {
    /// A link of `lanes` lanes at `gt_per_s`; `None` where no such link exists (the kernel's 0, 63 and 255 mean "no link").
    pub fn new(gt_per_s: f64, lanes: u32) -> Option<Self> {
        let efficiency = coding_efficiency(gt_per_s)?;
        matches!(lanes, 1 | 2 | 4 | 8 | 12 | 16 | 32).then(|| Self {
            gt_per_s,
            lanes,
            bytes_per_s: gt_per_s * 1e9 * efficiency * f64::from(lanes) / 8.0,
        })
    }
}

/// The share of the raw bits that carry data: 8b/10b up to 5 GT/s, 128b/130b up to 32, 242/256 (FLIT) at 64.
pub fn coding_efficiency(gt_per_s: f64) -> Option<f64> {
    match gt_per_s {
        2.5 | 5.0 => Some(8.0 / 10.0),
        8.0 | 16.0 | 32.0 => Some(128.0 / 130.0),
        64.0 => Some(242.0 / 256.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_per_second_follow_the_line_coding() {
        let at = |gt, lanes| PcieLink::new(gt, lanes).unwrap().bytes_per_s;
        assert_eq!(at(2.5, 1), 250e6);
        assert_eq!(at(5.0, 4), 2e9);
        assert!((at(8.0, 4) - 3.938e9).abs() < 1e6);
        assert!((at(16.0, 16) - 31.508e9).abs() < 1e6);
        assert!((at(64.0, 16) - 121e9).abs() < 1e9);
    }

    #[test]
    fn what_the_kernel_prints_for_no_link_is_no_link() {
        for (gt, lanes) in [(8.0, 0), (8.0, 63), (8.0, 255), (0.0, 4), (f64::NAN, 4), (7.9, 4)] {
            assert!(PcieLink::new(gt, lanes).is_none(), "{gt} x{lanes}");
        }
    }
}
