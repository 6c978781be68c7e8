//! A refusal that helps: what stands in the way, what would remove it, and the containers that come nearest.

use super::InterpreterRequest;
use super::capability::Capability;
use super::lexicon::Concept;
use super::reading::Reading;
use super::rules::PLANNER;
use ouro_common::container::MediaType;
use ouro_common::plan::{NearContainer, Refusal};
use std::collections::BTreeSet;

/// What stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The fleet has no containers.
    NoContainers,
    /// No rule knows what is asked for.
    NotUnderstood,
    /// Only what is not wanted was said.
    OnlyUnwanted,
    /// No container has the ability.
    NoAbility(Concept),
    /// The container has nothing to work on.
    NothingAttached(usize),
    /// What is attached does not fit the container, nor can it be turned into what fits.
    DoesNotFit(usize),
    /// There are several results and nothing that makes one answer of them.
    NoComposer,
    /// The graph would be larger than a plan may be.
    TooLarge(usize),
}

/// Words the refusal.
pub(crate) fn refusal(
    obstacle: &Obstacle,
    request: &InterpreterRequest,
    reading: &Reading,
    capabilities: &[Capability<'_>],
    near: &[usize],
) -> Refusal {
    let (reason, remedy) = wording(obstacle, request, reading, capabilities);
    let mut seen = BTreeSet::new();
    let first = match obstacle {
        Obstacle::NothingAttached(i) | Obstacle::DoesNotFit(i) => Some(*i),
        _ => None,
    };
    let nearest = first
        .into_iter()
        .chain(near.iter().copied())
        .filter(|i| seen.insert(*i))
        .take(3)
        .map(|i| NearContainer {
            container: capabilities[i].manifest.reference(),
            summary: capabilities[i].manifest.summary.clone(),
            why: why(obstacle, request, &capabilities[i]),
        })
        .collect();
    Refusal { planner: PLANNER.to_string(), reason, remedy, nearest }
}

fn wording(obstacle: &Obstacle, request: &InterpreterRequest, reading: &Reading, capabilities: &[Capability<'_>]) -> (String, String) {
    match obstacle {
        Obstacle::NoContainers => (
            "there is no container in the fleet that could do anything".into(),
            "plug in a module; `ouroctl modules` shows what there is".into(),
        ),
        Obstacle::NotUnderstood => (
            "no container in the fleet does what this asks for".into(),
            "ask for what a container does, or name one; `ouroctl modules` shows them all".into(),
        ),
        Obstacle::OnlyUnwanted => ("the request says only what is not wanted".into(), "say what is wanted instead".into()),
        Obstacle::NoAbility(concept) => {
            let rest = if reading.asks.len() > 1 { ", or ask only for the rest" } else { "" };
            (
                format!("this asks for {}, and no container in the fleet does that", concept.name()),
                format!("plug in a module with a container for it{rest}; `ouroctl modules` shows what there is"),
            )
        }
        Obstacle::NothingAttached(i) => {
            let (name, takes) = (capabilities[*i].name(), takes(&capabilities[*i]));
            (format!("{name} needs {takes} to work on, and nothing is attached"), attach(&capabilities[*i]))
        }
        Obstacle::DoesNotFit(i) => {
            let (name, takes) = (capabilities[*i].name(), takes(&capabilities[*i]));
            let given = given(request);
            (
                format!("{name} takes {takes}; what is attached is {given}, and no container turns that into it"),
                attach(&capabilities[*i]),
            )
        }
        Obstacle::NoComposer => (
            "this gives several results, and there is no container that composes one answer of them".into(),
            "ask for one thing at a time, or plug in a module with `compose`".into(),
        ),
        Obstacle::TooLarge(steps) => (
            format!("this would take more than {steps} steps"),
            "attach fewer files, or ask for fewer things at a time".into(),
        ),
    }
}

/// The media types that came with the request, in words.
fn given(request: &InterpreterRequest) -> String {
    let media: BTreeSet<String> = request.inputs.iter().map(|i| i.media.to_string()).collect();
    if media.is_empty() {
        "text/plain, the prompt".into()
    } else {
        media.into_iter().collect::<Vec<_>>().join(", ")
    }
}

fn takes(capability: &Capability<'_>) -> String {
    let media: BTreeSet<String> = capability.manifest.inputs.iter().map(|p| p.media.to_string()).collect();
    if media.is_empty() { "nothing".into() } else { media.into_iter().collect::<Vec<_>>().join(" and ") }
}

fn attach(capability: &Capability<'_>) -> String {
    let example = |media: &MediaType| match (media.main(), media.sub()) {
        ("text", "csv") => "data.csv",
        ("text", _) => "letter.txt",
        ("image", _) => "picture.png",
        ("audio", _) => "recording.wav",
        _ => "FILE",
    };
    match capability.manifest.inputs.first() {
        Some(port) => format!("attach it with --file {}={}", port.port, example(&port.media)),
        None => format!("ask for {} by name", capability.name()),
    }
}

fn why(obstacle: &Obstacle, request: &InterpreterRequest, capability: &Capability<'_>) -> String {
    let fits = request.inputs.iter().any(|i| capability.manifest.inputs.iter().any(|p| p.media.accepts(&i.media)));
    let takes = takes(capability);
    match obstacle {
        Obstacle::NothingAttached(_) => format!("it needs {takes}, which is not attached"),
        Obstacle::TooLarge(_) | Obstacle::NoComposer => "it would be one of the steps".into(),
        _ if request.inputs.is_empty() => format!("it takes {takes}, and does something else"),
        _ if fits => "it takes what is attached, and does something else".into(),
        _ => format!("it takes {takes}, not {}", given(request)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reader;
    use super::*;
    use ouro_common::plan::Catalogue;

    #[test]
    fn an_empty_fleet_is_said_to_be_empty() {
        let request = InterpreterRequest { prompt: "summarise".into(), inputs: Vec::new() };
        let reading = Reader::new().read(&request, &[]);
        assert!(Catalogue::default().is_empty());
        let refusal = refusal(&Obstacle::NoContainers, &request, &reading, &[], &[]);
        assert!(refusal.nearest.is_empty() && refusal.remedy.contains("module"), "{refusal:?}");
    }
}
