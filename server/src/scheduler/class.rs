//! Classes of machines: what is believed of a node before it has shown anything, and the most that is believed of its claims.

use ouro_common::device::NodeProfile;

const GB: f64 = 1e9;
const TFLOP: f64 = 1e12;
const DAY_S: f64 = 86_400.0;

/// A kind of machine, from its hardware report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Phone,
    Board,
    Laptop,
    Desktop,
    Server,
    Vm,
    Unknown,
}

/// The most that is believed: about twice the fastest machine of the class on the market.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maxima {
    /// Memory bandwidth, bytes per second.
    pub(crate) bandwidth: f64,
    /// Compute, FLOP per second.
    pub(crate) flops: f64,
    /// Sequential read of a medium, bytes per second.
    pub(crate) disk: f64,
}

impl Class {
    pub(crate) fn of(profile: Option<&NodeProfile>) -> Self {
        match profile.map(|p| p.hardware.machine.kind.as_str()) {
            Some("phone") => Self::Phone,
            Some("board") => Self::Board,
            Some("laptop") => Self::Laptop,
            Some("desktop") => Self::Desktop,
            Some("server") => Self::Server,
            Some("vm") => Self::Vm,
            _ => Self::Unknown,
        }
    }

    /// Mean time between losses, a prior: phones are carried out of range daily, laptops are closed, servers stay.
    pub(crate) fn mtbf_s(self) -> f64 {
        match self {
            Self::Phone => DAY_S,
            Self::Laptop => 3.0 * DAY_S,
            Self::Board | Self::Desktop | Self::Vm => 15.0 * DAY_S,
            Self::Server => 60.0 * DAY_S,
            Self::Unknown => 7.0 * DAY_S,
        }
    }

    pub(crate) fn maxima(self) -> Maxima {
        let (bandwidth, flops, disk) = match self {
            Self::Phone => (200.0, 2.0, 8.0),
            Self::Board => (600.0, 4.0, 16.0),
            Self::Laptop => (1200.0, 8.0, 32.0),
            Self::Desktop => (2000.0, 20.0, 32.0),
            Self::Server | Self::Vm | Self::Unknown => (4000.0, 100.0, 64.0),
        };
        Maxima { bandwidth: bandwidth * GB, flops: flops * TFLOP, disk: disk * GB }
    }
}
