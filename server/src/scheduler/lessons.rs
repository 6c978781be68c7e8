//! What real runs taught: a correction for each node and container, and what stands in where a pair has not met yet.
//!
//! A pair begins where its likes stand: what nodes of its class take for the container, moved by how far this node is from its
//! class with other containers of the same runtime. From there its own runs decide, each an eighth. Both are medians among which
//! "as predicted" counts as one more, so a single node that lies moves a newcomer half way at most, and two honest ones outvote it.

use super::class::Class;
use ouro_common::container::Runtime;
use ouro_common::id::{Digest, NodeId};
use ouro_common::mfpi::{ActualPhases, Residuals, Terms};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Nodes whose word counts for their class; of more, the latest.
const PEERS: usize = 32;
/// What stands in is told anew when it has moved by so much, as a logarithm: by a tenth.
const MOVED: f64 = 0.1;

/// What nodes of one class take for one container.
#[derive(Debug, Default)]
struct Peers {
    /// By node, with the number of the lesson.
    nodes: BTreeMap<NodeId, (u64, Residuals)>,
    median: Residuals,
    /// The median as it was told last.
    told: Residuals,
}

/// Everything that was learnt.
#[derive(Debug, Default)]
pub struct Lessons {
    own: BTreeMap<NodeId, BTreeMap<Digest, Residuals>>,
    classes: BTreeMap<NodeId, Class>,
    runtimes: BTreeMap<Digest, Runtime>,
    peers: BTreeMap<(Class, Digest), Peers>,
    moved: BTreeSet<(Class, Digest)>,
    /// Pairs that have learnt something that is not kept yet.
    unkept: BTreeSet<(NodeId, Digest)>,
    count: u64,
}

impl Lessons {
    /// The corrections for a node of this class: those of the pairs that have met, and what stands in for the other containers it
    /// offers. Whoever teaches something of a node has asked this before.
    pub(crate) fn of(
        &mut self,
        node: NodeId,
        class: Class,
        offers: impl Iterator<Item = (Digest, Runtime)>,
    ) -> BTreeMap<Digest, Residuals> {
        if self.classes.insert(node, class) != Some(class) {
            // What an earlier process learnt of it counts for its class from now on.
            for (container, residuals) in self.own.get(&node).cloned().unwrap_or_default() {
                self.count_in(node, class, container, residuals);
            }
        }
        let offers: Vec<(Digest, Runtime)> = offers.collect();
        // All of them first: how far the node is from its class is told by those it has met, wherever they stand in the list.
        for (container, runtime) in &offers {
            self.runtimes.entry(*container).or_insert(*runtime);
        }
        let mut known = self.own.get(&node).cloned().unwrap_or_default();
        let mut apart: HashMap<Runtime, Residuals> = HashMap::new();
        for (container, runtime) in offers {
            let Entry::Vacant(unmet) = known.entry(container) else { continue };
            let apart = apart.entry(runtime).or_insert_with(|| self.apart(node, class, runtime));
            let begin = self.beginning(apart, class, &container);
            if begin != Residuals::default() {
                unmet.insert(begin);
            }
        }
        known
    }

    /// Where a pair begins that has not met, on a node that is so far from its class.
    fn beginning(&self, apart: &Residuals, class: Class, container: &Digest) -> Residuals {
        each([apart, &self.typical(class, container)], |two| two.iter().sum())
    }

    /// One more run of a container on a node, whose prediction was made with the corrections of that time.
    pub(crate) fn learn(&mut self, node: NodeId, container: Digest, predicted: &Terms, actual: &ActualPhases) {
        let class = self.classes.get(&node).copied().unwrap_or(Class::Unknown);
        let met = self.own.get(&node).and_then(|own| own.get(&container)).copied();
        let before = met.unwrap_or_else(|| {
            let runtime = self.runtimes.get(&container).copied();
            let apart = runtime.map_or_else(Residuals::default, |runtime| self.apart(node, class, runtime));
            self.beginning(&apart, class, &container)
        });
        let after = before.learn(predicted, actual);
        self.own.entry(node).or_default().insert(container, after);
        self.unkept.insert((node, container));
        self.count_in(node, class, container, after);
    }

    /// Takes up what an earlier process kept.
    pub(crate) fn restore(&mut self, kept: impl IntoIterator<Item = (NodeId, Digest, Residuals)>) {
        for (node, container, residuals) in kept {
            self.own.entry(node).or_default().insert(container, residuals);
        }
    }

    /// What was learnt since this was asked last, to be kept.
    pub(crate) fn take_unkept(&mut self) -> Vec<(NodeId, Digest, Residuals)> {
        let unkept = std::mem::take(&mut self.unkept);
        let own = |(node, container): (NodeId, Digest)| Some((node, container, *self.own.get(&node)?.get(&container)?));
        unkept.into_iter().filter_map(own).collect()
    }

    /// A node's word about a container becomes one of its class.
    fn count_in(&mut self, node: NodeId, class: Class, container: Digest, after: Residuals) {
        self.count += 1;
        let peers = self.peers.entry((class, container)).or_default();
        peers.nodes.insert(node, (self.count, after));
        if peers.nodes.len() > PEERS
            && let Some(oldest) = peers.nodes.iter().min_by_key(|(_, (count, _))| *count).map(|(node, _)| *node)
        {
            peers.nodes.remove(&oldest);
        }
        peers.median = median(peers.nodes.values().map(|(_, r)| r));
        let far = each([&peers.median, &peers.told], |two| (two[0] - two[1]).abs());
        if far.plug.max(far.pre).max(far.dec) > MOVED {
            peers.told = peers.median;
            self.moved.insert((class, container));
        }
    }

    /// Classes and containers for which something else stands in than before.
    pub(crate) fn take_moved(&mut self) -> BTreeSet<(Class, Digest)> {
        std::mem::take(&mut self.moved)
    }

    /// Whether a container has run on a node.
    pub(crate) fn have_met(&self, node: NodeId, container: &Digest) -> bool {
        self.own.get(&node).is_some_and(|own| own.contains_key(container))
    }

    fn typical(&self, class: Class, container: &Digest) -> Residuals {
        self.peers.get(&(class, *container)).map(|peers| peers.median).unwrap_or_default()
    }

    /// How far a node is from its class with the containers of a runtime.
    fn apart(&self, node: NodeId, class: Class, runtime: Runtime) -> Residuals {
        let same = |(container, _): &(&Digest, &Residuals)| self.runtimes.get(container) == Some(&runtime);
        let far = |(container, own): (&Digest, &Residuals)| each([own, &self.typical(class, container)], |two| two[0] - two[1]);
        let all: Vec<Residuals> = self.own.get(&node).into_iter().flatten().filter(same).map(far).collect();
        median(all.iter())
    }
}

/// Phase by phase.
fn each<const N: usize>(of: [&Residuals; N], join: impl Fn([f64; N]) -> f64) -> Residuals {
    Residuals { plug: join(of.map(|r| r.plug)), pre: join(of.map(|r| r.pre)), dec: join(of.map(|r| r.dec)) }
}

/// The median of these and of one that is as predicted.
fn median<'a>(of: impl Iterator<Item = &'a Residuals> + Clone) -> Residuals {
    let middle = |phase: fn(&Residuals) -> f64| {
        let mut sorted: Vec<f64> = of.clone().map(phase).chain([0.0]).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        f64::midpoint(low, high)
    };
    Residuals { plug: middle(|r| r.plug), pre: middle(|r| r.pre), dec: middle(|r| r.dec) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: Terms = Terms { net_s: 0.0, queue_s: 0.0, plug_s: 1.0, pre_s: 1.0, dec_s: 1.0, retry_s: 0.0 };

    fn node(n: u8) -> NodeId {
        NodeId::from_parts(1, [n; 10])
    }

    fn container(n: u8) -> Digest {
        Digest::sha256([n; 32])
    }

    fn offers() -> impl Iterator<Item = (Digest, Runtime)> {
        [(container(1), Runtime::Onnx), (container(2), Runtime::Onnx), (container(3), Runtime::Gguf)].into_iter()
    }

    fn corrections(lessons: &mut Lessons, n: u8) -> BTreeMap<Digest, Residuals> {
        lessons.of(node(n), Class::Laptop, offers())
    }

    fn pre(lessons: &mut Lessons, n: u8, c: u8) -> f64 {
        corrections(lessons, n).get(&container(c)).map_or(1.0, |r| r.pre.exp())
    }

    /// Runs that each take `times` what would be predicted without any correction.
    fn teach(lessons: &mut Lessons, n: u8, c: u8, times: f64, runs: u32) {
        for _ in 0..runs {
            let predicted_s = pre(lessons, n, c);
            let actual = ActualPhases { pre_s: Some(times), ..ActualPhases::default() };
            lessons.learn(node(n), container(c), &Terms { pre_s: predicted_s, ..RUN }, &actual);
        }
    }

    #[test]
    fn a_newcomer_begins_where_its_class_stands_and_then_goes_its_own_way() {
        let mut lessons = Lessons::default();
        for n in 1..=5 {
            teach(&mut lessons, n, 1, 3.0, 60);
        }
        assert!((pre(&mut lessons, 9, 1) - 3.0).abs() < 0.05);
        assert_eq!(lessons.of(node(8), Class::Phone, offers()), BTreeMap::new(), "of another class nothing is known");
        assert!(!lessons.have_met(node(9), &container(1)));
        teach(&mut lessons, 9, 1, 1.0, 60);
        assert!((pre(&mut lessons, 9, 1) - 1.0).abs() < 0.05);
        assert!(lessons.have_met(node(9), &container(1)));
    }

    #[test]
    fn a_node_that_is_slow_with_one_container_is_expected_to_be_with_its_likes() {
        let mut lessons = Lessons::default();
        for n in 1..=5 {
            teach(&mut lessons, n, 1, 1.0, 40);
            teach(&mut lessons, n, 2, 2.0, 40);
        }
        teach(&mut lessons, 9, 1, 4.0, 80);
        let (same, other) = (pre(&mut lessons, 9, 2), pre(&mut lessons, 9, 3));
        assert!((3.5..4.5).contains(&same), "twice as its class, and half way to four times its class: {same}");
        assert!((other - 1.0).abs() < 1e-9, "another runtime says nothing: {other}");
    }

    #[test]
    fn one_that_lies_moves_a_newcomer_half_way_and_two_honest_ones_outvote_it() {
        let mut lessons = Lessons::default();
        teach(&mut lessons, 1, 1, 100.0, 80);
        assert!((pre(&mut lessons, 9, 1) - 10.0).abs() < 1.0, "half way, as a logarithm");
        teach(&mut lessons, 2, 1, 1.0, 60);
        teach(&mut lessons, 3, 1, 1.0, 60);
        assert!((pre(&mut lessons, 9, 1) - 1.0).abs() < 0.1);
    }

    #[test]
    fn what_was_kept_is_known_to_the_next_process_and_to_the_class() {
        let mut before = Lessons::default();
        teach(&mut before, 1, 1, 3.0, 60);
        teach(&mut before, 2, 1, 3.0, 60);
        let kept = before.take_unkept();
        assert_eq!((kept.len(), before.take_unkept().len()), (2, 0));
        let mut after = Lessons::default();
        after.restore(kept);
        assert!((pre(&mut after, 1, 1) - 3.0).abs() < 0.05);
        assert!(after.have_met(node(2), &container(1)));
        assert!(pre(&mut after, 9, 1) < 2.0, "the second has not come yet");
        corrections(&mut after, 2);
        assert!((pre(&mut after, 9, 1) - 3.0).abs() < 0.05);
        assert!(after.take_unkept().is_empty(), "nothing is new");
    }

    #[test]
    fn the_order_of_what_is_offered_says_nothing() {
        let mut before = Lessons::default();
        teach(&mut before, 9, 2, 9.0, 60);
        let kept = before.take_unkept();
        let begin = |offers: &[(Digest, Runtime)]| {
            let mut after = Lessons::default();
            after.restore(kept.clone());
            after.of(node(9), Class::Laptop, offers.iter().copied())
        };
        let mut all: Vec<_> = offers().collect();
        let known = begin(&all);
        assert!(known[&container(1)].pre > 0.1, "slow with the one is slow with the other: {known:?}");
        all.reverse();
        assert_eq!(begin(&all), known);
    }

    #[test]
    fn what_has_moved_is_told_once() {
        let mut lessons = Lessons::default();
        assert!(lessons.take_moved().is_empty());
        teach(&mut lessons, 1, 1, 5.0, 30);
        assert_eq!(lessons.take_moved(), BTreeSet::from([(Class::Laptop, container(1))]));
        assert!(lessons.take_moved().is_empty());
        teach(&mut lessons, 1, 1, 5.0, 1);
        assert!(lessons.take_moved().is_empty(), "what hardly moves is not worth a word");
    }

    proptest! {
        #[test]
        fn what_stands_in_is_never_beyond_what_was_seen(runs in prop::collection::vec((0u8..6, 1u8..4, 0.01f64..100.0), 0..80)) {
            let mut lessons = Lessons::default();
            for (n, c, times) in &runs {
                teach(&mut lessons, *n, *c, *times, 1);
            }
            for residuals in corrections(&mut lessons, 9).values() {
                let bound = 100f64.ln();
                prop_assert!([residuals.plug, residuals.pre, residuals.dec].iter().all(|r| r.abs() <= bound), "{residuals:?}");
            }
            for peers in lessons.peers.values() {
                prop_assert!(peers.nodes.len() <= PEERS);
            }
        }
    }
}
