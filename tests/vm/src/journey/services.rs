//! The server and the agent as services of systemd, installed the way people install them.

use super::{Journey, SOON};
use crate::clock::Chronicle;
use crate::{LABEL, LUGGAGE};
use anyhow::{Result, ensure};
use ouro_common::document::NodesDocument;

/// The agent's configuration: with two processors and two slots, a step has one processor.
pub(super) const CONFIG: &str = "slots = 2\\n";

impl Journey<'_> {
    /// Puts what `make install` made on the guest's root, and the luggage beside it.
    pub(super) fn install(&mut self) -> Result<()> {
        self.account.chapter("what `make install` makes is copied in")?;
        let guest = &mut self.guest;
        guest.sh(&format!("mkdir -p /mnt/{LABEL} && mount -o ro LABEL={LABEL} /mnt/{LABEL} && cp -a /mnt/{LABEL}/usr / && ln -s /mnt/{LABEL}/{LUGGAGE} /{LUGGAGE}"))?;
        let controllers = guest.sh("stat -f -c %T /sys/fs/cgroup && cat /sys/fs/cgroup/cgroup.controllers")?;
        ensure!(
            controllers.starts_with("cgroup2fs") && controllers.contains("memory"),
            "this is no pure cgroup v2: {controllers}"
        );
        let versions = guest.sh("uname -r; systemctl --version | head -n 1")?.replace('\n', ", ");
        Chronicle::begin(guest)?;
        self.account.seen("a Debian with systemd, pure cgroup v2", versions)
    }

    /// Starts server and agent as operations.md says, and looks whether they live under their units' restrictions.
    pub(super) fn start_services(&mut self) -> Result<()> {
        self.account.chapter("server and agent start as services")?;
        let guest = &mut self.guest;
        guest.sh("systemd-sysusers && systemctl daemon-reload && OUROBOROS_HOME=/var/lib/ouroboros/server ouro-server init")?;
        guest.sh("systemctl enable --now ouro-server")?;
        let address = "/var/lib/ouroboros/server/server/address";
        guest.eventually("the server listens", SOON, |g| Ok(g.run(&format!("test -s {address}"))?.code.filter(|c| *c == 0)))?;
        guest.sh(
            "OUROBOROS_HOME=/var/lib/ouroboros/agent ouro-agent join 127.0.0.1:7443 --token-file /var/lib/ouroboros/server/join-token",
        )?;
        guest.sh(&format!("printf '{CONFIG}' > /var/lib/ouroboros/agent/agent.toml"))?;
        guest.sh(&format!("cp -r /{LUGGAGE}/containers /var/lib/ouroboros/agent/modules"))?;
        let folder = "/etc/systemd/system/ouro-agent.service.d";
        guest.sh(&format!("mkdir -p {folder} && printf '[Service]\\nEnvironment=ORT_DYLIB_PATH=/{LUGGAGE}/libonnxruntime.so\\n' > {folder}/onnxruntime.conf"))?;
        guest.sh("systemctl daemon-reload && systemctl enable --now ouro-agent")?;
        let name = self.online()?;
        let exposure = |unit| format!("systemd-analyze security --no-pager {unit} | tail -n 1 | sed -E 's/.*: ([0-9.]+ [A-Z]+).*/\\1/'");
        let server = self.guest.sh(&exposure("ouro-server"))?;
        let agent = self.guest.sh(&exposure("ouro-agent"))?;
        self.account.seen("agent and server run under their units", format!("the node {name} is online"))?;
        self.account.seen("exposure by systemd-analyze", format!("server {server}, agent {agent}"))
    }

    /// A step, users, a crash; then the node has nothing left but what comes on sticks.
    pub(super) fn services(&mut self) -> Result<()> {
        self.account.chapter("a step, users, and a crash")?;
        self.language()?;
        self.account.seen("an onnx step under the unit", "the letter's language, with ONNX Runtime from a drop-in")?;
        self.who_may_ask()?;
        self.crash()
    }

    /// Waits until the node is online and offers the containers it was given.
    pub(super) fn online(&mut self) -> Result<String> {
        self.guest.eventually("the node is online", SOON, |g| {
            let nodes: Option<NodesDocument> = g.ask("ouroctl nodes --output json")?;
            let mut nodes = nodes.into_iter().flat_map(|d| d.nodes);
            Ok(nodes.find(|n| n.session == "online" && n.containers.len() > 2).map(|n| n.name))
        })
    }

    /// Waits until the node is online, whatever it has.
    pub(super) fn online_again(&mut self) -> Result<()> {
        self.guest.eventually("the node is online again", SOON, |g| {
            let nodes: Option<NodesDocument> = g.ask("ouroctl nodes --output json")?;
            Ok(nodes.into_iter().flat_map(|d| d.nodes).any(|n| n.session == "online").then_some(()))
        })
    }

    /// The socket is for root and the group, and for nobody else.
    fn who_may_ask(&mut self) -> Result<()> {
        let as_user = |groups: &str| format!("HOME=/nonexistent setpriv --reuid=4711 --regid=4711 {groups} ouroctl nodes");
        let outsider = self.guest.run(&as_user("--clear-groups"))?;
        ensure!(outsider.code == Some(1), "a user outside the group was let in: {outsider:?}");
        self.guest.sh(&as_user("--groups ouroboros"))?;
        self.guest.sh("OUROBOROS_HOME=/var/lib/ouroboros/server ouroctl token create")?;
        self.account.seen("who may use the agent's socket", "root and the group ouroboros; others are refused")
    }

    /// SIGKILL: systemd starts the agent again, and it finds its session.
    fn crash(&mut self) -> Result<()> {
        let before = self.agent_process()?;
        self.guest.sh(&format!("kill -KILL {before}"))?;
        let find = |g: &mut crate::Guest| {
            Ok(Some(g.sh("systemctl show -p MainPID --value ouro-agent")?).filter(|pid| *pid != before && pid != "0"))
        };
        let after = self.guest.eventually("another agent", SOON, find)?;
        self.online()?;
        self.account.seen("the agent is killed and comes back", format!("process {before}, then {after}"))
    }

    /// The agent's process, as systemd knows it.
    pub(super) fn agent_process(&mut self) -> Result<String> {
        let process = self.guest.sh("systemctl show -p MainPID --value ouro-agent")?;
        ensure!(process != "0", "the agent does not run");
        Ok(process)
    }
}
