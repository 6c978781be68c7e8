//! What a container is to work on: which inputs, or the prompt, and through which chain each port gets it.

use super::asks::Ask;
use super::capability::{Capability, is_prompt_port};
use super::chain::{Link, chain};
use super::draft::{Draft, Tagged, Written};
use super::lexicon::Concept;
use super::reading::{Reading, TextInPrompt};
use super::{InterpreterRequest, rules::MAX_FEEDS};
use ouro_common::container::{MediaType, Port};
use ouro_common::envelope::PROMPT_TAG;
use ouro_common::id::Name;
use ouro_common::plan::Tags;
use std::collections::BTreeMap;

/// A tag on its way to a port.
#[derive(Debug, Clone)]
pub(crate) struct Feed<'a> {
    from: Name,
    links: Vec<Link<'a>>,
}

/// One use of a container, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Use<'a> {
    capability: usize,
    ports: Vec<(Name, bool, Vec<Feed<'a>>)>,
}

impl Use<'_> {
    /// The converting steps it needs before it.
    pub(crate) fn cost(&self) -> usize {
        self.ports.iter().flat_map(|(_, _, feeds)| feeds).map(|f| f.links.len()).sum()
    }

    /// Writes it and its chains.
    pub(crate) fn write(&self, draft: &mut Draft<'_>, capabilities: &[Capability<'_>]) -> Written {
        let mut inputs = BTreeMap::new();
        for (port, many, feeds) in &self.ports {
            let mut tags = Vec::new();
            for feed in feeds {
                let mut tag = feed.from.clone();
                for link in &feed.links {
                    let takes = capabilities[link.capability].manifest.inputs[0].port.clone();
                    let written = draft.add(capabilities, link.capability, [(takes, Tags::One(tag))].into());
                    tag = written
                        .into_iter()
                        .find(|(p, _)| *p == link.output.port)
                        .map(|(_, t)| t.tag)
                        .unwrap_or_else(|| feed.from.clone());
                }
                tags.push(tag);
            }
            let bound = if *many { Tags::Many(tags) } else { Tags::One(tags.swap_remove(0)) };
            inputs.insert(port.clone(), bound);
        }
        draft.add(capabilities, self.capability, inputs)
    }
}

/// The prompt as something to work on.
pub(crate) fn prompt() -> Tagged {
    Tagged { tag: Name::from_text(PROMPT_TAG, PROMPT_TAG), media: MediaType::text() }
}

/// What `ask` is about, before any container is looked at.
pub(crate) fn subjects(ask: &Ask, concept: Option<Concept>, reading: &Reading, request: &InterpreterRequest) -> Vec<Tagged> {
    let all = || request.inputs.iter().map(|i| Tagged { tag: i.tag.clone(), media: i.media.clone() });
    let short_will_do = !matches!(concept, Some(Concept::Summary | Concept::Keywords | Concept::Entities | Concept::Correction));
    let text_in_prompt =
        reading.text == TextInPrompt::Certain || (reading.text == TextInPrompt::Words && short_will_do && request.inputs.is_empty());
    if !ask.inputs.is_empty() {
        return all().enumerate().filter(|(i, _)| ask.inputs.contains(i)).map(|(_, t)| t).collect();
    }
    if request.inputs.is_empty() {
        return if text_in_prompt { vec![prompt()] } else { Vec::new() };
    }
    all().collect()
}

/// How `capabilities[index]` is used on `subjects`: once for each that fits, or once on all if it takes several.
///
/// `None` if a port cannot be fed. Inputs that fit as they are go before those that need a chain, unless `each` is set.
pub(crate) fn uses<'a>(
    capabilities: &[Capability<'a>],
    index: usize,
    subjects: &[Tagged],
    each: bool,
    preferred: &[usize],
) -> Option<Vec<Use<'a>>> {
    let manifest = capabilities[index].manifest;
    let ports: Vec<&Port> = manifest.inputs.iter().filter(|p| !is_prompt_port(manifest, p)).collect();
    let prompts = manifest.inputs.iter().filter(|p| is_prompt_port(manifest, p));
    let mut fixed: Vec<(Name, bool, Vec<Feed<'a>>)> = Vec::new();
    for port in prompts {
        fixed.push((port.port.clone(), port.many, vec![feed(capabilities, &prompt(), port, preferred)?]));
    }
    let with = |mut own: Vec<(Name, bool, Vec<Feed<'a>>)>| {
        own.extend(fixed.iter().cloned());
        Use { capability: index, ports: own }
    };
    match ports.as_slice() {
        [] => Some(vec![with(Vec::new())]),
        [port] => {
            let mut feeds: Vec<(&Tagged, Feed<'a>)> =
                subjects.iter().take(MAX_FEEDS).filter_map(|s| Some((s, feed(capabilities, s, port, preferred)?))).collect();
            prefer_fitting(&mut feeds, each);
            let feeds: Vec<Feed<'a>> = feeds.into_iter().map(|(_, f)| f).collect();
            match (feeds.is_empty(), port.many) {
                (true, _) => None,
                (false, true) => Some(vec![with(vec![(port.port.clone(), true, feeds)])]),
                (false, false) => Some(feeds.into_iter().map(|f| with(vec![(port.port.clone(), false, vec![f])])).collect()),
            }
        }
        several => all_ports(capabilities, several, subjects, preferred).map(|own| vec![with(own)]),
    }
}

fn feed<'a>(capabilities: &[Capability<'a>], subject: &Tagged, port: &Port, preferred: &[usize]) -> Option<Feed<'a>> {
    chain(capabilities, &subject.media, &port.media, preferred).map(|links| Feed { from: subject.tag.clone(), links })
}

/// Keeps what fits as it is, if anything does; and of those a table only if there is no proper text beside it.
fn prefer_fitting(feeds: &mut Vec<(&Tagged, Feed<'_>)>, each: bool) {
    if each {
        return;
    }
    if feeds.iter().any(|(_, f)| f.links.is_empty()) {
        feeds.retain(|(_, f)| f.links.is_empty());
    }
    let is_table = |t: &Tagged| t.media.main() == "text" && matches!(t.media.sub(), "csv" | "tab-separated-values");
    if feeds.iter().any(|(t, _)| t.media.main() == "text" && !is_table(t)) {
        feeds.retain(|(t, _)| !is_table(t));
    }
}

/// Feeds each of several ports: by the same name first, then in order with what is not used yet, then with anything.
fn all_ports<'a>(
    capabilities: &[Capability<'a>],
    ports: &[&Port],
    subjects: &[Tagged],
    preferred: &[usize],
) -> Option<Vec<(Name, bool, Vec<Feed<'a>>)>> {
    let mut used: Vec<&Name> = Vec::new();
    let mut bound = Vec::new();
    for port in ports {
        let fitting: Vec<(&Tagged, Feed<'a>)> =
            subjects.iter().take(MAX_FEEDS).filter_map(|s| Some((s, feed(capabilities, s, port, preferred)?))).collect();
        if port.many {
            if fitting.is_empty() {
                return None;
            }
            bound.push((port.port.clone(), true, fitting.into_iter().map(|(_, f)| f).collect()));
            continue;
        }
        let rank = |s: &Tagged| (s.tag != port.port, used.contains(&&s.tag));
        let (subject, feed) = fitting.into_iter().min_by_key(|(s, f)| (rank(s), f.links.len()))?;
        used.push(&subject.tag);
        bound.push((port.port.clone(), false, vec![feed]));
    }
    Some(bound)
}
