//! `ouroctl modules`: which modules sit where, whether they can be used, how fast they read, and what is on them.

use super::page::Page;
use super::quantity::{counted, rate, span_ms};
use super::{Style, Tone, text};
use ouro_common::document::{ContainerView, ModuleView, ModulesDocument};
use ouro_common::module::{ModuleState, Verdict};

/// A paragraph per module.
pub(crate) fn render(document: &ModulesDocument, style: Style) -> String {
    let mut page = Page::new(style);
    if document.modules.is_empty() {
        page.text(
            0,
            "No modules yet. Push in a stick with containers on it, or put a folder of containers into an agent's `modules` folder.",
        );
    }
    for module in &document.modules {
        paragraph(&mut page, module);
    }
    page.finish()
}

fn paragraph(page: &mut Page, module: &ModuleView) {
    let link = module.link_bytes_per_s.map(|r| format!("PCIe link {}", rate(r)));
    let read = module.read_bytes_per_s.map(|r| format!("reads {}", rate(r)));
    let speed = link.or(read).unwrap_or_else(|| "read speed unknown".to_string());
    let port = module.port_link.map_or_else(String::new, |port| format!(" (port {} GT/s x{})", port.gt_per_s, port.lanes));
    let place = format!(
        "in {} at {}, {speed}{port}, {}",
        module.node_name,
        module.slot,
        counted(module.containers.len(), "container", "containers")
    );
    page.heading(&text::cut(&module.label, 40), &place);
    let (word, tone) = state(module.state);
    let why = if module.why.is_empty() { String::new() } else { format!(": {}", module.why) };
    page.toned_item(2, "state", &format!("{word}{why}"), Some(tone));
    let after = module
        .ready_after_ms
        .map_or_else(String::new, |ms| format!(", ready {} after the kernel's event", span_ms(ms)));
    page.item(2, "module", &format!("{}…{after}", module.module.short()));
    if let Some(ms) = module.wake_ms {
        page.item(2, "wakes", &format!("in about {}", span_ms(ms)));
    }
    if let Some(signature) = &module.signature {
        let tone = if signature.is_trusted() { Tone::Good } else { Tone::Warn };
        page.toned_item(2, "signature", &signed(signature), Some(tone));
    }
    if module.in_use > 0 {
        page.item(2, "in use", &counted(module.in_use as usize, "step", "steps"));
    }
    for container in &module.containers {
        page.item(2, &text::cut(&container.container.to_string(), 30), &summary(container));
    }
    for problem in &module.problems {
        page.toned_item(2, "problem", problem, Some(Tone::Bad));
    }
}

/// The comment was written by the signer, so it is shown as one harmless line.
fn signed(signature: &Verdict) -> String {
    match signature {
        Verdict::Trusted { comment, .. } if !comment.is_empty() => format!("{signature} ({})", text::cut(&text::one_line(comment), 40)),
        other => other.to_string(),
    }
}

/// `language of a text; onnx, text/plain → application/json, 3f2a…`.
fn summary(container: &ContainerView) -> String {
    let ports = |ports: &[ouro_common::container::Port]| {
        let media: Vec<_> = ports.iter().map(|p| p.media.to_string()).collect();
        if media.is_empty() { "nothing".to_string() } else { media.join(", ") }
    };
    format!(
        "{}; {}, {} → {}, {}…",
        container.summary,
        container.runtime,
        ports(&container.inputs),
        ports(&container.outputs),
        container.digest.short()
    )
}

fn state(state: ModuleState) -> (&'static str, Tone) {
    match state {
        ModuleState::Seen => ("seen, not mounted yet", Tone::Warn),
        ModuleState::Mounted => ("mounted, not verified yet", Tone::Warn),
        ModuleState::Verified => ("verified", Tone::Good),
        ModuleState::Ready => ("ready", Tone::Good),
        ModuleState::Asleep => ("asleep", Tone::Good),
        ModuleState::Untrusted => ("untrusted", Tone::Bad),
        ModuleState::Incomplete => ("incomplete", Tone::Bad),
        ModuleState::Suspect => ("suspect", Tone::Bad),
        ModuleState::Conflict => ("in conflict", Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn modules_say_where_they_are_and_what_is_on_them() {
        insta::assert_snapshot!(render(&sample::modules(), Style::PLAIN));
    }
}
