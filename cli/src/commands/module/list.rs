//! `ouroctl module list`: the modules in this machine's drives, whether an agent runs here or not.

use crate::commands::{Context, lines};
use crate::disks::{Disk, disks};
use crate::exit::{Exit, Failure};
use crate::image::open::open;
use crate::output::module_devices::{ModuleDevice, ModuleDevicesDocument, render};
use ouro_common::error::Fault;
use std::path::Path;

/// What every module's label begins with.
const LABEL_PREFIX: &str = "OURO-";

pub(crate) fn run(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let disks = disks()?;
    let modules = disks.iter().flat_map(Disk::all).filter_map(module).collect();
    let document = ModuleDevicesDocument { schema: "ouroboros.module-devices/1", modules };
    context.show(&document, render, |d| lines(d.modules.iter().map(|m| &m.device)))?;
    Ok(Exit::Done)
}

/// The device as a module, if its label says it is one.
fn module(disk: &Disk) -> Option<ModuleDevice> {
    let path = Path::new(&disk.name);
    // Without udev lsblk knows no labels; the superblock does, where it can be read.
    let opened = if disk.label.is_none() && disk.size > 0 { open(path).ok() } else { None };
    let label = disk.label.clone().or_else(|| opened.and_then(|o| o.label)).filter(|label| label.starts_with(LABEL_PREFIX))?;
    let looked = open(path).and_then(|opened| opened.read(path, &[]));
    let (digest, containers, problem) = match looked {
        Ok(contents) => {
            let names = contents.containers.iter().map(|c| c.container.manifest.reference().to_string()).collect();
            (Some(contents.digest), names, contents.problems.first().map(ToString::to_string))
        }
        Err(fault) => (None, vec![], Some(told(&fault))),
    };
    let mounted = disk.mounted().into_iter().map(str::to_string).collect();
    let (device, size_bytes, attached) = (disk.name.clone(), disk.size, disk.called());
    Some(ModuleDevice { device, label, size_bytes, attached, mounted, digest, containers, problem })
}

fn told(fault: &Fault) -> String {
    if fault.remedy.is_empty() { fault.problem.clone() } else { format!("{}; {}", fault.problem, fault.remedy) }
}
