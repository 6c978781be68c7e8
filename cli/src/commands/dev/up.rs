//! `ouroctl dev up`: make what is missing, start what does not run, wait until the nodes are online.

use super::layout::{Layout, home_at};
use super::process::Process;
use super::{Context, UpArguments, programs};
use crate::client::{Client, Route, TokenSpec};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use ouro_proto::identity::IdentityFiles;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The server gets so long to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// The agents get so long: those that ran on without a server call it again after a pause that grows to half a minute.
const AGENTS_PATIENCE: Duration = Duration::from_secs(45);
/// After so long it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(2);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// How long the agents' token can be used, seconds.
const TOKEN_LIFETIME_S: u64 = 600;

/// Brings the fleet up.
///
/// # Errors
/// When a program is missing or does not start: with its last words.
pub(super) async fn up(layout: &Layout, arguments: &UpArguments, context: &mut Context<'_>) -> Result<(), Fault> {
    let own = std::env::current_exe().ok();
    let path = context.variable("PATH");
    let server = programs::find("ouro-server", own.as_deref(), path.as_deref())?;
    let agent = programs::find("ouro-agent", own.as_deref(), path.as_deref())?;
    let home = home_at(&layout.first_home())?;
    std::fs::create_dir_all(home.root()).map_err(|e| refused(home.root(), &e))?;
    let address = start_server(layout, &home, &server, context).await?;
    let client = reach_server(layout, &home, &address).await?;
    let token = layout.token_file();
    // One of an earlier start may have expired.
    let _ = std::fs::remove_file(&token);
    for number in 1..=arguments.agents {
        let process = layout.agent(number);
        if !home_at(process.home())?.agent().join("node.json").exists() {
            if !token.exists() {
                make_token(layout, &client, arguments.agents).await?;
            }
            prepare_agent(&process, number, &arguments.modules)?;
            say(context, &format!("agent-{number} joins"));
            finish(&process, &agent, &["join", &address, "--token-file", &token.display().to_string()])?;
        }
        say(context, &format!("agent-{number} starts"));
        process.start(&agent, &["run"])?;
    }
    let _ = std::fs::remove_file(&token);
    wait_for_nodes(layout, &client, arguments.agents, context).await
}

fn say(context: &mut Context<'_>, line: &str) {
    if context.verbose || context.console.err_is_terminal() {
        context.console.note(line);
    }
}

fn refused(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultCode::Internal, format!("it cannot be written: {error}")).at(path.display())
}

/// Makes the fleet if there is none and starts the server; the address it listens on.
async fn start_server(layout: &Layout, home: &Home, program: &Path, context: &mut Context<'_>) -> Result<String, Fault> {
    let process = layout.server();
    if !home.server().join("ca.pem").exists() {
        say(context, "the fleet is made");
        finish(&process, program, &["init"])?;
    }
    let address = match layout.listen() {
        Some(address) => address,
        None => choose_address(layout)?,
    };
    if !process.is_running() {
        say(context, &format!("the server starts at {address}"));
        // What an earlier server wrote says nothing about this one.
        let _ = std::fs::remove_file(home.server_address());
        process.start(program, &["run", "--listen", &address])?;
    }
    Ok(address)
}

/// A free port of this machine, kept for later starts because the agents remember it.
fn choose_address(layout: &Layout) -> Result<String, Fault> {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
    let address = free
        .map_err(|e| Fault::new(FaultCode::Internal, format!("there is no free port: {e}")).at("127.0.0.1"))?
        .to_string();
    std::fs::write(layout.listen_file(), format!("{address}\n")).map_err(|e| refused(&layout.listen_file(), &e))?;
    Ok(address)
}

/// Runs a command of a process to its end.
fn finish(process: &Process, program: &Path, arguments: &[&str]) -> Result<(), Fault> {
    let status = process.command(program, arguments)?.status();
    let status = status.map_err(|e| Fault::new(FaultCode::Internal, format!("it cannot be started: {e}")).at(program.display()))?;
    if status.success() { Ok(()) } else { Err(did_not(process, &format!("`{}` failed, {status}", arguments[0]))) }
}

/// A fault with the last words of the process.
fn did_not(process: &Process, what: &str) -> Fault {
    let problem = format!("{}: {what}; it said:\n    {}", process.name(), process.last_words());
    Fault::new(FaultCode::Internal, problem)
        .at(process.log().display())
        .remedy("see the log; `ouroctl dev down` stops what did start")
}

/// Waits until the server answers.
async fn reach_server(layout: &Layout, home: &Home, address: &str) -> Result<Client, Fault> {
    let route = Route::Server { address: address.to_string(), identity: home.operator() };
    let process = layout.server();
    let end = Instant::now() + PATIENCE;
    loop {
        match Client::open(std::slice::from_ref(&route)).await {
            Ok(client) => return Ok(client),
            Err(_) if !process.is_running() => return Err(did_not(&process, "it ended at once")),
            Err(fault) if fault.code != FaultCode::ServerUnreachable => return Err(fault),
            Err(_) if Instant::now() >= end => return Err(did_not(&process, "it does not answer")),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// A token for the agents that have none yet, in a file only this user can read.
async fn make_token(layout: &Layout, client: &Client, agents: u8) -> Result<(), Fault> {
    let uses = u32::from(agents);
    let spec = TokenSpec { role: "node", uses, lifetime_s: TOKEN_LIFETIME_S, labels: HashMap::new(), require_approval: false };
    let token = client.create_token(spec).await?;
    let written = IdentityFiles::new(layout.dir()).write("join-token", &format!("{token}\n"));
    written.map_err(|e| Fault::new(FaultCode::Internal, e.to_string()))
}

/// Names the agent, since all of them are on one host; a configuration that is there is the user's.
fn prepare_agent(process: &Process, number: u8, modules: &[PathBuf]) -> Result<(), Fault> {
    let home = home_at(process.home())?;
    std::fs::create_dir_all(home.root()).map_err(|e| refused(home.root(), &e))?;
    let path = home.agent_config();
    if path.exists() {
        return Ok(());
    }
    std::fs::write(&path, configuration(number, modules)?).map_err(|e| refused(&path, &e))
}

/// `agent.toml` of an agent of a trial fleet.
fn configuration(number: u8, modules: &[PathBuf]) -> Result<String, Fault> {
    let mut text = format!("# Written by `ouroctl dev up`; change it as you like.\nname = \"agent-{number}\"\n");
    if !modules.is_empty() {
        let folders: Result<Vec<_>, Fault> = modules.iter().map(|m| toml_string(m)).collect();
        let _ = writeln!(text, "modules = [{}]", folders?.join(", "));
    }
    Ok(text)
}

/// A path as a basic string of TOML 1.0, which escapes as JSON does.
fn toml_string(path: &Path) -> Result<String, Fault> {
    let wrong = |problem: String| Fault::new(FaultCode::InvalidArgument, problem).at(path.display());
    let full = std::fs::canonicalize(path).map_err(|e| wrong(format!("the folder of modules cannot be used: {e}")))?;
    let text = full.to_str().ok_or_else(|| wrong("the folder's name is not UTF-8".into()))?;
    serde_json::to_string(text).map_err(|e| wrong(e.to_string()))
}

/// Waits until as many nodes are online as agents were asked for.
async fn wait_for_nodes(layout: &Layout, client: &Client, agents: u8, context: &mut Context<'_>) -> Result<(), Fault> {
    let begun = Instant::now();
    let mut said = false;
    loop {
        let document = client.nodes().await?;
        let online = document.nodes.iter().filter(|n| n.session == "online").count();
        if online >= usize::from(agents) {
            return Ok(());
        }
        let mut started = (1..=agents).map(|n| layout.agent(n));
        if let Some(ended) = started.find(|p| !p.is_running()) {
            return Err(did_not(&ended, "it ended at once"));
        }
        if !said && begun.elapsed() >= SILENCE {
            said = true;
            say(
                context,
                &format!("{online} of {agents} agents are online; one that was without its server calls it again within half a minute"),
            );
        }
        if begun.elapsed() >= AGENTS_PATIENCE {
            let problem = format!("only {online} of {agents} agents are online after {} s", AGENTS_PATIENCE.as_secs());
            return Err(Fault::new(FaultCode::Internal, problem).at(layout.dir().display()).remedy("see the agents' logs there"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_odd_folders() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("my \"modules\" \\ here");
        std::fs::create_dir(&odd).unwrap();
        let text = configuration(2, &[odd]).unwrap();
        assert!(text.contains("name = \"agent-2\"\n"), "{text}");
        assert!(text.contains("my \\\"modules\\\" \\\\ here\"]\n"), "{text}");
        assert_eq!(configuration(2, &[folder.path().join("none")]).unwrap_err().code, FaultCode::InvalidArgument);
    }
}
