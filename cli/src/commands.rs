//! The verbs, a file each, and what every one of them is given.

mod cancel;
mod completions;
mod dev;
mod events;
mod explain;
mod login;
mod logs;
mod man;
mod model;
mod module;
mod modules;
mod node;
mod nodes;
mod poison;
mod requests;
mod submit;
mod token;
mod trace;

use crate::arguments::Global;
use crate::client::{Client, Target, for_agent, for_operators, for_requests};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Style, json};
use clap::Subcommand;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::home::Home;
use serde::Serialize;

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask the fleet, or first the local model, and wait for the answer
    Submit(submit::Arguments),
    /// Who is there, how fast, on what power, how hot, how far away, what is free
    Nodes(nodes::Arguments),
    /// How a request came to its answer: first pass, plan, scores, steps, result
    Trace(trace::Arguments),
    /// Why a request waits, or went where it went, and what would help
    Explain(explain::Arguments),
    /// What the steps of a request said on their standard output and error
    Logs(logs::Arguments),
    /// The latest requests
    Requests(requests::Arguments),
    /// End a request
    Cancel(cancel::Arguments),
    /// Build, sign, check and write modules
    #[command(subcommand)]
    Module(module::Verb),
    /// Which modules sit where, with their containers
    Modules(modules::Arguments),
    /// What this machine's agent has in memory: list, load, unload, pin
    #[command(subcommand)]
    Model(model::Verb),
    /// Decide about nodes: drain, approve, quarantine, remove, label
    #[command(subcommand)]
    Node(node::Verb),
    /// Work that is kept away from the fleet because it killed workers
    #[command(subcommand)]
    Poison(poison::Verb),
    /// What happened in the fleet, and what happens
    Events(events::Arguments),
    /// Enrol this user with a server
    Login(login::Arguments),
    /// Join tokens for machines and people
    #[command(subcommand)]
    Token(token::Verb),
    /// A whole fleet on this machine, to try it out
    #[command(subcommand)]
    Dev(dev::Verb),
    /// Print the completions for a shell
    Completions(completions::Arguments),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Arguments),
}

/// Carries out one verb.
pub(crate) async fn run(command: Command, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Submit(arguments) => submit::run(arguments, context).await,
        Command::Nodes(arguments) => nodes::run(&arguments, context).await,
        Command::Trace(arguments) => trace::run(&arguments, context).await,
        Command::Explain(arguments) => explain::run(&arguments, context).await,
        Command::Logs(arguments) => logs::run(&arguments, context).await,
        Command::Requests(arguments) => requests::run(&arguments, context).await,
        Command::Cancel(arguments) => cancel::run(&arguments, context).await,
        Command::Module(verb) => module::run(verb, context).await,
        Command::Model(verb) => model::run(verb, context).await,
        Command::Modules(arguments) => modules::run(&arguments, context).await,
        Command::Node(verb) => node::run(verb, context).await,
        Command::Poison(verb) => poison::run(verb, context).await,
        Command::Events(arguments) => events::run(&arguments, context).await,
        Command::Login(arguments) => login::run(&arguments, context).await,
        Command::Token(verb) => token::run(verb, context).await,
        Command::Dev(verb) => dev::run(verb, context).await,
        Command::Completions(arguments) => completions::run(&arguments, context),
        Command::Man(arguments) => man::run(&arguments),
    }
}

/// What every verb is given: the streams, the home, and what the command line said for all of them.
pub(crate) struct Context<'a> {
    pub(crate) console: &'a mut Console,
    pub(crate) format: Format,
    pub(crate) verbose: bool,
    variable: &'a dyn Fn(&str) -> Option<String>,
    server: Option<String>,
    direct: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(global: &Global, variable: &'a dyn Fn(&str) -> Option<String>, console: &'a mut Console) -> Self {
        Self {
            console,
            format: global.output,
            verbose: global.verbose,
            variable,
            server: global.server.clone().filter(|s| !s.trim().is_empty()),
            direct: global.direct,
        }
    }

    /// A variable of the environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    /// The home of this user.
    pub(crate) fn home(&self) -> Result<Home, Fault> {
        Home::from_environment(self.variable).ok_or_else(|| {
            Fault::new(FaultCode::InvalidArgument, "there is no home folder")
                .at("OUROBOROS_HOME")
                .remedy("set OUROBOROS_HOME to a folder of your choice")
        })
    }

    /// A connection to who answers for requests.
    pub(crate) async fn client(&self) -> Result<Client, Fault> {
        let home = self.home()?;
        Client::open(&for_requests(&Target { home: &home, server: self.server.as_deref(), direct: self.direct })?).await
    }

    /// A connection to the server.
    pub(crate) async fn operator(&self) -> Result<Client, Fault> {
        let home = self.home()?;
        Client::open(&for_operators(&Target { home: &home, server: self.server.as_deref(), direct: true })?).await
    }

    /// A connection to the agent of this machine.
    pub(crate) async fn agent(&self) -> Result<Client, Fault> {
        Client::open(&for_agent(&self.home()?)?).await
    }

    /// Prints a document in the format that was asked for.
    pub(crate) fn show<T: Serialize>(
        &mut self,
        document: &T,
        table: impl FnOnce(&T, Style) -> String,
        quiet: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(document, self.console.style()),
            Format::Json => json(document),
            Format::Quiet => quiet(document),
        };
        self.console.print(&text)
    }
}

/// One line per item.
pub(crate) fn lines<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| format!("{item}\n")).collect()
}
