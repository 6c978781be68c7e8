//! The journey: its legs in order, over one machine.

mod asleep;
mod link;
mod modules;
mod oci;
mod pulled;
mod reset;
mod services;

use crate::tools;
use crate::{Account, Guest, Machine, MachineOptions, Packing, Slot};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use ouro_tests::{assets, texts};
use std::path::{Path, PathBuf};
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
    /// The folder with the modules' images; what is written to them stays.
    modules: PathBuf,
}

/// A part of the journey that can be left out; server and agent start in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Leg {
    /// Steps, users and a crash of the agent as a service.
    Services,
    /// Empty sticks, and what is read of their links.
    Links,
    /// A module in, used, and out again.
    ComeAndGo,
    /// A module pulled out in the middle of a step.
    Pulled,
    /// A module's medium torn out.
    TornOut,
    /// Containers, their limits, and the agent killed under one.
    Oci,
    /// An idle module's slot powered down.
    Asleep,
    /// A hard reset with modules in.
    Reset,
}

/// What a journey begins with.
#[derive(Debug)]
pub struct Baggage<'a> {
    /// The folder with the guest's `vmlinuz` and `root.img`.
    pub guest: &'a Path,
    /// The folder that `make install` was given as DESTDIR; more is put into it.
    pub installed: &'a Path,
    /// The folder that `make modules` filled.
    pub modules: &'a Path,
    /// The only legs to go; all when there are none.
    pub legs: &'a [Leg],
    /// An empty folder for sockets, logs and disks.
    pub folder: &'a Path,
}

/// Makes the machine and goes the whole way.
///
/// # Errors
/// What was not as promised, where, and what the guest said.
pub fn go<'a>(baggage: &Baggage<'_>, account: &'a mut Account<'a>) -> Result<()> {
    let Baggage { guest, installed, modules, legs, folder } = baggage;
    account.chapter("the machine boots")?;
    let packing = Packing::of(installed);
    packing.text("letter.txt", texts::LETTER)?;
    packing.text("register.txt", &texts::register(16 << 20))?;
    for container in ["langid", "sentiment"] {
        assets::module_with(&packing.place("containers")?, &[container]);
    }
    let library = assets::onnxruntime().context("the ONNX Runtime library is not here; run `make prepare`")?;
    packing.copy("libonnxruntime.so", &library)?;
    packing.copy("development.pub", &modules.join("development.pub"))?;
    // Copies: nothing may write to a module, and that is looked at in the end.
    let images = ["language.img", "documents.img"];
    for image in images {
        std::fs::copy(modules.join(image), folder.join(image)).with_context(|| image.to_string())?;
    }
    tools::pack(&folder.join("tools"), &modules.join("development.key"), &folder.join("tools.img"))?;
    std::fs::copy(folder.join("tools.img"), folder.join("tools-copy.img"))?;
    let image = folder.join("installed.img");
    packing.image(&image)?;
    let machine = Machine::start(&MachineOptions { guest, installed: &image, slots: &SLOTS, folder })?;
    let guest = Guest::wait_up(&machine, BOOT)?;
    let mut journey = Journey { machine, guest, account, modules: folder.to_path_buf() };
    let went = journey.all(legs).and_then(|()| journey.untouched(modules, &images));
    went.with_context(|| format!("the journey ended; the services' last words:\n{}\n", journey.last_words()))
}

impl Journey<'_> {
    /// What server and agent wrote last.
    fn last_words(&mut self) -> String {
        let journal = "journalctl --no-pager -o short-monotonic -n 40 -u ouro-agent -u ouro-server; ouro-agent status; ouroctl nodes; ouroctl explain last; ouroctl trace last";
        self.guest.run(journal).map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr)
    }

    fn all(&mut self, legs: &[Leg]) -> Result<()> {
        self.install()?;
        self.start_services()?;
        let (mut only_sticks, chosen) = (false, if legs.is_empty() { Leg::value_variants() } else { legs });
        for leg in Leg::value_variants().iter().filter(|leg| chosen.contains(leg)) {
            if !only_sticks && !matches!(leg, Leg::Services | Leg::Links) {
                only_sticks = true;
                self.only_sticks()?;
            }
            match leg {
                Leg::Services => self.services()?,
                Leg::Links => self.links()?,
                Leg::ComeAndGo => self.come_and_go()?,
                Leg::Pulled => self.pulled_in_the_middle()?,
                Leg::TornOut => self.torn_out()?,
                Leg::Oci => self.containers()?,
                Leg::Asleep => self.power_down()?,
                Leg::Reset => self.hard_reset()?,
            }
        }
        Ok(())
    }

    /// Nothing in the guest wrote to a module.
    fn untouched(&mut self, modules: &Path, images: &[&str]) -> Result<()> {
        for image in images {
            let same = std::fs::read(modules.join(image))? == std::fs::read(self.modules.join(image))?;
            ensure!(same, "{image} was written to");
        }
        self.account.seen("nothing was written to a module", "the images are what they were, byte for byte")?;
        self.account.table()
    }
}
