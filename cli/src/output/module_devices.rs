//! `ouroctl module list`: a line for each module in a drive of this machine.

use super::page::Page;
use super::quantity::bytes;
use super::{Style, Tone, text};
use ouro_common::id::Digest;
use serde::Serialize;

/// `ouroboros.module-devices/1`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModuleDevicesDocument {
    /// Always `ouroboros.module-devices/1`.
    pub(crate) schema: &'static str,
    /// One for each device.
    pub(crate) modules: Vec<ModuleDevice>,
}

/// A module in a drive.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModuleDevice {
    /// The device's path.
    pub(crate) device: String,
    /// The file system's label.
    pub(crate) label: String,
    /// The device's size, bytes.
    pub(crate) size_bytes: u64,
    /// How it is attached and what it is called.
    pub(crate) attached: String,
    /// Where it is mounted.
    pub(crate) mounted: Vec<String>,
    /// The module's identity; `null` where it could not be read.
    pub(crate) digest: Option<Digest>,
    /// The containers that can be used, `name:version`.
    pub(crate) containers: Vec<String>,
    /// What is wrong with it, the first of it.
    pub(crate) problem: Option<String>,
}

/// A paragraph per module.
pub(crate) fn render(document: &ModuleDevicesDocument, style: Style) -> String {
    let mut page = Page::new(style);
    if document.modules.is_empty() {
        page.text(0, "No module in this machine's drives. Put one on a stick with `ouroctl module write IMAGE DEVICE`.");
    }
    for module in &document.modules {
        let place = format!("in {}, {}, {}", module.device, module.attached, bytes(module.size_bytes));
        page.heading(&text::cut(&module.label, 40), &place);
        if let Some(digest) = module.digest {
            page.item(2, "module", &digest.to_string());
            page.item(2, "containers", &if module.containers.is_empty() { "none".into() } else { module.containers.join(", ") });
        }
        if !module.mounted.is_empty() {
            page.item(2, "mounted at", &module.mounted.join(", "));
        }
        if let Some(problem) = &module.problem {
            page.toned_item(2, "problem", problem, Some(Tone::Bad));
        }
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_cannot_be_read_says_why() {
        let module = |device: &str, digest, problem: Option<&str>| ModuleDevice {
            device: device.into(),
            label: "OURO-TEXT".into(),
            size_bytes: 31 << 20,
            attached: "usb Stick".into(),
            mounted: vec![],
            digest,
            containers: vec!["langid:1.0.0".into(), "keywords:1.0.0".into()],
            problem: problem.map(str::to_string),
        };
        let good = module("sdb", Some(ouro_common::module::sha256(b"x")), None);
        let bad = module("sdc", None, Some("it cannot be read: Permission denied"));
        let document = |modules| ModuleDevicesDocument { schema: "ouroboros.module-devices/1", modules };
        insta::assert_snapshot!(render(&document(vec![good, bad]), Style::PLAIN));
        assert!(render(&document(vec![]), Style::PLAIN).contains("module write"));
    }
}
