//! The text tools as builtins: they take and give what the same tools do in a container of their own.

use crate::runtimes::{Job, JobError};
use ouro_text_tools::{Refusal, csv_stats, keywords, parameter, summarize};
use std::fs::File;

impl From<Refusal> for JobError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Input(why) => Self::input(why),
            Refusal::Failed(why) => Self::error(why),
        }
    }
}

/// Writes the best phrases, best first, as JSON.
pub(super) fn keywords(job: &Job) -> Result<(), JobError> {
    let count = parameter(&job.params, "count", 1..=100)?.unwrap_or(10);
    job.write("keywords", &keywords::run(&job.text("text")?, count))
}

/// Writes the picked sentences, one a line.
pub(super) fn summarize(job: &Job) -> Result<(), JobError> {
    let sentences = parameter(&job.params, "sentences", 1..=100)?;
    job.write("summary", summarize::run(&job.text("text")?, sentences).as_bytes())
}

/// Writes the statistics of a table.
pub(super) fn csv_stats(job: &Job) -> Result<(), JobError> {
    let input = job.inputs.iter().find(|input| input.port.as_str() == "table");
    let input = input.ok_or_else(|| JobError::input("nothing is bound to the port table"))?;
    let table = File::open(&input.file).map_err(|e| JobError::error(format!("the input cannot be read: {}: {e}", input.file.display())))?;
    job.write("statistics", csv_stats::run(table)?.to_string().as_bytes())
}
