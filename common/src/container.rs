//! A container: one specialised AI capability, described by a manifest.

pub use load_policy::{LoadHints, LoadPolicy};
pub use manifest::{Accel, Container, Cost, Manifest, ManifestError, Needs, Port, Runtime};
pub use media::MediaType;
pub use oci::OciProcess;
pub use tensors::{InputTensor, LabelEntry, OutputTensor, Tensors};

mod load_policy;
mod manifest;
mod media;
mod oci;
mod tensors;
