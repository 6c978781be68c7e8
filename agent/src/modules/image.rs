//! A module that is an OCI image layout: read whole, judged by its signature, and turned into what is announced and what can run.

use super::hold::Hold;
use super::scan::Installed;
use super::source::{LayerFile, Source};
use super::trust::{Trust, judge};
use super::volume::FolderVolume;
use crate::runtimes::builtin;
use ouro_common::container::Runtime;
use ouro_common::device::PcieLink;
use ouro_common::id::Digest;
use ouro_common::module::{
    INDEX_FILE, ModuleContents, ModuleError, ModuleState, Origin, PackedContainer, Placement, SIGNATURE_FILE, SignedIndex, TrustPolicy,
    TrustedKey, Verdict, Volume, VolumeError, blob_path, limits, read_module, sha256, verify,
};
use std::path::Path;
use std::sync::Arc;

/// What was read of an image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    contents: ModuleContents,
    index: Vec<u8>,
    signature: Option<Vec<u8>>,
}

/// What an image is judged by besides itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    /// The keys the fleet trusts.
    pub(super) keys: &'a [TrustedKey],
    /// What is demanded of a signature.
    pub(super) policy: TrustPolicy,
}

/// Where an image was found, as it is announced.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// Its label.
    pub(super) label: &'a str,
    /// Its slot.
    pub(super) slot: &'a str,
    /// Its folder.
    pub(super) at: &'a Path,
    /// The device it is on.
    pub(super) hold: Option<&'a Arc<Hold>>,
    /// How it is connected.
    pub(super) link: Link,
    /// From the kernel's event until it was read, ms.
    pub(super) ready_after_ms: Option<f64>,
    /// Of one whose slot is powered down: how it is woken.
    pub(super) asleep: Option<Asleep>,
}

/// How a module on a device is connected.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    /// The slowest PCIe link on the way to it, bytes per second.
    pub(super) bytes_per_s: Option<f64>,
    /// What the port it is in says it can carry.
    pub(super) port: Option<PcieLink>,
}

/// What is known of a module that sleeps.
#[derive(Debug, Clone)]
pub(super) struct Asleep {
    /// In words.
    pub(super) why: String,
    /// How long it will take to wake, ms.
    pub(super) wake_ms: f64,
}

impl Image {
    /// Reads the image in `folder`.
    ///
    /// # Errors
    /// It is none, or its index cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Self, ModuleError> {
        let unreadable = |file| move |source| ModuleError::File { file, source };
        let volume = FolderVolume::open(folder).map_err(unreadable(INDEX_FILE))?;
        // Who is trusted can change while the module stays, so the signature is judged each time it is announced.
        let contents = read_module(&volume, &[])?;
        let index = volume.read(INDEX_FILE, limits::INDEX_BYTES).map_err(unreadable(INDEX_FILE))?;
        if sha256(&index) != contents.digest {
            let problem = "it gave other bytes when it was read again: the device is broken, or lies".to_string();
            return Err(unreadable(INDEX_FILE)(VolumeError::Unreadable { problem }));
        }
        let signature = volume.read(SIGNATURE_FILE, limits::SIGNATURE_BYTES).ok();
        Ok(Self { contents, index, signature })
    }

    /// The module's identity.
    pub(super) fn digest(&self) -> Digest {
        self.contents.digest
    }

    /// The blobs its containers are run from.
    pub(super) fn layers(&self) -> impl Iterator<Item = Digest> {
        self.contents.containers.iter().flat_map(|packed| packed.layers.iter().map(|layer| layer.digest))
    }

    fn verdict(&self, keys: &[TrustedKey]) -> Verdict {
        match &self.signature {
            Some(signature) => verify(&self.index, signature, keys),
            // Present but unreadable, which the reader has said already; or simply not there.
            None => self.contents.signature.clone(),
        }
    }

    /// What is announced of it, and what can be run from it. `damaged` says what is known to be wrong with a blob.
    pub(super) fn placement(
        &self,
        found: &Found<'_>,
        judged: Judge<'_>,
        damaged: &mut dyn FnMut(&Digest) -> Option<String>,
    ) -> (Placement, Vec<Installed>) {
        let verdict = self.verdict(judged.keys);
        let mut problems: Vec<String> = self.contents.problems.iter().map(ToString::to_string).collect();
        let mut usable = vec![];
        for packed in &self.contents.containers {
            match unusable(packed, damaged) {
                Some(problem) => problems.push(format!("{}: {problem}", packed.container.manifest.reference())),
                None => usable.push(installed(packed, found)),
            }
        }
        let (mut state, mut why) = (ModuleState::Ready, String::new());
        match judge(judged.policy, &verdict) {
            Trust::Fine => {}
            Trust::Warned(problem) => problems.push(problem),
            Trust::Refused(problem) => (state, why) = (ModuleState::Untrusted, problem),
        }
        if state == ModuleState::Ready && usable.is_empty() && !problems.is_empty() {
            (state, why) = (ModuleState::Incomplete, "nothing on it can be used".into());
        }
        // What could not be used awake is not called asleep.
        let asleep = found.asleep.as_ref().filter(|_| state == ModuleState::Ready);
        if let Some(asleep) = asleep {
            (state, why) = (ModuleState::Asleep, asleep.why.clone());
        }
        let index = String::from_utf8(self.index.clone()).ok().filter(|index| index.len() <= Placement::MAX_INDEX_BYTES);
        let signature = self.signature.clone().and_then(|bytes| String::from_utf8(bytes).ok());
        let origin = Origin {
            signature: verdict,
            policy: judged.policy,
            index: index.map(|index| SignedIndex { index, signature }),
            link_bytes_per_s: found.link.bytes_per_s,
            port_link: found.link.port,
            ready_after_ms: found.ready_after_ms,
            wake_ms: asleep.map(|asleep| asleep.wake_ms),
        };
        let placement = Placement {
            module: self.contents.digest,
            label: found.label.into(),
            slot: found.slot.into(),
            state,
            why,
            read_bytes_per_s: found.link.bytes_per_s,
            containers: usable.iter().map(|installed| installed.container.clone()).collect(),
            problems,
            origin: Some(origin),
        };
        let runnable = if state.offers() { usable } else { vec![] };
        (placement, runnable)
    }
}

/// Why a container cannot be run here, if it cannot.
fn unusable(packed: &PackedContainer, damaged: &mut dyn FnMut(&Digest) -> Option<String>) -> Option<String> {
    let manifest = &packed.container.manifest;
    if manifest.runtime == Runtime::Builtin && !builtin::exists(manifest.name.as_str()) {
        return Some(format!("this agent has no builtin called {}; update the agent", manifest.name));
    }
    packed.layers.iter().find_map(|layer| damaged(&layer.digest))
}

fn installed(packed: &PackedContainer, found: &Found<'_>) -> Installed {
    let path = |digest: &Digest| found.at.join(blob_path(digest));
    let source = match (packed.container.manifest.runtime, packed.layers.as_slice()) {
        (Runtime::Onnx | Runtime::Gguf, [model, ..]) => Source::Model(path(&model.digest)),
        (Runtime::Oci, layers) => {
            Source::RootFs(layers.iter().map(|layer| LayerFile { path: path(&layer.digest), layer: *layer }).collect())
        }
        _ => Source::Program,
    };
    Installed { container: packed.container.clone(), source, hold: found.hold.cloned() }
}
