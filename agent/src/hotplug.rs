//! Modules on block devices: which are plugged in, which may be mounted, and what is to be done about the difference.
//!
//! A kernel event is a doorbell. [`look`](look::look) reads the whole state from sysfs, [`plan::next`] compares it with what is known and
//! says what to do, and only [`mount`], [`probe`](superblock::probe), [`intent`] and [`slot_power`] touch anything. Nothing here knows what is on a module.

pub mod intent;
pub mod look;
pub mod mount;
pub mod plan;
pub mod slot;
pub mod slot_power;
pub mod superblock;
