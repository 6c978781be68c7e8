//! What a machine is and how it is doing: the profile (changes rarely) and the readings (change all the time).

pub use link::{PcieLink, coding_efficiency};
pub use memory::{Achieved, MemoryRates, TheoreticalBandwidth};
pub use pressure::{Pressure, Stall, StallTime};
pub use profile::{
    Accelerator, AcceleratorProcess, Cpu, HardwareReport, LinkTrust, Machine, Memory, MemoryKind, NumaNode, Nvme, PcieDevice, Power,
    PowerSupply, Sensor, Thermal, Warning,
};
pub use readings::{GpuMemory, LoadedContainer, NodeProfile, PowerSource, Readings, RuntimeAvailability};

mod link;
mod memory;
mod pressure;
mod profile;
mod readings;
