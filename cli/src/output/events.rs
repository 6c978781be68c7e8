//! `ouroctl events`: a line each, so that they can be followed and searched.

use super::{Style, Tone, text};
use ouro_common::clock::WallTime;
use ouro_common::document::FleetEvent;

/// A line: when, what, whom, and in words.
pub(crate) fn line(event: &FleetEvent, style: Style) -> String {
    let about = match (&event.node_name, &event.request) {
        (Some(node), Some(request)) => format!("{node} {}", request.short()),
        (Some(node), None) => node.clone(),
        (None, Some(request)) => request.short(),
        (None, None) => "-".into(),
    };
    let kind = text::pad(&text::one_line(&event.kind), 15);
    let kind = tone(&event.kind).map_or(kind.clone(), |tone| style.paint(tone, &kind));
    let at = style.paint(Tone::Dim, &WallTime(event.at_unix_ms).to_string());
    let about = text::pad(&text::cut(&text::one_line(&about), 24), 24);
    format!("{at}  {kind}  {about}  {}\n", text::one_line(&event.text))
}

fn tone(kind: &str) -> Option<Tone> {
    match kind {
        "lost" | "failed" | "poisoned" | "quarantined" | "cloned" | "module_untrusted" | "module_incomplete" | "module_suspect" => {
            Some(Tone::Bad)
        }
        "offline" | "switched_off" | "draining" | "expired" | "cancelled" | "removed" | "pending" | "unplugged" | "module_seen"
        | "module_conflict" => Some(Tone::Warn),
        "online" | "done" | "joined" | "active" | "plugged" => Some(Tone::Good),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::{NodeId, RequestId};

    #[test]
    fn a_line_says_when_what_whom_and_in_words() {
        let event = FleetEvent {
            seq: 7,
            at_unix_ms: 1_795_230_000_000,
            kind: "poisoned".into(),
            node: Some(NodeId::from_parts(1, [1; 10])),
            node_name: Some("lena\u{1b}[31m".into()),
            request: Some(RequestId::from_parts(9, [9; 10])),
            text: "step digits is poison\nand more".into(),
        };
        insta::assert_snapshot!(line(&event, Style::PLAIN));
        let bare = FleetEvent { node_name: None, request: None, ..event };
        assert!(line(&bare, Style::PLAIN).contains("  -  "));
    }
}
