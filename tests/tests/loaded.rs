//! What an agent has in memory, on the real binaries: loaded by a word, kept, taken out again, and the memory really returned.

use ouro_common::document::LoadedDocument;
use ouro_tests::{Fleet, NodeOptions, SHORT, eventually};

#[test]
fn a_container_is_loaded_pinned_and_unloaded_by_name() {
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["compose"]).configured("[workers]\nidle_timeout_s = 1\n")]);
    fleet.wait_container("attic", "compose");
    let node = &fleet.nodes[0];
    let ctl = node.ouroctl();
    let ask = |words: &[&str]| -> LoadedDocument {
        let words: Vec<&str> = ["model"].iter().chain(words).copied().chain(["--output", "json"]).collect();
        ctl.run(&words).exits(0).json()
    };
    assert!(ask(&["ps"]).workers.is_empty());
    assert_eq!(ask(&["ps"]).idle_timeout_s, 1);
    let loaded = ask(&["pin", "compose"]);
    let [worker] = &loaded.workers[..] else { panic!("{loaded:?}") };
    assert!(worker.pinned && !worker.busy && worker.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{worker:?}");
    let process = worker.process.unwrap();
    assert!(node.workers().contains(&process));
    let table = ctl.run(&["model", "ps"]).exits(0).stdout;
    assert!(table.contains("compose:") && table.contains("pinned") && table.contains("leaves memory"), "{table}");
    // Long past its second, and looked at more than once.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(ask(&["ps"]).workers.iter().map(|w| w.process).collect::<Vec<_>>(), [Some(process)]);

    assert!(!ask(&["unpin", "compose"]).workers.iter().any(|worker| worker.pinned));
    eventually("it leaves memory by itself", SHORT, || (!node.workers().contains(&process)).then_some(()));
    assert!(ask(&["ps"]).workers.is_empty());
    let again = ask(&["load", "compose"]).workers[0].process.unwrap();
    assert!(ask(&["unload", "compose"]).workers.is_empty());
    eventually("its process ends", SHORT, || (!node.workers().contains(&again)).then_some(()));

    let missing = ctl.run(&["model", "load", "composer"]);
    assert!(missing.code != Some(0) && missing.stderr.contains("no container \"composer\""), "{}", missing.both());
}
