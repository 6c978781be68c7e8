//! From submit to the first piece of an answer: a request for a language model on another machine, by way of the server.
//!
//! The model is the project's toy, a thousandth of a real one's work, so the figures are what stands before a model's own time.

use crate::noop::quantile_ms;
use anyhow::Context as _;
use ouro_common::envelope::Envelope;
use ouro_common::step::RequestState;
use ouro_tests::{Fleet, LONG, NodeOptions, assets, eventually, request, single_step};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Requests before the clock starts: the model is loaded, and the node is trusted with more than one step at a time.
const WARM_UP: u32 = 8;

const MANIFEST: &str = "name = \"talk\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n\
    [needs]\nmemory_bytes = 67108864\n";

/// What was measured, one request after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstChunk {
    /// How many requests.
    pub requests: usize,
    /// Half of the first pieces came within this after submit, ms.
    pub chunk_p50_ms: f64,
    /// 99 % did, ms.
    pub chunk_p99_ms: f64,
    /// Half of the results came within this, ms.
    pub result_p50_ms: f64,
}

impl FirstChunk {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let rows = [
            ("requests", self.requests.to_string()),
            ("submit to first piece of the answer: P50", format!("{:.1} ms", self.chunk_p50_ms)),
            ("submit to first piece of the answer: P99", format!("{:.1} ms", self.chunk_p99_ms)),
            ("submit to result: P50", format!("{:.1} ms", self.result_p50_ms)),
        ];
        for (name, value) in rows {
            let _ = writeln!(text, "{name:<46} {value}");
        }
        text
    }
}

/// Starts a server and an agent with a language model, and measures.
///
/// # Errors
/// When a request does not end well, or its answer does not come in pieces.
pub fn first_chunk(requests: u32) -> anyhow::Result<FirstChunk> {
    let mut fleet = Fleet::of(&[NodeOptions::new("bench", &["noop"])]);
    let folder = fleet.node("bench").modules().join("talk");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(assets::first_pass_model(), folder.join("talk.gguf"))?;
    std::fs::write(folder.join("container.toml"), MANIFEST)?;
    let client = fleet.client();
    let asking = client.asking();
    let container = eventually("the model to be offered", LONG, || client.wait_for(async { asking.container("talk").await }).ok());
    let plan = single_step(&container, serde_json::json!({}));
    let (mut chunks, mut results) = (vec![], vec![]);
    for n in 0..WARM_UP + requests {
        // Each asks something else: an answer that is known is not made again.
        let envelope = Envelope { approved_plan: Some(plan.clone()), ..request(&format!("What is {n} + 2?"), &[]) };
        let begin = Instant::now();
        let (first, result) = client.wait_for(async {
            let id = asking.submit(&envelope, &[]).await?;
            asking.listen(id).await
        })?;
        anyhow::ensure!(result.state == RequestState::Done, "a request is {}: {:?}", result.state, result.fault);
        let whole: Duration = begin.elapsed();
        if n >= WARM_UP {
            chunks.push(first.context("the answer did not come in pieces")? - begin);
            results.push(whole);
        }
    }
    Ok(FirstChunk {
        requests: results.len(),
        chunk_p50_ms: quantile_ms(&chunks, 0.5),
        chunk_p99_ms: quantile_ms(&chunks, 0.99),
        result_p50_ms: quantile_ms(&results, 0.5),
    })
}
