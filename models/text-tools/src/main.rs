//! The program of the sample `oci` containers: `ouro-text-tool keywords|summarize|csv-stats`, from `/in` to `/out`.
//!
//! It ends with 65 (`EX_DATAERR`) when the input is not what the tool takes, and with 1 when something else failed.

use ouro_text_tools::{Refusal, csv_stats, keywords, parameter, summarize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let tool = std::env::args().nth(1).unwrap_or_default();
    match run(&tool) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            let _ = writeln!(io::stderr(), "{refusal}");
            if matches!(refusal, Refusal::Input(_)) { ExitCode::from(65) } else { ExitCode::FAILURE }
        }
    }
}

fn run(tool: &str) -> Result<(), Refusal> {
    let step: serde_json::Value = serde_json::from_slice(&read("/in/.step.json")?).map_err(|e| Refusal::Failed(e.to_string()))?;
    let params = &step["params"];
    match tool {
        "keywords" => write("/out/keywords", &keywords::run(&text()?, parameter(params, "count", 1..=100)?.unwrap_or(10))),
        "summarize" => write("/out/summary", summarize::run(&text()?, parameter(params, "sentences", 1..=100)?).as_bytes()),
        "csv-stats" => {
            let table = File::open("/in/table").map_err(|e| Refusal::Failed(format!("/in/table: {e}")))?;
            write("/out/statistics", csv_stats::run(table)?.to_string().as_bytes())
        }
        _ => Err(Refusal::Failed(format!("{tool:?} is none of keywords, summarize, csv-stats"))),
    }
}

fn text() -> Result<String, Refusal> {
    let not_utf8 = |e: std::string::FromUtf8Error| format!("the text is not UTF-8 (byte {})", e.utf8_error().valid_up_to());
    String::from_utf8(read("/in/text")?).map_err(|e| Refusal::Input(not_utf8(e)))
}

fn read(path: &str) -> Result<Vec<u8>, Refusal> {
    fs::read(path).map_err(|e| Refusal::Failed(format!("{path}: {e}")))
}

fn write(path: &str, bytes: &[u8]) -> Result<(), Refusal> {
    fs::write(path, bytes).map_err(|e| Refusal::Failed(format!("{path}: {e}")))
}
