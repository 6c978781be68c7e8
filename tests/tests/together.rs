//! Several requests to one language model on one node: computed together, with the same answers as one by one.

use ouro_common::document::{AttemptView, LoadedDocument, LoadedView};
use ouro_common::envelope::Envelope;
use ouro_common::error::FaultCode;
use ouro_common::id::RequestId;
use ouro_common::plan::Plan;
use ouro_common::step::RequestState;
use ouro_tests::quantised::in_eight_bits;
use ouro_tests::{Client, Fleet, NodeOptions, SHORT, assets, eventually, request, single_step};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

const MANIFEST: &str = "name = \"talk\"\nversion = \"1.0.0\"\nsummary = \"Answers\"\nruntime = \"gguf\"\n\
    inputs = [{ port = \"prompt\", media = \"text/plain\" }]\noutputs = [{ port = \"answer\", media = \"text/plain\" }]\n\
    [needs]\nmemory_bytes = 67108864\n";

/// Gives a node the language model.
fn give_model(fleet: &Fleet, node: &str) {
    let folder = fleet.path(node).join("modules/talk");
    let scratch = fleet.path("talk");
    fs::create_dir_all(&scratch).unwrap();
    fs::write(scratch.join("talk.gguf"), in_eight_bits(&fs::read(assets::first_pass_model()).unwrap())).unwrap();
    fs::write(scratch.join("container.toml"), MANIFEST).unwrap();
    fs::rename(&scratch, folder).unwrap();
    fleet.wait_container(node, "talk");
}

/// A fleet of one node with one slot and a language model, trusted with more than one step at a time.
fn fleet(configuration: &str) -> (Fleet, Plan) {
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["noop"]).slots(1).configured(configuration)]);
    give_model(&fleet, "attic");
    let mut client = fleet.client();
    let asking = client.asking();
    let noop = client.wait_for(async { asking.container("noop").await }).unwrap();
    for n in 0..5 {
        let plan = single_step(&noop, json!({"sleep_ms": 0, "output_bytes": 1}));
        let id = client.submit(&Envelope { approved_plan: Some(plan), ..request(&format!("trust {n}"), &[]) }, &[]).unwrap();
        assert_eq!(client.finished(id).state, RequestState::Done);
    }
    let asking = client.asking();
    let talk = eventually("the model in the catalogue", SHORT, || client.wait_for(async { asking.container("talk").await }).ok());
    (fleet, single_step(&talk, json!({"max_tokens": 48})))
}

/// A request whose answer is drawn at random, so that it is long; the seed makes it the same each time.
fn asking(plan: &Plan, seed: u64) -> Envelope {
    let mut plan = plan.clone();
    plan.steps[0].params = json!({"max_tokens": 400, "temperature": 5.0, "seed": seed});
    Envelope { approved_plan: Some(plan), ..request(&format!("What is {seed} plus {seed}?"), &[]) }
}

fn loaded(fleet: &Fleet) -> Vec<LoadedView> {
    let document: LoadedDocument = fleet.nodes[0].ouroctl().run(&["model", "ps", "--output", "json"]).exits(0).json();
    document.workers.into_iter().filter(|worker| worker.is("talk")).collect()
}

#[test]
fn requests_to_one_model_are_computed_together_and_answered_as_one_by_one() {
    let (fleet, plan) = fleet("[workers]\nbatch = 4\n");
    let mut client = fleet.client();
    let seeds = 1..=8_u64;
    let start = Instant::now();
    let alone: BTreeMap<u64, Option<String>> = seeds
        .clone()
        .map(|seed| {
            let id = client.submit(&asking(&plan, seed), &[]).unwrap();
            let result = client.finished(id);
            assert_eq!(result.state, RequestState::Done, "{:?}", result.fault);
            (seed, result.text)
        })
        .collect();
    let one_by_one = start.elapsed();
    assert!(alone.values().flatten().map(String::len).sum::<usize>() > 2_000, "{alone:?}");

    let start = Instant::now();
    let ids: Vec<(u64, RequestId)> = seeds.map(|seed| (seed, client.submit(&asking(&plan, seed), &[]).unwrap())).collect();
    let together: BTreeMap<u64, Option<String>> = ids.iter().map(|(seed, id)| (*seed, client.finished(*id).text)).collect();
    let at_once = start.elapsed();
    assert_eq!(together, alone);
    assert!(at_once < one_by_one * 10, "{at_once:?} together, {one_by_one:?} one by one");
    let [worker] = &loaded(&fleet)[..] else {
        panic!("one worker for all")
    };
    let batch = worker.batch.unwrap();
    assert_eq!((batch.running, batch.waiting, batch.cache_bytes, batch.most), (0, 0, 0, 4), "{batch:?}");
    assert!(batch.most_running > 1 && batch.most_running <= 4, "{batch:?}");
    let line = format!("8 requests: {one_by_one:.2?} one by one, {at_once:.2?} together\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

fn attempts(client: &mut Client, id: RequestId) -> Vec<AttemptView> {
    client.trace(id).steps.remove(0).attempts
}

/// What no node's cache can hold is not tried again and again, and what a larger one can hold goes there.
#[test]
fn what_does_not_fit_one_node_s_cache_goes_to_a_larger_one() {
    let (mut fleet, plan) = fleet("[workers]\ncache_bytes = 20000\n");
    let mut client = fleet.client();
    let id = client.submit(&asking(&plan, 1), &[]).unwrap();
    let refused = client.finished(id);
    let fault = refused.fault.unwrap();
    assert_eq!((refused.state, fault.code), (RequestState::Failed, FaultCode::CannotPlace), "{fault}");
    assert!(fault.problem.contains("cache of language models too small") && fault.problem.contains("attic"), "{fault}");
    assert!(fault.remedy.contains("workers.cache_bytes") && fault.remedy.contains("max_tokens"), "{fault}");
    let tried = attempts(&mut client, id);
    assert!(tried.len() == 1 && tried[0].why.contains("bytes of cache and there are 20000"), "{tried:?}");

    for (name, configuration) in [("cellar", "[workers]\ncache_bytes = 20000\n"), ("barn", "")] {
        fleet.add(&NodeOptions::new(name, &[]).slots(1).configured(configuration));
        fleet.wait_online(name);
        give_model(&fleet, name);
    }
    for seed in 2..5 {
        let id = client.submit(&asking(&plan, seed), &[]).unwrap();
        let result = client.finished(id);
        assert_eq!(result.state, RequestState::Done, "{:?}", result.fault);
        let tried = attempts(&mut client, id);
        assert!(tried.len() <= 2 && tried.last().unwrap().node_name == "barn", "never on both small ones: {tried:?}");
    }
}
