//! Requests to one language model on one node, one by one and together: what computing them in one batch is worth, with everything
//! that happens to a request around it.

use anyhow::{Context as _, ensure};
use ouro_common::document::ContainerView;
use ouro_common::envelope::Envelope;
use ouro_common::plan::Plan;
use ouro_common::step::RequestState;
use ouro_tests::{Asking, Fleet, NodeOptions, request, single_step};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MANIFEST: &str = "name = \"talk\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n\
    [needs]\nmemory_bytes = 67108864\n";

/// What is measured.
#[derive(Debug, Clone)]
pub struct TogetherOptions {
    /// A language model in GGUF format.
    pub model: PathBuf,
    /// How many requests in each measurement.
    pub requests: Vec<u32>,
    /// The most tokens of each answer.
    pub tokens: u32,
}

/// So many requests.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// How many.
    pub requests: u32,
    /// One after the other, seconds.
    pub one_by_one_s: f64,
    /// All at once, seconds.
    pub together_s: f64,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Together {
    /// The most tokens of each answer.
    pub tokens: u32,
    /// Each number of requests.
    pub rounds: Vec<Round>,
}

/// Starts a server and an agent with the model, and measures.
///
/// # Errors
/// When a request does not end well, or two answers to the same question differ.
pub fn together(options: &TogetherOptions) -> anyhow::Result<Together> {
    let most = options.requests.iter().copied().max().unwrap_or(1);
    let fleet = Fleet::of(&[NodeOptions::new("bench", &[]).slots(1).configured(&format!("[workers]\nbatch = {most}\n"))]);
    let (scratch, folder) = (fleet.path("talk"), fleet.path("bench").join("modules/talk"));
    std::fs::create_dir_all(&scratch)?;
    std::fs::write(scratch.join("container.toml"), MANIFEST)?;
    let model = scratch.join("talk.gguf");
    std::fs::hard_link(&options.model, &model).or_else(|_| std::fs::copy(&options.model, &model).map(drop))?;
    std::fs::rename(&scratch, &folder).context("the container can be put into the module folder")?;
    let client = fleet.client();
    let asking = client.asking();
    client.wait_for(async {
        let noop = asking.container("noop").await?;
        // A new node has one step at a time until its fifth result.
        for n in 0..5 {
            answer(&asking, &single_step(&noop, serde_json::json!({})), n).await?;
        }
        let talk = there(&asking).await?;
        let plan = single_step(&talk, serde_json::json!({"max_tokens": options.tokens}));
        answer(&asking, &plan, 0).await?;
        let mut rounds = vec![];
        for &requests in &options.requests {
            rounds.push(round(&asking, &plan, requests).await?);
        }
        Ok(Together { tokens: options.tokens, rounds })
    })
}

/// The model, once its node has looked at it.
async fn there(asking: &Asking) -> anyhow::Result<ContainerView> {
    let start = Instant::now();
    loop {
        match asking.container("talk").await {
            Ok(talk) => return Ok(talk),
            Err(_) if start.elapsed() < Duration::from_secs(120) => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(fault) => return Err(fault.into()),
        }
    }
}

async fn round(asking: &Asking, plan: &Plan, requests: u32) -> anyhow::Result<Round> {
    let start = Instant::now();
    let mut alone = vec![];
    for n in 0..requests {
        alone.push(answer(asking, plan, n).await?);
    }
    let one_by_one_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let together = futures::future::try_join_all((0..requests).map(|n| answer(asking, plan, n))).await?;
    ensure!(together == alone, "together the answers are others than alone");
    Ok(Round { requests, one_by_one_s, together_s: start.elapsed().as_secs_f64() })
}

/// The answer to the `n`th question, which no other has the beginning of.
async fn answer(asking: &Asking, plan: &Plan, n: u32) -> anyhow::Result<Option<String>> {
    let envelope = Envelope {
        approved_plan: Some(plan.clone()),
        ..request(&format!("{n} is the number, and what is its half?"), &[])
    };
    let id = asking.submit(&envelope, &[]).await?;
    let result = asking.finished(id).await?;
    ensure!(result.state == RequestState::Done, "a request ended {:?}: {:?}", result.state, result.fault);
    Ok(result.text)
}

impl Together {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("requests for {} tokens each      one by one        together\n", self.tokens);
        for round in &self.rounds {
            let tokens = f64::from(round.requests * self.tokens);
            let (alone, together) = (tokens / round.one_by_one_s, tokens / round.together_s);
            let _ = writeln!(text, "{:>8} {alone:>26.2} {together:>12.2} tokens/s   {:.2} times", round.requests, together / alone);
        }
        text
    }
}
