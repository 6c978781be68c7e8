//! Keys that come and go, and nodes that say of a module what is not so.

use super::*;
use ouro_common::module::{Origin, SignedIndex};

// Made by minisign 0.11 (`-G -W`, `-S`).
const KEY: &str = "RWQ18N+JrnKKpCTP6W02wgcxMUGBLTgCutwN0G4q3EGJq/vF3KcTMC0v";
const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
    RUQ18N+JrnKKpICMFmjzggFlXaUL5rsyiD97XfsVVFbSx240uTlOGCfes8UH5bMEmIxMOb27Wn85i4cEcrKmrBsC+KS2GgVQ9wA=\n\
    trusted comment: module text\n\
    JY/ImMdIIWL2uO3TJ1m9a4I1uSykQ6sfrsRtdAfuN+exZULSuQJZeYESmRDFWfQ99G29Ux4FYbvg/DaTgzWHDQ==\n";

fn placement(policy: TrustPolicy) -> Placement {
    let index = SignedIndex { index: INDEX.into(), signature: Some(SIGNATURE.into()) };
    // What the node says of the signature is not asked: the server looks itself.
    let origin = Origin {
        signature: Verdict::Trusted { key: "1".parse().unwrap(), comment: String::new() },
        policy,
        index: Some(index),
        link_bytes_per_s: None,
        port_link: None,
        ready_after_ms: None,
        wake_ms: None,
    };
    Placement {
        module: sha256(INDEX.as_bytes()),
        label: "OURO-T".into(),
        slot: "loop7".into(),
        state: ModuleState::Ready,
        why: String::new(),
        read_bytes_per_s: None,
        containers: vec![],
        problems: vec![],
        origin: Some(origin),
    }
}

fn checked(keys: &TrustedKeys, placement: Placement) -> (ModuleState, String) {
    let mut announcement = Announcement { placements: vec![placement] };
    keys.check(&mut announcement);
    let placement = announcement.placements.remove(0);
    (placement.state, placement.why)
}

#[test]
fn a_key_is_trusted_while_its_file_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let keys = TrustedKeys::open(dir.path().join("trusted-keys"));
    assert_eq!(keys.lines(), Vec::<String>::new());
    let named = keys.trust("factory", &format!("untrusted comment: x\n{KEY}\n")).unwrap();
    assert!(keys.look() && !keys.look());
    assert_eq!((keys.lines(), keys.now()), (vec![KEY.to_string()], vec![named.clone()]));
    assert_eq!(
        TrustedKeys::open(dir.path().join("trusted-keys")).now(),
        std::slice::from_ref(&named),
        "it outlives the server"
    );
    for bad in ["", "../up", "a b", ".hidden"] {
        assert_eq!(keys.trust(bad, KEY).unwrap_err().at, "name", "{bad}");
    }
    assert_eq!(keys.trust("other", "RWnonsense").unwrap_err().at, "key");
    assert_eq!(keys.distrust("nobody").unwrap_err().code, FaultCode::NotFound);
    assert_eq!(keys.distrust(&named.key.id().to_string()).unwrap(), named);
    assert!(keys.look() && keys.lines().is_empty());
}

#[test]
fn a_node_s_word_is_not_enough() {
    let dir = tempfile::tempdir().unwrap();
    let keys = TrustedKeys::open(dir.path().to_path_buf());
    let (state, why) = checked(&keys, placement(TrustPolicy::Enforce));
    assert!(state == ModuleState::Untrusted && why.contains("not a trusted key"), "{why}");
    let asleep = Placement { state: ModuleState::Asleep, ..placement(TrustPolicy::Enforce) };
    assert_eq!(checked(&keys, asleep).0, ModuleState::Untrusted, "sleep hides nothing");
    assert_eq!(checked(&keys, placement(TrustPolicy::Off)).0, ModuleState::Ready, "its owner decided otherwise");
    keys.trust("factory", KEY).unwrap();
    keys.look();
    assert_eq!(checked(&keys, placement(TrustPolicy::Enforce)).0, ModuleState::Ready);
    let mut other = placement(TrustPolicy::Enforce);
    other.module = sha256(b"another");
    assert!(checked(&keys, other).1.contains("identity"));
    let mut silent = placement(TrustPolicy::Enforce);
    silent.origin = None;
    assert_eq!(checked(&keys, silent.clone()).0, ModuleState::Untrusted);
    silent.slot = "dir:/srv/modules".into();
    assert_eq!(checked(&keys, silent).0, ModuleState::Ready, "folders are their owner's business");
    let mut changed = placement(TrustPolicy::Enforce);
    let signed = changed.origin.as_mut().unwrap().index.as_mut().unwrap();
    signed.index.push(' ');
    changed.module = sha256(signed.index.as_bytes());
    assert!(checked(&keys, changed).1.contains("bad signature"));
    let mut extra = placement(TrustPolicy::Enforce);
    let manifest = "name = \"n\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"builtin\"\ninputs = []\n\
                    outputs = [{ port = \"out\", media = \"text/plain\" }]\n";
    let manifest = ouro_common::container::Manifest::from_toml(manifest).unwrap();
    extra.containers.push(ouro_common::container::Container { digest: sha256(b"x"), manifest });
    assert!(checked(&keys, extra).1.contains("n:1.0.0 is not in its index"));
}
