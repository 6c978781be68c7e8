//! Why a node is not considered: the reason (stable, to count by), the figure that failed, and what would mend it.
//!
//! Nothing is formatted until somebody shows it: a decision over ten thousand nodes prints three examples a reason.

use ouro_common::device::HardwareReport;
use ouro_common::step::AdminState;

/// A requirement that a node failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused<'a> {
    /// It left the fleet.
    Removed,
    /// It cannot run such containers; what it said about that.
    Runtime {
        /// The runtime's name.
        runtime: &'static str,
        /// Which library or program, or what to install, in the node's words.
        detail: Option<&'a str>,
    },
    /// It has none of the processors.
    Accelerators {
        /// Any of these.
        needs: &'a [String],
        /// What it has.
        hardware: &'a HardwareReport,
    },
    /// All its memory would not do.
    MemoryTotal {
        /// Bytes.
        needs: u64,
        /// Bytes.
        has: u64,
    },
    /// It is not the submitter's.
    Owner {
        /// The submitter's owner label.
        wanted: &'a str,
        /// The node's.
        has: Option<&'a str>,
    },
    /// Its configuration does not allow so long a prompt and answer.
    CacheTooSmall {
        /// Bytes, if it says.
        has: Option<u64>,
    },
    /// The container is not on it.
    NotPresent {
        /// The label of the module that carries or last carried it.
        module: Option<&'a str>,
    },
    /// Operators keep work from it.
    Admin(AdminState),
    /// There is no session.
    Offline,
    /// Its heartbeats have stopped.
    Suspect,
    /// It has not said what it is.
    NoProfile,
    /// Battery or heat.
    Gate(&'a str),
    /// Battery, heat or foreign load, and the step would load a language model.
    LightLoad(&'a str),
    /// Battery, heat or foreign load, and the step would take long.
    LightLong {
        /// Why the node is spared.
        why: &'a str,
        /// What the step would take, seconds.
        seconds: f64,
    },
    /// The container failed there three times in a row.
    SwitchedOff,
    /// Too little memory is free.
    MemoryNow {
        /// Bytes.
        needs: u64,
        /// Bytes.
        has: u64,
    },
    /// The step must be alone, and the node is at work.
    NotIdle {
        /// Steps it has.
        running: usize,
    },
    /// A step that must be alone runs there.
    RunsAlone,
    /// It is new and has its one attempt.
    NewNode {
        /// Results taken from it so far.
        commits: u64,
    },
    /// It offers no slots.
    NoSlots,
    /// The step failed there, and there are others.
    FailedHere,
}

impl Refused<'_> {
    /// Whether time alone cannot mend it: no reading, session or operator's word, only other hardware or software.
    pub fn is_final(&self) -> bool {
        use Refused::{Accelerators, CacheTooSmall, MemoryTotal, Owner, Removed, Runtime};
        matches!(
            self,
            Removed | Runtime { .. } | Accelerators { .. } | MemoryTotal { .. } | Owner { .. } | CacheTooSmall { .. }
        )
    }

    /// Whether it ends with the steps that the node has now.
    pub fn is_over_soon(&self) -> bool {
        matches!(self, Self::NotIdle { .. } | Self::RunsAlone | Self::NewNode { .. })
    }

    /// The requirement in stable words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Removed => "node removed",
            Self::Runtime { .. } => "runtime not available",
            Self::Accelerators { .. } => "accelerator not available",
            Self::MemoryTotal { .. } => "memory too small",
            Self::Owner { .. } => "private to another owner",
            Self::CacheTooSmall { .. } => "cache of language models too small",
            Self::NotPresent { .. } => "container not present",
            Self::Admin(AdminState::Pending) => "node awaits approval",
            Self::Admin(AdminState::Draining) => "node draining",
            Self::Admin(AdminState::Quarantined) => "node quarantined",
            Self::Admin(_) => "node not active",
            Self::Offline => "no session",
            Self::Suspect => "heartbeats missing",
            Self::NoProfile => "profile not known",
            Self::Gate(_) => "battery or heat",
            Self::LightLoad(_) => "no model load while spared",
            Self::LightLong { .. } => "too long while spared",
            Self::SwitchedOff => "container switched off here",
            Self::MemoryNow { .. } => "free memory too small",
            Self::NotIdle { .. } => "not idle",
            Self::RunsAlone => "runs a step that must be alone",
            Self::NewNode { .. } => "new node at work",
            Self::NoSlots => "no slots",
            Self::FailedHere => "step failed here",
        }
    }

    /// The node's name and the figure that failed.
    pub fn example(&self, node: &str) -> String {
        match self {
            Self::Runtime { runtime, detail: Some(detail) } => format!("{node}: needs {runtime}: {detail}"),
            Self::Runtime { runtime, detail: None } => format!("{node}: needs {runtime}, has not reported it"),
            Self::Accelerators { needs, hardware } => {
                format!("{node}: needs {}, has {}", needs.join(" or "), processors(hardware))
            }
            Self::MemoryTotal { needs, has } => format!("{node}: needs {}, has {} in all", bytes(*needs), bytes(*has)),
            Self::MemoryNow { needs, has } => format!("{node}: needs {}, has {} free", bytes(*needs), bytes(*has)),
            Self::Owner { wanted, has } => format!("{node}: needs owner={wanted}, has {}", has.unwrap_or("no owner label")),
            Self::CacheTooSmall { has: Some(has) } => format!("{node}: has {} for prompts and answers", bytes(*has)),
            Self::Gate(why) | Self::LightLoad(why) => format!("{node}: {why}"),
            Self::LightLong { why, seconds } => format!("{node}: {why}; would take {}", duration(*seconds)),
            Self::NotIdle { running } => format!("{node}: needs an idle node, has {running} at work"),
            Self::NewNode { commits } => format!("{node}: one step at a time until 5 are done, has done {commits}"),
            _ => node.to_string(),
        }
    }

    /// How far the node is from taking the step: waiting is nearest, other hardware farthest.
    pub fn distance(&self) -> u8 {
        match self {
            Self::FailedHere | Self::NewNode { .. } | Self::NotIdle { .. } | Self::RunsAlone => 0,
            Self::LightLoad(_) | Self::LightLong { .. } | Self::Gate(_) | Self::Suspect => 1,
            Self::SwitchedOff | Self::MemoryNow { .. } => 2,
            Self::Admin(_) | Self::NoSlots => 3,
            Self::Offline | Self::NoProfile => 4,
            Self::NotPresent { .. } => 5,
            Self::Owner { .. } | Self::CacheTooSmall { .. } => 6,
            Self::Runtime { .. } => 7,
            Self::MemoryTotal { .. } => 8,
            Self::Accelerators { .. } => 9,
            Self::Removed => 10,
        }
    }

    /// What to do so that `node` would take a step of `container`.
    pub fn remedy(&self, node: &str, container: &str) -> String {
        match self {
            Self::Removed => format!("join {node} again with a new token"),
            Self::Runtime { runtime, detail } => match detail {
                Some(detail) => format!("make the runtime {runtime} available on {node}: {detail}"),
                None => format!("make the runtime {runtime} available on {node}"),
            },
            Self::Accelerators { needs, .. } => format!("join a node that has {}", needs.join(" or ")),
            Self::MemoryTotal { needs, .. } => format!("join a node with {} of memory or more", bytes(*needs)),
            Self::Owner { wanted, .. } => format!("label {node} with owner={wanted} if it is theirs, or submit without privacy"),
            Self::CacheTooSmall { .. } => {
                format!("allow fewer tokens (max_tokens) or a shorter prompt, or raise workers.cache_bytes in the agent.toml of {node}")
            }
            Self::NotPresent { module: Some(label) } => format!("plug the module {label} into {node}: it carries {container}"),
            Self::NotPresent { module: None } => format!("plug a module that carries {container} into {node}"),
            Self::Admin(AdminState::Pending) => format!("approve {node}"),
            Self::Admin(AdminState::Quarantined) => format!("look into why {node} is quarantined, then release it"),
            Self::Admin(_) => format!("make {node} active again"),
            Self::Offline => format!("start the agent on {node}, or connect it"),
            Self::Suspect => format!("wait until {node} answers again, or is given up"),
            Self::NoProfile => format!("wait until {node} has reported its hardware and runtimes"),
            Self::Gate(why) | Self::LightLoad(why) | Self::LightLong { why, .. } => gate_remedy(node, why),
            Self::SwitchedOff => format!("wait: {container} failed three times on {node} and is off there for up to an hour"),
            Self::MemoryNow { needs, has } => format!("free {} on {node}", bytes(needs.saturating_sub(*has))),
            Self::NotIdle { .. } | Self::RunsAlone | Self::NewNode { .. } => format!("wait until {node} is done with its work"),
            Self::NoSlots => format!("give {node} at least one slot"),
            Self::FailedHere => format!("wait: it failed on {node} and goes to another node next"),
        }
    }
}

/// The gate's own words say which threshold it was.
fn gate_remedy(node: &str, why: &str) -> String {
    use ouro_common::mfpi::threshold::BATTERY_RESUME_PERCENT;
    if why.starts_with("battery") {
        format!("plug in {node}'s charger or wait until its battery is above {BATTERY_RESUME_PERCENT:.0} % ({why})")
    } else if why.starts_with("on battery") {
        format!("plug in {node}'s charger ({why})")
    } else {
        format!("wait until {node} may take it again ({why})")
    }
}

fn processors(hardware: &HardwareReport) -> String {
    let mut have = vec![match &hardware.machine.cpu.arch {
        Some(arch) => format!("cpu {arch}"),
        None => "cpu".to_string(),
    }];
    have.extend(hardware.accelerators.iter().map(|a| match a.runtimes.is_empty() {
        true => format!("{} {} without a runtime", a.vendor, a.kind),
        false => a.runtimes.join(", "),
    }));
    have.join(", ")
}

/// Bytes in the largest binary unit that leaves at least one, without decimals from 10 on.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..4).take_while(|p| n >> (10 * (p + 1)) > 0).count();
    let value = n as f64 / f64::from(1u32 << 10).powi(power as i32);
    if power == 0 || value >= 10.0 {
        format!("{value:.0} {}", units[power])
    } else {
        format!("{value:.1} {}", units[power])
    }
}

/// A duration as people say it.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let refused = Refused::MemoryNow { needs: 512 << 20, has: 203 << 20 };
        assert_eq!(refused.example("sensors-board"), "sensors-board: needs 512 MiB, has 203 MiB free");
        assert_eq!(refused.remedy("sensors-board", "x:1.0.0"), "free 309 MiB on sensors-board");
        assert_eq!(
            (bytes(0), bytes(1023), bytes(1536), bytes(5 << 40)),
            ("0 B".into(), "1023 B".into(), "1.5 KiB".into(), "5.0 TiB".into())
        );
        assert_eq!((duration(4.04), duration(600.0)), ("4.0 s".into(), "10 min".into()));
    }

    #[test]
    fn the_remedy_for_a_gate_follows_its_words() {
        let remedy = Refused::Gate("battery at 12 % and not charging").remedy("n2", "x:1.0.0");
        assert_eq!(remedy, "plug in n2's charger or wait until its battery is above 30 % (battery at 12 % and not charging)");
        assert!(Refused::LightLoad("on battery, at 80 %").remedy("n2", "x").starts_with("plug in n2's charger (on"));
        assert!(Refused::Gate("too hot: 97 °C of 100 °C").remedy("n2", "x").starts_with("wait until n2"));
    }
}
