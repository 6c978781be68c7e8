//! Nodes that lie, among real agents: about how fast they are, about how long their steps took, and about what they have.

use ouro_common::container::Container;
use ouro_common::document::{ContainerView, ModulesDocument, TraceDocument};
use ouro_common::envelope::Envelope;
use ouro_common::id::RequestId;
use ouro_common::module::{Announcement, ModuleState, Origin, Placement, SignedIndex, TrustPolicy, Verdict, sha256};
use ouro_common::step::RequestState;
use ouro_tests::{Asking, Claims, Client, Conduct, Fleet, LONG, NodeOptions, SHORT, assets, eventually, request, single_step};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const HONEST: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// A container whose cost is known: 30 GFLOP, which takes an honest node some tenth of a second; it sleeps so long.
const COSTED: &str = "noop:2.0.0";

/// Five honest agents with a container whose cost is known.
fn honest() -> Fleet {
    let options: Vec<_> = HONEST.iter().map(|name| NodeOptions::new(name, &[]).slots(1)).collect();
    let fleet = Fleet::of(&options);
    let manifest = std::fs::read_to_string(assets::tree().join("models/containers/noop/container.toml")).unwrap();
    let manifest = manifest
        .replace("version = \"1.0.0\"", "version = \"2.0.0\"")
        .replace("[cost]\n", "[cost]\nflops_fixed = 3e10\n");
    for node in &fleet.nodes {
        let folder = node.modules().join("costed");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("container.toml"), &manifest).unwrap();
    }
    for name in HONEST {
        let mut client = fleet.client();
        eventually("the costed container", SHORT, || {
            let nodes = client.nodes().nodes;
            nodes.into_iter().find(|n| n.name == name && n.containers.iter().any(|c| c.to_string() == COSTED))
        });
    }
    fleet
}

fn costed(client: &Client) -> ContainerView {
    let asking = client.asking();
    client.wait_for(async { asking.container(COSTED).await }).unwrap()
}

/// Asks `count` times, four at once, as a fleet of five is used; who did how many.
fn ask(fleet: &Fleet, count: usize) -> BTreeMap<String, usize> {
    let client = fleet.client();
    let container = costed(&client);
    let one = |asking: Asking, n: usize| {
        let plan = single_step(&container, json!({"sleep_ms": 100, "output_bytes": 9}));
        let envelope = Envelope { approved_plan: Some(plan), ..request(&format!("{count} {n}"), &[]) };
        async move {
            let id = asking.submit(&envelope, &[]).await.unwrap();
            let end = tokio::time::timeout(LONG, asking.finished(id)).await.unwrap_or_else(|_| panic!("{id} did not end")).unwrap();
            assert_eq!(end.state, RequestState::Done, "{end:?}");
            asking.trace(id).await.unwrap()
        }
    };
    let mut shares = BTreeMap::new();
    client.wait_for(async {
        for batch in (0..count).collect::<Vec<_>>().chunks(4) {
            let asked: Vec<_> = batch.iter().map(|n| tokio::spawn(one(client.asking(), *n))).collect();
            for trace in asked {
                let trace: TraceDocument = trace.await.unwrap();
                trace.steps[0].attempts.iter().for_each(|a| *shares.entry(a.node_name.clone()).or_default() += 1);
            }
        }
    });
    shares
}

fn share(shares: &BTreeMap<String, usize>, name: &str) -> f64 {
    shares.get(name).copied().unwrap_or(0) as f64
}

#[test]
fn who_boasts_and_who_fails_fast_holds_less_than_half_a_fair_share() {
    let fleet = honest();
    let claims = fleet.claims_of("n1");
    let mut profile: serde_json::Value = serde_json::from_str(&claims.profile).unwrap();
    for figure in ["bandwidth_bytes_per_s", "flops_per_s"] {
        profile[figure] = json!(profile[figure].as_f64().unwrap_or(1e11) * 1000.0);
    }
    let boast = Claims { profile: profile.to_string(), ..claims.clone() };
    fleet.add_liar("boaster", boast, Conduct::Dawdles(Duration::from_millis(1500)));
    fleet.add_liar("failer", claims, Conduct::Fails);
    fleet.wait_online("boaster");
    fleet.wait_online("failer");
    let first = ask(&fleet, 50);
    let late = ask(&fleet, 60);
    let fair = late.values().sum::<usize>() as f64 / (HONEST.len() + 2) as f64;
    for liar in ["boaster", "failer"] {
        assert!(
            share(&late, liar) < fair / 2.0,
            "{liar} after fifty steps, a fair share is {fair:.1}: {late:?}; at first: {first:?}"
        );
    }
    assert!(share(&first, "boaster") + share(&first, "failer") > 0.0, "they were tried: {first:?}");
}

// Made by minisign 0.11 (`-G -W`, `-S`), with a key that no fleet trusts.
const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
    RUQ18N+JrnKKpICMFmjzggFlXaUL5rsyiD97XfsVVFbSx240uTlOGCfes8UH5bMEmIxMOb27Wn85i4cEcrKmrBsC+KS2GgVQ9wA=\n\
    trusted comment: module text\n\
    JY/ImMdIIWL2uO3TJ1m9a4I1uSykQ6sfrsRtdAfuN+exZULSuQJZeYESmRDFWfQ99G29Ux4FYbvg/DaTgzWHDQ==\n";

fn forged(container: Container, slot: &str, origin: Option<Origin>) -> Placement {
    Placement {
        module: sha256(INDEX.as_bytes()),
        label: format!("OURO-{slot}"),
        slot: slot.into(),
        state: ModuleState::Ready,
        why: String::new(),
        read_bytes_per_s: None,
        containers: vec![container],
        problems: vec![],
        origin,
    }
}

fn origin(signature: Option<&str>) -> Origin {
    Origin {
        // What the node says of the signature.
        signature: Verdict::Trusted { key: "1".parse().unwrap(), comment: "the factory".into() },
        policy: TrustPolicy::Enforce,
        index: Some(SignedIndex { index: INDEX.into(), signature: signature.map(str::to_string) }),
        link_bytes_per_s: None,
        port_link: None,
        ready_after_ms: None,
        wake_ms: None,
    }
}

#[test]
fn forged_announcements_are_refused_by_name_and_nothing_is_placed_on_them() {
    let fleet = Fleet::of(&[NodeOptions::new("honest", &[])]);
    let claims = fleet.claims_of("honest");
    let mut said: Announcement = serde_json::from_str(&claims.announcement).unwrap();
    let mut own = said.ready_containers().find(|c| c.manifest.name.as_str() == "noop").unwrap().clone();
    own.manifest.name = "forgery".parse().unwrap();
    own.digest = sha256(b"forgery");
    said.placements.push(forged(own.clone(), "nvme7n1", Some(origin(Some(SIGNATURE)))));
    said.placements.push(forged(own.clone(), "nvme8n1", Some(origin(None))));
    said.placements.push(forged(own.clone(), "nvme9n1", None));
    let announcement = serde_json::to_string(&said).unwrap();
    fleet.add_liar("forger", Claims { announcement, ..claims }, Conduct::Dawdles(Duration::ZERO));
    fleet.wait_online("forger");
    let modules: ModulesDocument = fleet.operator().run(&["modules", "--output", "json"]).exits(0).json();
    let expected = [("nvme7n1", "not a trusted key"), ("nvme8n1", "unsigned"), ("nvme9n1", "nothing about who signed it")];
    for (slot, why) in expected {
        let module = modules.modules.iter().find(|m| m.slot == slot).unwrap_or_else(|| panic!("{slot}: {modules:?}"));
        assert!(module.state == ModuleState::Untrusted && module.why.contains(why), "{slot}: {module:?}");
        assert!(module.why.contains("the server does not take its node's word"), "{module:?}");
        assert!(
            !module.signature.as_ref().is_some_and(Verdict::is_trusted),
            "what the node says of it is not shown: {module:?}"
        );
    }
    let mut client = fleet.client();
    let asking = client.asking();
    let mut view = client.wait_for(async { asking.container("noop").await }).unwrap();
    (view.container, view.digest) = (own.manifest.reference(), own.digest);
    let envelope = Envelope { approved_plan: Some(single_step(&view, json!({}))), ..request("run the forgery", &[]) };
    let fault = match client.submit(&envelope, &[]) {
        Err(fault) => fault,
        Ok(id) => end(&client, id).request.fault.expect("it cannot be placed"),
    };
    assert!(fault.to_string().contains("forgery"), "{fault}");
}

fn end(client: &Client, id: RequestId) -> TraceDocument {
    let asking = client.asking();
    client.wait_for(async {
        let _ = tokio::time::timeout(LONG, asking.finished(id)).await.unwrap_or_else(|_| panic!("{id} did not end"));
        asking.trace(id).await.unwrap()
    })
}
