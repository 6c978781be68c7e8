//! `ouroctl trace --replay`: a recorded decision taken again, and whether it came out the same.

use super::page::Page;
use super::{Style, Tone, placement};
use ouro_common::document::ReplayDocument;

/// The verdict, and below it the decision.
pub(crate) fn render(document: &ReplayDocument, style: Style) -> String {
    let mut page = Page::new(style);
    page.heading("Replay", &format!("step {}: {}", document.step, verdict(document)));
    let tone = if document.same { Tone::Good } else { Tone::Bad };
    page.toned(2, verdict(document), Some(tone));
    page.item(2, "about", &format!("{} steps, {} nodes, seed {}", document.steps, document.nodes, document.seed));
    page.item(2, "recorded", &document.recorded.to_string());
    page.item(2, "again", &document.replayed.to_string());
    placement::render(&mut page, 2, &document.decision);
    page.finish()
}

fn verdict(document: &ReplayDocument) -> &'static str {
    match document.same {
        true => "the same bytes",
        false => "another decision: this build or its rules differ from those it was taken with",
    }
}
