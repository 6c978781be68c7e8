//! The journey: its legs in order, over one machine.

mod link;
mod services;

use crate::{Account, Guest, Machine, MachineOptions, Packing, Slot};
use anyhow::{Context as _, Result};
use ouro_tests::{assets, texts};
use std::path::Path;
use std::time::Duration;

/// From the reset vector to a guest that takes commands; on an idle machine 12 s.
const BOOT: Duration = Duration::from_secs(180);

/// For what an idle machine does in a second: the processor is emulated, and others may use the real one.
const SOON: Duration = Duration::from_secs(180);

/// The machine's slots: the fast one and the slow one.
const SLOTS: [Slot; 2] = [Slot { id: "rp0", number: 1, gt_per_s: "8", width: 4 }, Slot { id: "rp1", number: 2, gt_per_s: "5", width: 2 }];

/// A machine under way.
#[derive(Debug)]
pub struct Journey<'a> {
    machine: Machine,
    guest: Guest,
    account: &'a mut Account<'a>,
}

/// Makes the machine and goes the whole way.
///
/// # Errors
/// What was not as promised, where, and what the guest said.
pub fn go<'a>(guest: &Path, installed: &Path, folder: &Path, account: &'a mut Account<'a>) -> Result<()> {
    account.chapter("the machine boots")?;
    let packing = Packing::of(installed);
    packing.text("letter.txt", texts::LETTER)?;
    packing.text("register.txt", &texts::register(6 << 20))?;
    for container in ["keywords", "summarize", "langid"] {
        assets::module_with(&packing.place("containers")?, &[container]);
    }
    if let Some(library) = assets::onnxruntime() {
        packing.copy("libonnxruntime.so", &library)?;
    }
    let image = folder.join("installed.img");
    packing.image(&image)?;
    let machine = Machine::start(&MachineOptions { guest, installed: &image, slots: &SLOTS, folder })?;
    let guest = Guest::wait_up(&machine, BOOT)?;
    let mut journey = Journey { machine, guest, account };
    let went = journey.legs();
    went.with_context(|| format!("the journey ended; the services' last words:\n{}\n", journey.last_words()))
}

impl Journey<'_> {
    /// What server and agent wrote last.
    fn last_words(&mut self) -> String {
        let journal = "journalctl --no-pager -o short-monotonic -n 40 -u ouro-agent -u ouro-server; ouro-agent status; ouroctl modules";
        self.guest.run(journal).map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr)
    }

    fn legs(&mut self) -> Result<()> {
        self.install()?;
        self.services()?;
        self.links()?;
        self.account.table()
    }
}
