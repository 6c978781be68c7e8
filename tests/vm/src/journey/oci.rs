//! Containers under the agent's unit, on pure cgroup v2: limits that hold and are named, and nothing left behind by a killed agent.

use super::{Journey, SLOTS, SOON};
use crate::clock::{self, Chronicle};
use crate::tools::TOOLS;
use crate::{Guest, LUGGAGE, time};
use anyhow::{Result, ensure};
use std::time::Duration;

/// The unit's part of the hierarchy, which it was handed by `Delegate=`.
const OWN: &str = "/sys/fs/cgroup/system.slice/ouro-agent.service";

impl Journey<'_> {
    /// Every limit, a container that does what it should, and the agent killed under a running one.
    pub(super) fn containers(&mut self) -> Result<()> {
        self.account.chapter("containers of a module under the agent's unit")?;
        let stick = self.insert(&SLOTS[0], TOOLS, "tools")?;
        let ask = "ouroctl nodes --output json | grep -o '\"detail\": *\"[^\"]*cgroup[^\"]*\"' | head -n 1 | grep .";
        let runtime = self.guest.until("an OCI runtime is found", SOON, ask)?;
        ensure!(runtime.contains("in the service's own part"), "the cgroups are not the service's own: {runtime}");
        let runtime = runtime.rsplit_once(": ").map_or(runtime.as_str(), |(_, detail)| detail).trim_matches([' ', '"']).to_string();
        self.account.seen("the OCI runtime under the unit", runtime)?;
        let answer = self.guest.sh(&submit("honest copyist", ""))?;
        ensure!(answer.contains("Genehmigung"), "the copy of the letter: {answer}");
        let leaf = self.guest.sh(&format!("cat {OWN}/agent/cgroup.procs | wc -l; cat {OWN}/cgroup.subtree_control"))?;
        ensure!(leaf.contains("memory") && leaf.contains("pids") && leaf.contains("cpu"), "{leaf}");
        self.limit("memory glutton", "took more than the 67108864 bytes of memory", "memory: more than 64 MiB")?;
        self.limit("fork rabbit", "wanted more than its 32 processes", "processes: a fork bomb")?;
        self.limit("deaf sleeper", "ran longer than the 4 s", "time: deaf to every signal")?;
        self.processor()?;
        self.killed()?;
        self.remove(&stick, TOOLS)
    }

    /// A container that goes beyond a limit ends with that limit's name; its request is not waited for.
    fn limit(&mut self, tool: &str, words: &str, promise: &str) -> Result<()> {
        let since = clock::now(&mut self.guest)?;
        let request = self.guest.sh(&submit(tool, "--detach --output quiet"))?;
        let named = |g: &mut Guest| {
            let trace = g.sh(&format!("ouroctl trace {request} --output json"))?;
            Ok(trace.contains(words).then_some(()))
        };
        if let Err(error) = self.guest.eventually(words, SOON, named) {
            anyhow::bail!("{error}\n{}", self.guest.sh(&format!("ouroctl trace {request}"))?);
        }
        let after = clock::now(&mut self.guest)?.saturating_sub(since);
        self.guest.run(&format!("ouroctl cancel {request}"))?;
        self.nothing_left()?;
        self.account.seen(promise, format!("“{words}”, {} after it was asked for", time(after)))
    }

    /// What wants two processors gets the one of its slot, and the kernel counts how often it was held back.
    fn processor(&mut self) -> Result<()> {
        let request = self.guest.start(&submit("cpu burner", ""))?;
        // The clock beside the counters: whatever lies between two commands is not the container's.
        let counters = format!("cd {OWN}/ouroboros/*/*/ && cat cpu.max cpu.stat && echo uptime $(cut -d' ' -f1 /proc/uptime)");
        // Not one that is only being made.
        let busy = format!("({counters}) | grep -B 9 -A 99 '^usage_usec [0-9]\\{{7,\\}}'");
        let first = self.guest.until("the container burns", SOON, &busy)?;
        ensure!(first.starts_with("100000 100000"), "a slot of two has one of two processors: {first}");
        std::thread::sleep(Duration::from_secs(3));
        let then = self.guest.sh(&counters)?;
        let figure = |text: &str, key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<f64>().ok()).unwrap_or(0.0);
        let grown = |key: &str| figure(&then, key) - figure(&first, key);
        let (wall, cpu, held) = (grown("uptime "), grown("usage_usec ") / 1e6, grown("nr_throttled "));
        ensure!(held > 0.0, "it was never held back: {then}");
        ensure!(cpu > 0.0 && cpu < wall * 1.1 + 0.2, "{cpu:.1} s of processor time in {wall:.1} s");
        let answer = self.guest.wait(request, SOON)?;
        ensure!(answer.stdout.contains("burnt"), "{answer:?}");
        self.account
            .seen("processor: two that never rest", format!("{cpu:.1} s in {wall:.1} s, held back {held} times"))
    }

    /// SIGKILL to the agent while a container runs: systemd ends all that is in the unit, and the next agent carries the step out.
    fn killed(&mut self) -> Result<()> {
        let request = self.guest.start(&submit("slow clerk", ""))?;
        self.guest.until("the container runs", SOON, "pgrep -fx 'sleep 4242'")?;
        let before = self.agent_process()?;
        let since = clock::now(&mut self.guest)?;
        self.guest.sh(&format!("kill -KILL {before}"))?;
        self.guest.until("its tree is gone", SOON, "test $(pgrep -fx 'sleep 4242' | wc -l) -eq 0")?;
        let gone = clock::now(&mut self.guest)?.saturating_sub(since);
        // Not looked at meanwhile: looking is load, and a busy node is given nothing that takes long.
        let answer = self.guest.wait(request, SOON)?;
        ensure!(answer.stdout.contains("filed"), "{answer:?}");
        ensure!(self.agent_process()? != before, "the agent was not killed");
        let again = Chronicle::read(&mut self.guest, since)?
            .when(&["ouro-agent", "executor: step ", "@1.2"])?
            .saturating_sub(since);
        self.nothing_left()?;
        let sight = format!("its tree is dead after {}, the step runs again after {}, the request finishes", time(gone), time(again));
        self.account.seen("the agent is killed under a container", sight)
    }

    /// No process, no cgroup and no mount of any container.
    fn nothing_left(&mut self) -> Result<()> {
        let agent = self.agent_process()?;
        let looks = [
            ("processes", "! pgrep -f '^(/bin/sh -c|sleep 4242|sleep 20)'".to_string()),
            ("cgroups", format!("! ls -d {OWN}/ouroboros/*/*/ /sys/fs/cgroup/ouroboros 2>/dev/null")),
            ("mounts", format!("! grep /run/ouroboros/ /proc/{agent}/mountinfo /proc/1/mountinfo")),
        ];
        for (what, look) in looks {
            self.guest.until(&format!("no {what} of a container are left"), SOON, &look)?;
        }
        Ok(())
    }
}

/// Work that was never asked for before: the results of equal work would be taken over.
fn submit(tool: &str, more: &str) -> String {
    format!(
        "work=$(mktemp --suffix .txt); cat /{LUGGAGE}/letter.txt /proc/uptime > $work; \
         ouroctl submit 'Use the {tool} on this' --file text=$work --deadline 300s {more}"
    )
}
