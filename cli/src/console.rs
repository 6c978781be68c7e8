//! The standard streams as values: what is a terminal, what may be coloured, and what happens when the reader is gone.

use crate::exit::Failure;
use crate::output::Style;
use std::io::{BufRead, BufReader, IsTerminal as _, Read, Write};

/// Standard input, output and error of the process, or what a test puts in their place.
pub struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    input: Box<dyn BufRead>,
    out_is_terminal: bool,
    err_is_terminal: bool,
    in_is_terminal: bool,
    colour: bool,
}

impl Console {
    /// The process's own streams.
    pub fn of_process() -> Self {
        Self {
            out_is_terminal: std::io::stdout().is_terminal(),
            err_is_terminal: std::io::stderr().is_terminal(),
            in_is_terminal: std::io::stdin().is_terminal(),
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            input: Box::new(BufReader::new(std::io::stdin())),
            colour: true,
        }
    }

    /// Streams that are no terminals.
    pub fn of_streams(out: Box<dyn Write>, err: Box<dyn Write>, input: Box<dyn Read>) -> Self {
        Self {
            out,
            err,
            input: Box::new(BufReader::new(input)),
            out_is_terminal: false,
            err_is_terminal: false,
            in_is_terminal: false,
            colour: true,
        }
    }

    /// Says a line on standard error. A failure there has nobody to be told to.
    pub fn note(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
    }

    pub(crate) fn forbid_colour(&mut self) {
        self.colour = false;
    }
    pub(crate) fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }
    pub(crate) fn err_is_terminal(&self) -> bool {
        self.err_is_terminal
    }
    /// Whether a person can be asked a question: it is shown on standard error and answered on standard input.
    pub(crate) fn can_ask(&self) -> bool {
        self.in_is_terminal && self.err_is_terminal
    }
    pub(crate) fn style(&self) -> Style {
        Style { colour: self.colour && self.out_is_terminal }
    }
    pub(crate) fn error_style(&self) -> Style {
        Style { colour: self.colours_errors() }
    }
    pub(crate) fn colours_errors(&self) -> bool {
        self.colour && self.err_is_terminal
    }

    /// Writes to standard output and flushes it.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// Writes bytes as they are to standard output and flushes it.
    pub(crate) fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Shows a question on standard error and reads the answer. Anything but yes is no.
    pub(crate) fn confirm(&mut self, question: &str) -> bool {
        let _ = write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush());
        let mut answer = String::new();
        self.input.read_line(&mut answer).is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Reads standard input to its end, but at most one byte more than `limit`.
    pub(crate) fn read_input(&mut self, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
