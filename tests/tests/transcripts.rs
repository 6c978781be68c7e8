//! The command line as people see it: whole transcripts against a real fleet, compared word for word.

use ouro_tests::{Fleet, NodeOptions, assets, check_transcript, texts};
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    assets::tree().join("tests/golden").join(name)
}

#[test]
fn a_first_look() {
    let mut fleet = Fleet::of(&[NodeOptions::new("attic", &["keywords", "summarize"]).with_model(assets::first_pass_model())]);
    fleet.wait_container("attic", "summarize");
    let letter = fleet.file("letter.txt", texts::LETTER).display().to_string();
    let attic = fleet.node("attic").ouroctl();
    let folder = fleet.folder().display().to_string();
    check_transcript(&golden("first-look.txt"), &attic, &[("LETTER", &letter), ("FOLDER", &folder)]);
}

#[test]
fn what_goes_wrong() {
    let mut fleet = Fleet::of(&[NodeOptions::new("attic", &["keywords"])]);
    fleet.wait_container("attic", "keywords");
    let latin = fleet.file("latin.txt", b"caf\xe9").display().to_string();
    let attic = fleet.node("attic").ouroctl();
    let folder = fleet.folder().display().to_string();
    check_transcript(&golden("what-goes-wrong.txt"), &attic, &[("LATIN", &latin), ("FOLDER", &folder)]);
}

#[test]
fn what_operators_do() {
    let fleet = Fleet::of(&[NodeOptions::new("attic", &["keywords"]), NodeOptions::new("cellar", &["noop"])]);
    let folder = fleet.folder().display().to_string();
    check_transcript(&golden("operators.txt"), &fleet.operator(), &[("FOLDER", &folder)]);
}
