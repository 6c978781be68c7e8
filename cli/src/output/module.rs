//! `ouroctl module inspect` and its siblings: what is on one module, who signed it, and what is wrong with it.

use super::page::Page;
use super::quantity::{bytes, counted};
use super::{Style, Tone, text};
use crate::image::open::Opened;
use ouro_common::id::Digest;
use ouro_common::module::{ModuleContents, PackedContainer, Verdict};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `ouroboros.module/1`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModuleDocument {
    /// Always `ouroboros.module/1`.
    pub(crate) schema: &'static str,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// `folder`, `archive`, `image` or `device`.
    pub(crate) form: &'static str,
    /// The file system's label, where there is one.
    pub(crate) label: Option<String>,
    /// Its identity: the digest of its index.
    pub(crate) digest: Digest,
    /// What its signature is worth, measured by the keys that were given.
    pub(crate) signature: Verdict,
    /// What can be used.
    pub(crate) containers: Vec<ContainerRow>,
    /// What cannot, a sentence each.
    pub(crate) problems: Vec<String>,
    /// Whether every byte was compared with its digest.
    pub(crate) digests_checked: bool,
}

/// A container on it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ContainerRow {
    /// `name:version`.
    pub(crate) container: String,
    /// Its identity.
    pub(crate) digest: Digest,
    /// What runs it.
    pub(crate) runtime: &'static str,
    /// What it does.
    pub(crate) summary: String,
    /// Its layers, from the lowest up.
    pub(crate) layers: Vec<LayerRow>,
}

/// A layer of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LayerRow {
    /// What its bytes are.
    pub(crate) media_type: &'static str,
    /// Their sha256.
    pub(crate) digest: Digest,
    /// How many there are.
    pub(crate) size_bytes: u64,
}

impl ModuleDocument {
    /// What was read at `path`.
    pub(crate) fn of(path: &Path, opened: &Opened, contents: &ModuleContents) -> Self {
        Self {
            schema: "ouroboros.module/1",
            path: path.to_path_buf(),
            form: opened.form.name(),
            label: opened.label.clone(),
            digest: contents.digest,
            signature: contents.signature.clone(),
            containers: contents.containers.iter().map(row).collect(),
            problems: contents.problems.iter().map(ToString::to_string).collect(),
            digests_checked: false,
        }
    }

    /// The same at another path.
    #[must_use]
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path = path.to_path_buf();
        self
    }

    /// The same after every byte was read, with what was found then.
    #[must_use]
    pub(crate) fn checked(mut self, problems: Vec<String>) -> Self {
        self.problems.extend(problems);
        self.digests_checked = true;
        self
    }
}

fn row(packed: &PackedContainer) -> ContainerRow {
    let layer = |layer: &ouro_common::module::Layer| LayerRow {
        media_type: layer.kind.media_type(),
        digest: layer.digest,
        size_bytes: layer.size_bytes,
    };
    ContainerRow {
        container: packed.container.manifest.reference().to_string(),
        digest: packed.container.digest,
        runtime: packed.container.manifest.runtime.name(),
        summary: packed.container.manifest.summary.clone(),
        layers: packed.layers.iter().map(layer).collect(),
    }
}

/// The whole of it.
pub(crate) fn render(document: &ModuleDocument, style: Style) -> String {
    let mut page = Page::new(style);
    let label = document.label.as_deref().unwrap_or("a module");
    page.heading(&text::cut(label, 40), &format!("{} {}", document.form, document.path.display()));
    page.item(2, "module", &document.digest.to_string());
    let (words, tone) = signature(&document.signature);
    page.toned_item(2, "signature", &words, Some(tone));
    for container in &document.containers {
        let size: u64 = container.layers.iter().map(|layer| layer.size_bytes).sum();
        let what = format!("{}; {}, {}, {}…", container.summary, container.runtime, bytes(size), container.digest.short());
        page.item(2, &text::cut(&container.container, 30), &what);
    }
    for problem in &document.problems {
        page.toned_item(2, "problem", problem, Some(Tone::Bad));
    }
    page.finish()
}

/// What a build says at its end.
pub(crate) fn built(document: &ModuleDocument, style: Style) -> String {
    let next = match document.form {
        "image" => format!("ouroctl module write {} DEVICE", document.path.display()),
        _ => format!("ouroctl module inspect {}", document.path.display()),
    };
    format!("{}\nNext:  {next}\n", render(document, style))
}

/// What a check says at its end.
pub(crate) fn checked(document: &ModuleDocument, style: Style) -> String {
    let containers = counted(document.containers.len(), "container is", "containers are");
    format!("{}\n{containers} whole; every byte is what its digest says\n", render(document, style))
}

fn signature(verdict: &Verdict) -> (String, Tone) {
    match verdict {
        Verdict::Unsigned => ("none: no node takes it under the policy `enforce`".into(), Tone::Warn),
        Verdict::Trusted { key, comment } => (format!("good, by the key {key}: {comment}"), Tone::Good),
        Verdict::Untrusted { key } => (format!("by the key {key}, not checked: that key was not given"), Tone::Warn),
        Verdict::Bad { problem } => (format!("bad: {problem}"), Tone::Bad),
    }
}
