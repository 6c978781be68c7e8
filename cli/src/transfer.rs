//! What is said while many bytes move: a bar with the rate on a terminal, and otherwise nothing.

use crate::commands::Context;
use crate::output::Format;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A bar that grows by bytes, for one stretch of work after the other.
pub(crate) struct Transfer {
    bar: ProgressBar,
}

impl Transfer {
    /// A bar, if this terminal and this command line want one.
    pub(crate) fn start(context: &Context<'_>) -> Self {
        if !context.console.err_is_terminal() || context.format == Format::Quiet {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::no_length();
        // The time left is the library's running estimate; it is shown only while bytes do move.
        let style = ProgressStyle::with_template("{msg:9} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Another stretch of work begins.
    pub(crate) fn begin(&self, what: &'static str, total_bytes: u64) {
        self.bar.set_message(what);
        self.bar.set_length(total_bytes);
        self.bar.reset();
    }

    /// So many more bytes have moved.
    pub(crate) fn moved(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// This many bytes have moved by now.
    pub(crate) fn reached(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
