//! A container: one specialised AI capability, described by a manifest.

pub use manifest::{Accel, Container, Cost, Manifest, ManifestError, Needs, Port, Runtime};
pub use media::MediaType;
pub use oci::OciProcess;
pub use tensors::{InputTensor, LabelEntry, OutputTensor, Tensors};

mod manifest;
mod media;
mod oci;
mod tensors;
