//! Modules that somebody made to do harm, or that were damaged: each is refused by name, and quickly, whatever is in it.

use ouro_tests::Bench;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONTAINER_TYPE: &str = "application/vnd.ouroboros.container.v1+json";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a blob and describes it.
fn blob(layout: &Path, media: &str, bytes: &[u8]) -> Value {
    let folder = layout.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(hex(bytes)), bytes).unwrap();
    json!({ "mediaType": media, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() })
}

/// Writes a layout with one container of runtime gguf, whose manifest and layers somebody has changed.
fn layout(layout: &Path, change_manifest: impl Fn(&mut Value), change_oci: impl Fn(&mut Value)) {
    let mut manifest = json!({
        "name": "bad", "version": "1.0.0", "summary": "s", "runtime": "gguf", "inputs": [],
        "outputs": [{ "port": "out", "media": "text/plain" }],
    });
    change_manifest(&mut manifest);
    let weights = blob(layout, "application/vnd.cncf.model.weight.v1.raw", b"weights");
    let config = blob(layout, CONTAINER_TYPE, manifest.to_string().as_bytes());
    let mut oci = json!({ "schemaVersion": 2, "artifactType": CONTAINER_TYPE, "config": config, "layers": [weights] });
    change_oci(&mut oci);
    let mut entry = blob(layout, MANIFEST_TYPE, oci.to_string().as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "bad:1.0.0" });
    fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn an_unchanged_one_is_taken() {
    let bench = Bench::new();
    layout(&bench.path("m"), |_| (), |_| ());
    let _ = bench.run("module verify F/m --any-signature").exits(0).says("bad:1.0.0");
}

#[test]
fn what_a_manifest_may_not_ask_for_is_refused() {
    let cases: [(&str, Value, &str); 6] = [
        ("/needs", json!({ "memory_bytes": 1u64 << 60 }), "needs.memory_bytes"),
        ("/needs", json!({ "accelerators": vec!["cpu"; 1000] }), "needs.accelerators"),
        ("/cost", json!({ "flops_fixed": 1e300 }), "cost.flops_fixed"),
        ("/model", json!("../../etc/shadow"), "plain file name"),
        ("/summary", json!("x".repeat(100_000)), "summary"),
        ("/name", json!("../bad"), "name"),
    ];
    for (field, value, problem) in cases {
        let bench = Bench::new();
        layout(&bench.path("m"), |manifest| manifest[&field[1..]] = value.clone(), |_| ());
        let outcome = bench.run("module verify F/m --any-signature").exits(1).says(problem);
        assert!(outcome.stderr.len() < 2000, "what the module says is not repeated at length: {}", outcome.stderr.len());
    }
}

#[test]
fn layers_that_lie_or_lead_elsewhere_are_refused() {
    let nothing = "0".repeat(64);
    let cases: [(Value, &str); 6] = [
        (json!("sha256:../../../../etc/passwd"), "not well-formed"),
        (json!(format!("blake3:{nothing}")), "sha256"),
        (json!(format!("sha512:{nothing}{nothing}")), "not well-formed"),
        (json!(format!("sha256:{nothing}")), "it is missing"),
        (json!(17), "not well-formed"),
        (json!(format!("sha256:{}", "A".repeat(64))), "not well-formed"),
    ];
    for (digest, problem) in cases {
        let bench = Bench::new();
        layout(&bench.path("m"), |_| (), |oci| oci["layers"][0]["digest"] = digest.clone());
        let _ = bench.run("module verify F/m --any-signature").exits(1).says(problem);
    }
    for (size, problem) in [(json!(u64::MAX), "absurd"), (json!(-1), "not well-formed"), (json!(6), "7 bytes instead of 6")] {
        let bench = Bench::new();
        layout(&bench.path("m"), |_| (), |oci| oci["layers"][0]["size"] = size.clone());
        let _ = bench.run("module verify F/m --any-signature").exits(1).says(problem);
    }
    let bench = Bench::new();
    layout(&bench.path("m"), |_| (), |_| ());
    let weights = bench.path("m/blobs/sha256").join(hex(b"weights"));
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &weights).unwrap();
    let _ = bench.run("module verify F/m --any-signature").exits(1).says("it is not a regular file");
    fs::remove_file(&weights).unwrap();
    fs::write(&weights, "Weights").unwrap();
    let _ = bench.run("module verify F/m --any-signature").exits(1).says("not what its digest says");
}

#[test]
fn an_index_without_end_is_refused_before_it_is_read() {
    let bench = Bench::new();
    layout(&bench.path("m"), |_| (), |_| ());
    let index = fs::File::create(bench.path("m/index.json")).unwrap();
    // Holes: 100 GB take no room on the disk, and would take all the memory there is.
    index.set_len(100 << 30).unwrap();
    let _ = bench
        .run("module inspect F/m")
        .exits(1)
        .says("index.json: it has 107374182400 bytes, at most 4194304 are allowed");
    let many = vec![json!({ "mediaType": MANIFEST_TYPE, "digest": format!("sha256:{}", "0".repeat(64)), "size": 2 }); 257];
    fs::write(bench.path("m/index.json"), json!({ "schemaVersion": 2, "manifests": many }).to_string()).unwrap();
    let _ = bench.run("module inspect F/m").exits(1).says("257 containers");
    fs::write(bench.path("m/index.json"), "[".repeat(4_000_000)).unwrap();
    let _ = bench.run("module inspect F/m").exits(1).says("no OCI image index");
}

#[test]
fn a_damaged_file_system_is_survived() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/m.img").exits(0);
    let whole = fs::read(bench.path("m.img")).unwrap();
    let mut seed: u64 = 7;
    // A linear congruential generator (Knuth's MMIX): the same damage on every machine.
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut refused = 0;
    for _ in 0..150 {
        let mut image = whole.clone();
        // What steers the reader lies at the beginning; the magic number is left, so that it does get to read.
        for _ in 0..1 + draw(64) {
            let at = draw(80 << 10);
            if !(0x438..0x43a).contains(&at) {
                image[at] = u8::try_from(draw(256)).unwrap();
            }
        }
        fs::write(bench.path("damaged.img"), &image).unwrap();
        let outcome = bench.run("module verify F/damaged.img --any-signature");
        assert!(matches!(outcome.code, Some(0 | 1)), "{:?}\n{}", outcome.code, outcome.both());
        refused += usize::from(outcome.code == Some(1));
    }
    assert!(refused > 50, "{refused} of 150 were found to be damaged");
}
