//! Which containers a plan may use: what nodes offer, and among versions of one name those that can be run.

use crate::store::NodeRecord;
use ouro_common::container::Container;
use ouro_common::device::NodeProfile;
use ouro_common::plan::Catalogue;
use std::collections::HashSet;
use std::sync::Arc;

/// The containers of these nodes that plans may use.
///
/// A version that no node has the runtime for is left out where another of the same name can be run: the highest that can
/// be run is what a plan wants. Where none can, it stays, so that the refusal names the runtime.
pub(crate) fn catalogue<'a>(nodes: impl Iterator<Item = &'a Arc<NodeRecord>>) -> Catalogue {
    let of = |node: &'a Arc<NodeRecord>| {
        let profile = node.profile.as_deref();
        node.announcement.ready_containers().map(move |container| (has_runtime(profile, container), container))
    };
    runnable(nodes.flat_map(of))
}

/// Whether a node with this profile runs such containers; one that has not said yet is believed to.
fn has_runtime(profile: Option<&NodeProfile>, container: &Container) -> bool {
    let runtime = container.manifest.runtime.name();
    profile.is_none_or(|p| p.runtimes.iter().any(|r| r.available && r.runtime == runtime))
}

/// From offers, each with whether its node can run it.
fn runnable<'a>(offers: impl Iterator<Item = (bool, &'a Container)>) -> Catalogue {
    let (able, unable): (Vec<_>, Vec<_>) = offers.partition(|(able, _)| *able);
    let names: HashSet<_> = able.iter().map(|(_, c)| &c.manifest.name).collect();
    let rest = unable.iter().filter(|(_, c)| !names.contains(&c.manifest.name));
    Catalogue::new(able.iter().chain(rest).map(|(_, c)| (*c).clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::container::Manifest;
    use ouro_common::id::Digest;

    fn container(version: &str, runtime: &str) -> Container {
        let run = if runtime == "oci" { "[needs]\nmemory_bytes = 67108864\n[oci]\nargs = [\"/x\"]\n" } else { "" };
        let text = format!(
            "name = \"keywords\"\nversion = \"{version}\"\nsummary = \"s\"\nruntime = \"{runtime}\"\ninputs = []\n\
             outputs = [{{ port = \"out\", media = \"text/plain\" }}]\n{run}"
        );
        let manifest = Manifest::from_toml(&text).unwrap();
        let n = version.bytes().fold(0, |sum: u8, b| sum.wrapping_mul(31).wrapping_add(b));
        Container { digest: Digest::sha256([n; 32]), manifest }
    }

    fn versions(offers: &[(bool, &Container)]) -> Vec<String> {
        let catalogue = runnable(offers.iter().copied());
        let mut versions: Vec<_> = catalogue.iter().map(|(_, manifest)| manifest.version.to_string()).collect();
        versions.sort();
        versions
    }

    #[test]
    fn of_two_versions_the_one_that_can_be_run_is_offered() {
        let (old, new) = (container("1.0.0", "builtin"), container("1.1.0", "oci"));
        assert_eq!(versions(&[(true, &old), (true, &new)]), ["1.0.0", "1.1.0"], "the plan takes the higher");
        assert_eq!(versions(&[(true, &old), (false, &new)]), ["1.0.0"]);
        assert_eq!(versions(&[(false, &new)]), ["1.1.0"], "else the refusal could not name the runtime");
        assert_eq!(versions(&[(false, &old), (false, &new)]), ["1.0.0", "1.1.0"]);
        assert_eq!(versions(&[(false, &new), (true, &old), (true, &new)]), ["1.0.0", "1.1.0"], "one node that can is enough");
    }

    #[test]
    fn the_same_container_in_two_slots_is_one_and_two_of_one_name_are_two() {
        let (one, mut other) = (container("1.0.0", "builtin"), container("1.0.0", "builtin"));
        assert_eq!(versions(&[(true, &one), (true, &one)]), ["1.0.0"]);
        other.digest = Digest::sha256([9; 32]);
        assert_eq!(versions(&[(true, &one), (true, &other)]), ["1.0.0", "1.0.0"]);
    }
}
