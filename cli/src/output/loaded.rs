//! `ouroctl model …`: what an agent has in memory.

use super::quantity::{bytes, span_ms};
use super::table::{Cell, Column, Table};
use super::{Style, Tone};
use ouro_common::container::LoadPolicy;
use ouro_common::document::{BatchState, LoadedDocument, LoadedView};

/// The table, and what happens to those that wait.
pub(crate) fn render(document: &LoadedDocument, style: Style) -> String {
    let leave = format!("A container that has waited for {} leaves memory", span_ms(document.idle_timeout_s as f64 * 1000.0));
    if document.workers.is_empty() {
        return format!("Nothing is in memory. {leave}.\n");
    }
    let columns = [
        ("CONTAINER", Column::Left),
        ("STATE", Column::Left),
        ("MEMORY", Column::Right),
        ("PROCESS", Column::Right),
        ("KEPT", Column::Left),
    ];
    let mut table = Table::new(style, &columns);
    for worker in &document.workers {
        let (state, tone) = state(worker);
        table.row(vec![
            worker.name().into(),
            Cell::toned(state, tone),
            worker.memory_bytes.map_or_else(|| "-".to_string(), bytes).into(),
            worker.process.map_or_else(|| "-".to_string(), |process| process.to_string()).into(),
            kept(worker).into(),
        ]);
    }
    let batches: String = document.workers.iter().filter_map(|worker| Some(batch(worker, worker.batch.as_ref()?))).collect();
    format!("{}{batches}{leave}, unless it is pinned.\n", table.render(0))
}

/// What a language model computes and keeps, in a line.
fn batch(worker: &LoadedView, batch: &BatchState) -> String {
    let mut line = format!("{} computes {} of {} requests", worker.name(), batch.running, batch.most);
    if batch.waiting > 0 {
        line += &format!(", {} wait", batch.waiting);
    }
    line += &format!("; {} of {} cache are set aside", bytes(batch.cache_bytes), bytes(batch.cache_limit_bytes));
    if batch.prefixes > 0 {
        let reused = 100.0 * batch.reused_tokens as f64 / batch.prompt_tokens.max(1) as f64;
        line += &format!(
            "; {} beginnings of prompts are kept in {}, {reused:.0} % of prompt tokens came from such",
            batch.prefixes,
            bytes(batch.prefix_bytes)
        );
    }
    line + "\n"
}

/// How long it stays, and by whose word.
fn kept(worker: &LoadedView) -> String {
    let idle = || span_ms(worker.idle_timeout_s as f64 * 1000.0);
    match worker.policy {
        _ if worker.pinned => "pinned".into(),
        LoadPolicy::PerRequest => format!("for each request ({})", worker.policy_why),
        LoadPolicy::Persistent => format!("persistent ({})", worker.policy_why),
        LoadPolicy::Idle => format!("{} idle ({})", idle(), worker.policy_why),
        LoadPolicy::Dummy => format!("{} idle, then its sessions ({})", idle(), worker.policy_why),
    }
}

fn state(worker: &LoadedView) -> (String, Tone) {
    match (worker.process, worker.busy, worker.idle_s) {
        (None, _, _) => match worker.parked_bytes {
            Some(parked) => (format!("in a file, {}", bytes(parked)), Tone::Dim),
            None => ("not loaded".into(), Tone::Warn),
        },
        (_, true, _) => ("busy".into(), Tone::Good),
        (_, false, Some(idle)) => (format!("waits for {}", span_ms(idle * 1000.0)), Tone::Dim),
        (_, false, None) => ("waits".into(), Tone::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::container::Runtime;

    #[test]
    fn each_worker_has_a_row_and_nothing_is_said_to_be_nothing() {
        let empty = LoadedDocument {
            schema: LoadedDocument::SCHEMA.into(),
            idle_timeout_s: 300,
            memory_limit_bytes: 1 << 30,
            workers: vec![],
        };
        let plain = Style::PLAIN;
        assert_eq!(render(&empty, plain), "Nothing is in memory. A container that has waited for 5 min leaves memory.\n");
        let worker = LoadedView {
            container: Some("langid:1.0.0".parse().unwrap()),
            first_pass: None,
            runtime: Runtime::Onnx,
            process: Some(7),
            memory_bytes: Some(40 << 20),
            busy: false,
            idle_s: Some(4.0),
            pinned: true,
            policy: LoadPolicy::Idle,
            idle_timeout_s: 300,
            policy_why: "the default".into(),
            batch: None,
            parked_bytes: None,
        };
        let state = BatchState {
            running: 2,
            waiting: 1,
            most: 8,
            cache_bytes: 3 << 20,
            cache_limit_bytes: 1 << 30,
            ..BatchState::default()
        };
        let kept = BatchState { prefixes: 4, prefix_bytes: 1 << 20, prompt_tokens: 200, reused_tokens: 50, ..state };
        let absent = LoadedView { process: None, batch: Some(kept), memory_bytes: None, idle_s: None, ..worker.clone() };
        let parked = LoadedView { parked_bytes: Some(2 << 20), pinned: false, policy: LoadPolicy::Dummy, batch: None, ..absent.clone() };
        let first = LoadedView { container: None, first_pass: Some("/m.gguf".into()), policy: LoadPolicy::Idle, ..parked.clone() };
        let text = render(&LoadedDocument { workers: vec![worker, absent, parked, first], ..empty }, plain);
        for word in [
            "computes 2 of 8 requests, 1 wait; 3.0 MiB of 1.0 GiB",
            "4 beginnings",
            "1.0 MiB, 25 %",
            "langid:1.0.0",
            "first-pass ",
            "waits for 4.00 s",
            "40.0 MiB",
            "pinned",
            "not loaded",
            "unless it is pinned",
            "in a file, 2.0 MiB",
            "5 min idle, then its sessions (the default)",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
