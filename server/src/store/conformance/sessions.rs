//! Sessions: an epoch fences each of them, and whoever is away has its grace.

use super::Make;
use super::ground::{Ground, single};
use crate::store::{AssignOutcome, NodeChanged, OpenedSession, SessionEnd};
use ouro_common::id::{Digest, NodeId};
use ouro_common::module::{Announcement, ModuleState, Placement};
use ouro_common::step::{AdminState, NodeDeed};
use std::time::Duration;

fn announcement() -> Announcement {
    let placement = Placement {
        module: Digest::sha256([1; 32]),
        label: "stick".into(),
        slot: "dir:/m".into(),
        state: ModuleState::Ready,
        why: String::new(),
        read_bytes_per_s: Some(1e9),
        containers: vec![],
        problems: vec![],
        origin: None,
    };
    Announcement { placements: vec![placement] }
}

pub(crate) async fn a_session_is_fenced_by_its_epoch(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let OpenedSession::Open { session_epoch, previous, .. } = ground.open(node.id).await else {
        panic!("not open")
    };
    assert!(session_epoch > node.session_epoch);
    assert!(previous.is_some());
    ground.store.close_session(node.id, node.session_epoch, SessionEnd::Left).await.unwrap();
    let session = ground.store.nodes().await.unwrap().remove(0).session.unwrap();
    assert_eq!((session.session_epoch, session.offline_since), (session_epoch, None), "the old session closes nothing");
    assert!(!ground.store.announce(node.id, node.session_epoch, &announcement()).await.unwrap());
    assert!(ground.store.announce(node.id, session_epoch, &announcement()).await.unwrap());
    ground.store.close_session(node.id, session_epoch, SessionEnd::Left).await.unwrap();
    let session = ground.store.nodes().await.unwrap().remove(0).session.unwrap();
    assert_eq!(session.offline_since, Some(ground.store.now()));
    assert!(!ground.store.announce(node.id, session_epoch, &announcement()).await.unwrap(), "closed");
    assert_eq!(ground.open(NodeId::from_parts(0, [0; 10])).await, OpenedSession::Unknown);
}

pub(crate) async fn removed_nodes_stay_out_and_pending_ones_get_nothing(make: Make) {
    let ground = Ground::new(&make);
    ground.token("t", 1, true).await;
    let pending = ground.store.redeem_token("t", Digest::blake3(b"t"), ground.credential("host")).await.unwrap().unwrap();
    let OpenedSession::Open { session_epoch, admin, name, .. } = ground.open(pending.id).await else {
        panic!("not open")
    };
    assert_eq!(admin, AdminState::Pending);
    let node = super::ground::Node { id: pending.id, session_epoch, name };
    ground.request(&single()).await;
    let ready = ground.take().await.remove(0);
    assert_eq!(ground.assign(&ready, &node).await, AssignOutcome::NodeGone);
    ground.deed(&node, NodeDeed::Approve).await;
    assert!(matches!(ground.assign(&ready, &node).await, AssignOutcome::Assigned { .. }));
    ground.deed(&node, NodeDeed::Remove).await;
    assert_eq!(ground.open(node.id).await, OpenedSession::Removed);
    assert!(ground.store.nodes().await.unwrap().is_empty());
    assert_eq!(ground.deed(&node, NodeDeed::Approve).await, NodeChanged::Refused(AdminState::Removed), "removed is for good");
}

pub(crate) async fn a_node_is_lost_after_its_grace(make: Make) {
    let ground = Ground::new(&make);
    let (busy, idle) = (ground.node("busy").await, ground.node("idle").await);
    let request = ground.request(&single()).await;
    let key = ground.place(request, "s1", &busy).await;
    for node in [&busy, &idle] {
        ground.store.close_session(node.id, node.session_epoch, SessionEnd::Lost("cable".into())).await.unwrap();
    }
    let grace = Duration::from_secs(3);
    ground.ticker.pass(Duration::from_millis(2999));
    assert!(ground.store.lost_nodes(grace).await.unwrap().is_empty());
    ground.ticker.pass(Duration::from_millis(1));
    assert_eq!(ground.store.lost_nodes(grace).await.unwrap(), [busy.id], "who holds nothing is not missed");
    let OpenedSession::Open { live, .. } = ground.open(busy.id).await else {
        panic!("not open")
    };
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].key, key);
    assert!(live[0].answers);
    assert_eq!(live[0].inputs[0].1.inline.as_deref(), Some(b"hello".as_slice()), "short inputs ride along");
    assert!(ground.store.lost_nodes(grace).await.unwrap().is_empty());
}

pub(crate) async fn a_restarted_server_gives_every_node_its_grace(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let request = ground.request(&single()).await;
    ground.place(request, "s1", &node).await;
    ground.store.renew_instance(ground.instance).await.unwrap();
    let ground = ground.restart(&make);
    ground.store.renew_instance(ground.instance).await.unwrap();
    let grace = Duration::from_secs(90);
    assert!(ground.store.lost_nodes(grace).await.unwrap().is_empty());
    ground.ticker.pass(Duration::from_secs(91));
    assert_eq!(ground.store.lost_nodes(grace).await.unwrap(), [node.id]);
    ground.online(node.id).await;
    ground.store.renew_instance(ground.instance).await.unwrap();
    assert_eq!(
        ground.store.nodes().await.unwrap()[0].session.as_ref().unwrap().offline_since,
        None,
        "its own sessions stay open"
    );
}

pub(crate) async fn nodes_are_what_they_last_said(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let profile = ouro_common::device::NodeProfile {
        hardware: serde_json::from_value(serde_json::json!({
            "schema": "ouroboros.hwdetect/1", "root": "/", "machine": { "kind": "vm", "cpu": { "model": null, "arch": null,
            "logical": 2, "physical": 1, "isa": [] } },
            "memory": { "total_bytes": 1, "available_bytes": null, "host_bytes": null, "bandwidth_bytes_per_s": null },
            "numa": [], "pcie": [], "nvme": [], "accelerators": [],
            "power": serde_json::to_value(ouro_common::device::Power::default()).unwrap(),
            "thermal": serde_json::to_value(ouro_common::device::Thermal::default()).unwrap(), "warnings": []
        }))
        .unwrap(),
        recorded: false,
        hostname: "host".into(),
        agent_version: "0.1.0".into(),
        boot: ouro_common::id::BootId::from_parts(4, [4; 10]),
        runtimes: vec![],
        bandwidth_bytes_per_s: Some(2.5e10),
        flops_per_s: None,
        disk_bytes_per_s: None,
        hash_bytes_per_s: None,
        slots: 2,
        batch: 1,
        cache_bytes: Some(1 << 30),
        first_pass_model: None,
    };
    ground.store.put_profile(node.id, &profile).await.unwrap();
    ground.store.announce(node.id, node.session_epoch, &announcement()).await.unwrap();
    ground.deed(&node, NodeDeed::Drain).await;
    let record = ground.store.nodes().await.unwrap().remove(0);
    assert_eq!(record.profile, Some(std::sync::Arc::new(profile)));
    assert_eq!(record.announcement, announcement());
    assert_eq!(record.admin, AdminState::Draining);
}
