//! What was promised and what was seen: printed as it happens, and as a table at the end.

use anyhow::Result;
use std::io::Write;
use std::time::{Duration, Instant};

/// The account of one run.
pub struct Account<'a> {
    out: &'a mut dyn Write,
    begin: Instant,
    lines: Vec<(String, String)>,
}

impl<'a> Account<'a> {
    /// An empty one.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, begin: Instant::now(), lines: vec![] }
    }

    /// Says what begins now.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn chapter(&mut self, title: &str) -> Result<()> {
        writeln!(self.out, "\n{:>5.0} s  {title}", self.begin.elapsed().as_secs_f64())?;
        Ok(self.out.flush()?)
    }

    /// Notes that a promise was seen kept.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn seen(&mut self, promise: &str, sight: impl Into<String>) -> Result<()> {
        let sight = sight.into();
        writeln!(self.out, "         {promise}: {sight}")?;
        self.lines.push((promise.into(), sight));
        Ok(self.out.flush()?)
    }

    /// Prints everything again.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn table(&mut self) -> Result<()> {
        writeln!(self.out, "\nWhat was promised, and what was seen in the machine")?;
        let width = self.lines.iter().map(|(promise, _)| promise.chars().count()).max().unwrap_or(0);
        for (promise, sight) in &self.lines {
            writeln!(self.out, "  {promise:width$}  {sight}")?;
        }
        writeln!(self.out, "\n{:.0} s", self.begin.elapsed().as_secs_f64())?;
        Ok(self.out.flush()?)
    }
}

impl std::fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("lines", &self.lines).finish_non_exhaustive()
    }
}

/// A time as people read it.
pub fn time(span: Duration) -> String {
    if span < Duration::from_secs(2) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}
