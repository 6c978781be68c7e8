//! Faults: `error: problem (at)`, the remedy under it, and the code for who wants to look it up.

use super::{Style, Tone, page::Page, text};
use ouro_common::error::Fault;
use serde::Serialize;

/// `ouroboros.error/1`: what is printed instead of a document when JSON was asked for.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    schema: &'static str,
    error: &'a Fault,
}

/// A fault as JSON.
pub(crate) fn json(fault: &Fault) -> String {
    super::json(&ErrorDocument { schema: "ouroboros.error/1", error: fault })
}

/// A fault as a person reads it.
pub(crate) fn text(fault: &Fault, style: Style) -> String {
    let mut out = style.paint(Tone::Bad, "error:");
    out.push(' ');
    out.push_str(text::for_terminal(&fault.problem).trim_end());
    if !fault.at.is_empty() {
        out.push_str(&format!(" ({})", text::one_line(&fault.at)));
    }
    if !fault.remedy.is_empty() {
        out.push_str(&format!("\n  remedy: {}", text::for_terminal(&fault.remedy).trim_end()));
    }
    out.push_str(&format!("  {}\n", style.paint(Tone::Dim, &format!("[{}]", fault.code))));
    out
}

/// A fault inside a page.
pub(crate) fn item(page: &mut Page, indent: usize, label: &str, fault: &Fault) {
    let at = if fault.at.is_empty() { String::new() } else { format!(" ({})", fault.at) };
    page.toned_item(indent, label, &format!("{}{at}  [{}]", fault.problem, fault.code), Some(Tone::Bad));
    if !fault.remedy.is_empty() {
        page.item(indent, "remedy", &fault.remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::error::FaultCode;

    #[test]
    fn a_fault_says_what_where_what_to_do_and_its_code() {
        let fault = Fault::new(FaultCode::DiskFull, "the disk is full").at("/srv/o").remedy("free 1 GiB");
        assert_eq!(text(&fault, Style::PLAIN), "error: the disk is full (/srv/o)\n  remedy: free 1 GiB  [OB0012 DISK_FULL]\n");
        assert_eq!(text(&Fault::new(FaultCode::Internal, "odd\x1b[1m"), Style::PLAIN), "error: odd�[1m  [OB0001 INTERNAL]\n");
        let value: serde_json::Value = serde_json::from_str(&json(&fault)).unwrap();
        assert_eq!(value["schema"], "ouroboros.error/1");
        assert_eq!(value["error"]["code"], "OB0012");
    }
}
