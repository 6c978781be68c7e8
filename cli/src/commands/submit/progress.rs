//! What is said while the answer is waited for: a spinner on a terminal, a line each with `-v`, and otherwise nothing.

use super::Context;
use crate::output::{Format, WIDTH, text};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The spinner and the memory of what was said.
pub(super) struct Progress {
    spinner: Option<ProgressBar>,
    verbose: bool,
    seen: Vec<(String, String)>,
    position: usize,
}

impl Progress {
    /// For this terminal and this command line.
    pub(super) fn start(context: &Context<'_>) -> Self {
        let wanted = context.console.err_is_terminal() && context.format != Format::Quiet && !context.verbose;
        let spinner = wanted.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { spinner, verbose: context.verbose, seen: Vec::new(), position: 0 }
    }

    /// A new connection tells everything from the beginning.
    pub(super) fn reconnected(&mut self) {
        self.position = 0;
    }

    /// Whether the present connection told anything.
    pub(super) fn heard_something(&self) -> bool {
        self.position > 0
    }

    /// Something happened. What an earlier connection told is not told again.
    pub(super) fn event(&mut self, kind: String, what: String, context: &mut Context<'_>) {
        let event = (kind, what);
        let known = self.seen.get(self.position) == Some(&event);
        self.position += 1;
        if known {
            return;
        }
        let (kind, what) = &event;
        let line = if what.is_empty() { kind.clone() } else { format!("{kind}: {what}") };
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text::cut(&line, WIDTH - 20));
        }
        if self.verbose {
            context.console.note(&text::one_line(&line));
        }
        self.seen.push(event);
    }

    /// Says a line of its own.
    pub(super) fn note(&self, line: &str, context: &mut Context<'_>) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| context.console.note(line)),
            None => context.console.note(line),
        }
    }

    /// Makes way for the answer.
    pub(super) fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
