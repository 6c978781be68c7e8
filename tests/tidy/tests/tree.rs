//! The project's own tree, held to every rule: one test a rule, so that a failure names the rule.

use std::path::Path;
use tidy::{Tree, report, rules};

fn holds(rule: rules::Rule) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).expect("the source tree can be read");
    assert!(tree.file("Cargo.toml").is_some(), "{} is not the root of the source tree", root.display());
    let violations = rule(&tree);
    assert!(violations.is_empty(), "{}", report(&violations));
}

macro_rules! the_tree_keeps {
    ($($name:ident: $rule:path;)*) => {$(
        #[test]
        fn $name() {
            holds($rule);
        }
    )*};
}

the_tree_keeps! {
    every_file_has_a_header: rules::shape::headers;
    no_file_is_longer_than_500_lines: rules::shape::size;
    every_main_is_small: rules::shape::main_is_small;
    names_say_what_is_inside: rules::shape::names;
    crates_depend_along_the_arrows: rules::crates::arrows;
    recorded_machines_are_for_tests: rules::crates::fixtures_are_for_tests;
    common_depends_on_no_runtime: rules::crates::common_is_plain;
    inference_stays_in_its_box: rules::crates::inference_in_its_box;
    common_does_no_io: rules::purity::common_does_no_io;
    pure_parts_read_no_clock: rules::purity::no_clock;
    pure_parts_draw_no_chance: rules::purity::no_chance;
    pure_parts_are_synchronous: rules::purity::no_async;
    kernel_paths_stand_in_one_file: rules::machine::kernel_paths;
    unsafe_says_why: rules::machine::safety;
    wire_types_stay_at_the_wire: rules::wire::wire_types;
    there_are_no_stubs: rules::honesty::no_stubs;
    no_lint_is_allowed_away: rules::honesty::no_allow;
    links_lead_somewhere: rules::documents::links;
    fault_codes_are_real_and_explained: rules::documents::fault_codes;
    json_documents_are_described: rules::documents::document_fields;
    top_level_folders_are_drawn: rules::house::top_level;
    no_file_is_large: rules::house::no_large_files;
    no_file_names_one_machine: rules::house::no_machine_paths;
    registries_are_left_to_their_clients: rules::registries::no_hosts;
}
