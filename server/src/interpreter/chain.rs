//! Backwards from what a port takes to what there is: the shortest chain of converting containers.
//!
//! Breadth first over containers, each visited once, at most [`MAX_LINKS`] deep: media types that form a cycle end it
//! like any others.

use super::capability::Capability;
use ouro_common::container::{MediaType, Port};
use std::collections::{BTreeSet, VecDeque};

/// The most converting containers before a step.
pub(crate) const MAX_LINKS: usize = 4;

/// One converting container on the way: its index, and the output port that is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    /// Which of the capabilities.
    pub(crate) capability: usize,
    /// Where the next one reads.
    pub(crate) output: &'a Port,
}

/// The shortest chain that turns `from` into something `wanted` takes; empty if it takes `from` itself.
///
/// Among chains of one length those through containers of `preferred` (indexes, best first) win, then those by name.
pub(crate) fn chain<'a>(
    capabilities: &[Capability<'a>],
    from: &MediaType,
    wanted: &MediaType,
    preferred: &[usize],
) -> Option<Vec<Link<'a>>> {
    if wanted.accepts(from) {
        return Some(Vec::new());
    }
    let mut order: Vec<usize> = (0..capabilities.len()).filter(|&i| capabilities[i].converts()).collect();
    order.sort_by_key(|i| preferred.iter().position(|p| p == i).unwrap_or(usize::MAX));
    let mut visited = BTreeSet::new();
    let mut open: VecDeque<(MediaType, Vec<Link<'a>>)> = VecDeque::from([(wanted.clone(), Vec::new())]);
    while let Some((wanted, links)) = open.pop_front() {
        if links.len() == MAX_LINKS {
            continue;
        }
        for &i in &order {
            let manifest = capabilities[i].manifest;
            let Some(output) = manifest.outputs.iter().find(|p| wanted.accepts(&p.media)) else {
                continue;
            };
            if !visited.insert(i) {
                continue;
            }
            let mut longer = vec![Link { capability: i, output }];
            longer.extend(links.iter().cloned());
            let takes = &manifest.inputs[0].media;
            if takes.accepts(from) {
                return Some(longer);
            }
            open.push_back((takes.clone(), longer));
        }
    }
    None
}
