//! The virtual machine: a QEMU process with PCIe slots, driven over QMP.
//!
//! The processor is emulated, so that it runs where no KVM is. The root disk lies under a snapshot: the guest may write to
//! it, a reset keeps what it wrote, and nothing of it outlives the process. What the guest says on its serial line goes to a
//! file.

pub use slot::{Slot, Stick};

mod slot;

use crate::channel::Channel;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The partition that tests/vm/guest made the root of, by the number it gave the disk. NVMe drives have no promised order.
const ROOT: &str = "PARTUUID=6f75726f-01";
/// How long QEMU may take for a command or to open its sockets.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a machine is made of.
#[derive(Debug)]
pub struct MachineOptions<'a> {
    /// The folder with `vmlinuz` and `root.img`.
    pub guest: &'a Path,
    /// A second disk.
    pub installed: &'a Path,
    /// The slots that sticks are pushed into.
    pub slots: &'a [Slot],
    /// Where sockets and the serial log are to lie.
    pub folder: &'a Path,
}

/// A running machine. It ends with the value.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    monitor: Channel,
    folder: PathBuf,
}

impl Machine {
    /// Starts the machine; its kernel begins to boot.
    ///
    /// # Errors
    /// When QEMU does not start; its words are in the message.
    pub fn start(options: &MachineOptions<'_>) -> Result<Self> {
        let folder = options.folder;
        let log = std::fs::File::create(folder.join("qemu.log"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(options)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("qemu-system-x86_64 cannot be started")?;
        let begin = Instant::now();
        let mut monitor = loop {
            if let Ok(channel) = Channel::connect(&folder.join("qmp")) {
                break channel;
            }
            let ended = child.try_wait()?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                bail!("QEMU does not run: {}", std::fs::read_to_string(folder.join("qemu.log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        monitor.greeting(PATIENCE)?;
        monitor.execute("qmp_capabilities", &json!({}), PATIENCE)?;
        Ok(Self { child, monitor, folder: folder.into() })
    }

    /// A line to the guest agent.
    ///
    /// # Errors
    /// When QEMU does not offer it.
    pub fn guest_line(&self) -> Result<Channel> {
        Channel::connect(&self.folder.join("guest"))
    }

    /// Everything the guest has said on its serial line.
    pub fn serial(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("serial.log")).unwrap_or_default()).into_owned()
    }

    /// The reset button: nothing in the guest is asked or told.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn reset(&mut self) -> Result<()> {
        self.monitor.execute("system_reset", &json!({}), PATIENCE)?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(options: &MachineOptions<'_>) -> Vec<String> {
    let MachineOptions { guest, installed, slots, folder } = options;
    let drive = |id: &str, file: &Path, rest: &str| {
        let file = file.display().to_string().replace(',', ",,");
        vec!["-drive".into(), format!("if=none,id={id},file={file},format=raw,{rest}")]
    };
    // The journal is repeated on the serial line: what is said before a crash is seen after it.
    let kernel = format!("root={ROOT} rw console=ttyS0 panic=-1 quiet systemd.journald.forward_to_console=1");
    let plain = [
        "-accel tcg,thread=multi -machine q35 -cpu max -smp 2 -m 2048",
        "-no-user-config -nodefaults -display none",
        // Else the firmware's tables hand the slots to ACPI, and the kernel's own PCIe hot-plug is never asked.
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-device virtio-rng-pci -device virtio-serial-pci -device virtserialport,chardev=guest,name=org.qemu.guest_agent.0",
        "-device nvme,drive=root,serial=root -device nvme,drive=installed,serial=installed",
    ];
    let mut all: Vec<String> = plain.iter().flat_map(|line| line.split(' ')).map(String::from).collect();
    let text = |path: PathBuf| path.display().to_string();
    all.extend(["-kernel".into(), text(guest.join("vmlinuz")), "-append".into(), kernel]);
    all.extend(["-serial".into(), format!("file:{}", text(folder.join("serial.log")))]);
    for (option, name) in [("-qmp", "qmp"), ("-chardev", "guest")] {
        let at = text(folder.join(name));
        let value = if option == "-qmp" {
            format!("unix:{at},server=on,wait=off")
        } else {
            format!("socket,id=guest,path={at},server=on,wait=off")
        };
        all.extend([option.into(), value]);
    }
    all.extend(drive("root", &guest.join("root.img"), "snapshot=on"));
    all.extend(drive("installed", installed, "readonly=on"));
    all.extend(slots.iter().flat_map(|slot| ["-device".into(), slot.device()]));
    all
}
