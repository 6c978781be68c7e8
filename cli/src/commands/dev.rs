//! `ouroctl dev up | down | status`: a server and agents on this machine, each with a home of its own, to try it out.

mod layout;
mod process;
mod programs;
mod up;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::table::{Cell, Column, Table};
use crate::output::{Style, Tone};
use clap::{Args, Subcommand};
use layout::Layout;
use ouro_common::error::Fault;
use process::Process;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that was told to end gets so long before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start what does not run yet, and say what to type next
    Up(UpArguments),
    /// Stop everything; what is stored stays
    Down(Place),
    /// What runs
    Status(Place),
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// How many agents
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    agents: u8,
    /// A folder of containers that every new agent offers; may be given several times
    #[arg(long = "modules", value_name = "DIR")]
    modules: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Where everything of it lies; else `dev` in the home
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `ouroboros.dev/1`.
#[derive(Serialize)]
struct DevDocument {
    schema: &'static str,
    dir: PathBuf,
    home: PathBuf,
    server: Option<String>,
    processes: Vec<ProcessView>,
}

#[derive(Serialize)]
struct ProcessView {
    name: String,
    running: bool,
    pid: Option<i32>,
    home: PathBuf,
    log: PathBuf,
}

pub(crate) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Up(arguments) => {
            let layout = layout(&arguments.place, context)?;
            up::up(&layout, &arguments, context).await?;
            let document = document(&layout);
            context.show(&document, next_steps, |d| format!("{}\n", d.home.display()))?;
        }
        Verb::Down(place) => {
            let layout = layout(&place, context)?;
            let ran = !layout.processes().is_empty();
            down(&layout).await?;
            let document = document(&layout);
            let words = |d: &DevDocument| match ran {
                true => format!("stopped; what it stored stays in {}\n", d.dir.display()),
                false => format!("nothing ran in {}\n", d.dir.display()),
            };
            context.show(&document, |d, _| words(d), |_| String::new())?;
        }
        Verb::Status(place) => {
            let document = document(&layout(&place, context)?);
            context.show(&document, status, |d| format!("{}\n", d.processes.iter().filter(|p| p.running).count()))?;
        }
    }
    Ok(Exit::Done)
}

fn layout(place: &Place, context: &Context<'_>) -> Result<Layout, Fault> {
    let dir = match &place.dir {
        Some(dir) => dir.clone(),
        None => default_dir(context.home()?.root()),
    };
    Layout::at(&dir)
}

/// `dev` in the home; the fleet's own folder when the home is that of its first node, as `dev up` says to set it.
fn default_dir(home: &Path) -> PathBuf {
    match home.parent() {
        Some(dir) if home.ends_with("node-1") && dir.join("listen").exists() => dir.to_path_buf(),
        _ => home.join("dev"),
    }
}

/// Agents go before the server, so that each can say that it leaves.
async fn down(layout: &Layout) -> Result<(), Fault> {
    let (servers, agents): (Vec<Process>, Vec<Process>) = layout.processes().into_iter().partition(Process::is_server);
    for group in [agents, servers] {
        for process in &group {
            process.ask_to_stop()?;
        }
        for process in &group {
            process.wait_or_kill(STOP_GRACE).await?;
        }
    }
    Ok(())
}

fn document(layout: &Layout) -> DevDocument {
    let view = |p: Process| {
        let running = p.is_running();
        ProcessView {
            running,
            pid: p.pid().filter(|_| running),
            home: p.home().clone(),
            log: p.log(),
            name: p.name().to_string(),
        }
    };
    DevDocument {
        schema: "ouroboros.dev/1",
        dir: layout.dir().clone(),
        home: layout.first_home(),
        server: layout.listen(),
        processes: layout.processes().into_iter().map(view).collect(),
    }
}

fn status(document: &DevDocument, style: Style) -> String {
    if document.processes.is_empty() {
        return format!("nothing there yet in {}; start it with `ouroctl dev up`\n", document.dir.display());
    }
    let mut table =
        Table::new(style, &[("NAME", Column::Left), ("STATE", Column::Left), ("PID", Column::Right), ("LOG", Column::Flexible)]);
    for process in &document.processes {
        let state = if process.running { Cell::toned("running", Tone::Good) } else { Cell::toned("stopped", Tone::Bad) };
        let pid = process.pid.map_or_else(|| "-".into(), |p| p.to_string());
        table.row(vec![(&process.name).into(), state, pid.into(), process.log.display().to_string().into()]);
    }
    table.render(0)
}

fn next_steps(document: &DevDocument, style: Style) -> String {
    let word = |path: &Path| shell_word(&path.display().to_string());
    let asking = if offers_containers(&document.home) {
        "  ouroctl submit \"What language is this?\" --file text=letter.txt\n  ouroctl trace last\n".to_string()
    } else {
        let folder = word(&document.home.join("modules"));
        format!("  mkdir -p {folder}   # folders of containers put there are offered at once; so far there is nothing to ask\n")
    };
    format!(
        "{}\nserver at {}\n\nNext:\n  export OUROBOROS_HOME={}\n  ouroctl nodes\n  ouroctl modules\n{asking}  ouroctl dev down --dir {}\n",
        status(document, style),
        document.server.as_deref().unwrap_or("?"),
        word(&document.home),
        word(&document.dir),
    )
}

/// Whether a node has folders of containers: in its configuration, or where they are looked for without one.
fn offers_containers(home: &Path) -> bool {
    let configured = std::fs::read_to_string(home.join("agent.toml")).unwrap_or_default();
    let own = std::fs::read_dir(home.join("modules")).is_ok_and(|mut folders| folders.next().is_some());
    own || configured.lines().any(|line| line.starts_with("modules = "))
}

/// A word as a POSIX shell takes it.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nodes_home_leads_back_to_its_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node-1");
        assert_eq!(default_dir(&node), node.join("dev"), "a home that only happens to have that name");
        std::fs::write(dir.path().join("listen"), "127.0.0.1:1").unwrap();
        assert_eq!(default_dir(&node), dir.path());
    }

    #[test]
    fn what_to_type_next_can_be_typed() {
        let document = DevDocument {
            schema: "ouroboros.dev/1",
            dir: "/home/ada lovelace/dev".into(),
            home: "/home/ada lovelace/dev/node-1".into(),
            server: Some("127.0.0.1:41234".into()),
            processes: vec![ProcessView {
                name: "server".into(),
                running: true,
                pid: Some(4711),
                home: "/home/ada lovelace/dev/node-1".into(),
                log: "/home/ada lovelace/dev/server.log".into(),
            }],
        };
        insta::assert_snapshot!(next_steps(&document, Style::PLAIN));
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("modules")).unwrap();
        assert!(!offers_containers(home.path()));
        std::fs::create_dir_all(home.path().join("modules/langid")).unwrap();
        assert!(offers_containers(home.path()));
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }
}
