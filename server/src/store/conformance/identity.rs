//! Tokens and keys: one use is one identity, however many ask and however often.

use super::Make;
use super::ground::Ground;
use crate::store::{NodeChange, Redeemed, TokenRefusal};
use futures::future::join_all;
use ouro_common::id::Digest;
use ouro_common::step::NodeDeed;
use std::collections::BTreeSet;
use std::time::Duration;

async fn redeem(ground: &Ground, token: &str, host: &str) -> Result<Redeemed, TokenRefusal> {
    ground.store.redeem_token(token, Digest::blake3(token.as_bytes()), ground.credential(host)).await.unwrap()
}

pub(crate) async fn fifty_bearers_race_for_one_use(make: Make) {
    let ground = Ground::new(&make);
    ground.token("t", 1, false).await;
    let outcomes = join_all((0..50).map(|_| redeem(&ground, "t", "host"))).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|refusal| *refusal == TokenRefusal::UsedUp));
    assert_eq!(ground.store.nodes().await.unwrap().len(), 1);
}

pub(crate) async fn the_same_key_is_the_same_use(make: Make) {
    let ground = Ground::new(&make);
    ground.token("t", 2, false).await;
    let (secret, credential) = (Digest::blake3(b"t"), ground.credential("host"));
    let first = ground.store.redeem_token("t", secret, credential.clone()).await.unwrap().unwrap();
    assert_eq!(first.certificate_pem, None);
    ground.store.keep_certificate(credential.spki, "PEM").await.unwrap();
    ground.ticker.pass(Duration::from_secs(7200));
    let retry = crate::store::Credential { fresh_id: ground.credential("x").fresh_id, ..credential };
    let again = ground.store.redeem_token("t", secret, retry).await.unwrap().unwrap();
    assert_eq!((again.id, again.name, again.certificate_pem.as_deref()), (first.id, first.name, Some("PEM")));
    assert_eq!(ground.store.tokens().await.unwrap()[0].uses_left, 1);
}

pub(crate) async fn a_bad_token_changes_nothing(make: Make) {
    let ground = Ground::new(&make);
    for id in ["wrong-secret", "revoked", "late"] {
        ground.token(id, 1, false).await;
    }
    ground.store.revoke_token("revoked").await.unwrap();
    assert!(ground.store.revoke_token("nobody").await.is_err());
    let wrong = ground.store.redeem_token("wrong-secret", Digest::blake3(b"guess"), ground.credential("h")).await.unwrap();
    assert_eq!(wrong.unwrap_err(), TokenRefusal::Unknown);
    assert_eq!(redeem(&ground, "nobody", "h").await.unwrap_err(), TokenRefusal::Unknown);
    assert_eq!(redeem(&ground, "revoked", "h").await.unwrap_err(), TokenRefusal::Revoked);
    ground.ticker.pass(Duration::from_secs(3600));
    assert_eq!(redeem(&ground, "late", "h").await.unwrap_err(), TokenRefusal::Expired);
    assert!(ground.store.nodes().await.unwrap().is_empty());
    let tokens = ground.store.tokens().await.unwrap();
    assert!(tokens.iter().all(|t| t.uses_left == 1), "a refusal costs no use");
    assert_eq!(tokens[0].id, "late", "newest first");
}

pub(crate) async fn names_are_unique(make: Make) {
    let ground = Ground::new(&make);
    ground.token("t", 9, false).await;
    let mut names = BTreeSet::new();
    let mut first = None;
    for _ in 0..3 {
        let redeemed = redeem(&ground, "t", "host").await.unwrap();
        first.get_or_insert(redeemed.id);
        names.insert(redeemed.name);
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["host", "host-2", "host-3"]);
    ground.store.change_node(first.unwrap(), NodeChange::Deed(NodeDeed::Remove), "ada").await.unwrap();
    assert_eq!(redeem(&ground, "t", "host").await.unwrap().name, "host", "a removed node's name is free");
}

pub(crate) async fn renewal_keeps_the_identity(make: Make) {
    let ground = Ground::new(&make);
    let node = ground.node("host").await;
    let spki = Digest::blake3(b"new key");
    for _ in 0..2 {
        ground.store.renew_cert(node.id, spki).await.unwrap();
    }
    let record = ground.store.nodes().await.unwrap().remove(0);
    assert_eq!((record.id, record.spki), (node.id, spki));
    assert_eq!(record.labels.get("owner").map(String::as_str), Some("ada"));
    ground.store.keep_certificate(spki, "PEM").await.unwrap();
}
