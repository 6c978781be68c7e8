//! The end of a request: the answer on standard output, everything else on standard error.

use super::Context;
use super::follow::Ended;
use crate::exit::{Exit, Failure};
use crate::output::quantity::{bytes, span_ms};
use crate::output::{Format, Tone, fault, json, text};
use ouro_common::document::ResultDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::readable::{heading_of, json_as_text};
use ouro_common::step::RequestState;

/// Prints the end and finds the exit code.
pub(super) fn show(ended: Ended, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let exit = Exit::of_request(ended.result.state, ended.result.fault.as_ref());
    if context.format == Format::Json {
        let document = complete(ended);
        context.console.print(&json(&document))?;
        return Ok(exit);
    }
    if let Some(answer) = &ended.answer {
        print_answer(answer, &ended, context)?;
    }
    let result = &ended.result;
    if result.low_confidence {
        let why = result.fault.as_ref().map_or("the server is away", |f| f.problem.as_str());
        context.console.note(&format!(
            "low confidence: this is the local model's answer, which it was not sure of; {}",
            text::one_line(why)
        ));
    } else if result.state != RequestState::Done {
        let reason = result.fault.clone().unwrap_or_else(|| without_reason(result));
        let style = context.console.error_style();
        context.console.note(fault::text(&reason, style).trim_end());
        for near in result.trace.iter().filter_map(|t| t.refusal.as_ref()).flat_map(|r| &r.nearest) {
            context.console.note(&format!("  nearest: {}  {} ({})", near.container, near.summary, near.why));
        }
    }
    if context.format == Format::Table && context.console.err_is_terminal() {
        let line = context.console.error_style().paint(Tone::Dim, &summary(result));
        context.console.note(&line);
    }
    Ok(exit)
}

/// The result with its answer in it, wherever it came from.
fn complete(ended: Ended) -> ResultDocument {
    let mut document = ended.result;
    if document.text.is_none() && document.base64.is_none() {
        match ended.answer.map(String::from_utf8) {
            Some(Ok(text)) => document.text = Some(text),
            Some(Err(error)) => document.base64 = Some(data_encoding::BASE64.encode(error.as_bytes())),
            None => {}
        }
    }
    document
}

fn print_answer(answer: &[u8], ended: &Ended, context: &mut Context<'_>) -> Result<(), Failure> {
    let terminal = context.console.out_is_terminal();
    let Ok(text) = std::str::from_utf8(answer) else {
        if !terminal {
            return context.console.print_bytes(answer);
        }
        let media = ended.result.media.as_deref().unwrap_or("binary");
        let line = format!("the answer is {media}, {}; send it to a file with `> FILE`", bytes(answer.len() as u64));
        context.console.note(&line);
        return Ok(());
    };
    if terminal && let Some(readable) = readable(&ended.result, text) {
        return context.console.print(&format!("{}\n", text::for_terminal(&readable)));
    }
    let mut rest = text;
    if !ended.shown.is_empty() {
        match std::str::from_utf8(&ended.shown).ok().and_then(|shown| text.strip_prefix(shown)) {
            Some(unseen) => rest = unseen,
            None => context.console.print("\n\n")?,
        }
    }
    let rest = if terminal { text::for_terminal(rest) } else { rest.to_string() };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    context.console.print(&format!("{rest}{end}"))
}

/// A single result in JSON as a person reads it; pipes get it as it is.
fn readable(result: &ResultDocument, answer: &str) -> Option<String> {
    let heading = heading_of(result.tag.as_ref().map_or("answer", |tag| tag.as_str()));
    let value = (result.media.as_deref() == Some("application/json")).then(|| serde_json::from_str(answer).ok())??;
    Some(json_as_text(&heading, &value))
}

fn without_reason(result: &ResultDocument) -> Fault {
    match result.state {
        RequestState::Cancelled => Fault::new(FaultCode::Cancelled, "the request was cancelled"),
        RequestState::Expired => Fault::new(FaultCode::DeadlineExceeded, "the time given to the request has passed"),
        _ => Fault::new(FaultCode::WorkFailed, "the request failed"),
    }
    .at(result.id)
    .remedy(format!("see `ouroctl explain {}`", result.id.short()))
}

/// `done by the fleet in 2.41 s on odin; ouroctl trace 5e5e5e5e`.
fn summary(result: &ResultDocument) -> String {
    let place = if result.served_by == "local" { "on this machine" } else { "by the fleet" };
    let time = result.trace.as_ref().map(|t| format!(" in {}", span_ms(t.request.elapsed_ms as f64))).unwrap_or_default();
    format!("{} {place}{time}; how: ouroctl trace {}", result.state, result.id.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Ouroctl;
    use crate::console::Console;
    use crate::output::sample;
    use clap::Parser as _;
    use std::cell::RefCell;
    use std::io::Write;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(ended: Ended, format: &str) -> (u8, String, String) {
        let (out, err) = (Kept::default(), Kept::default());
        let mut console = Console::of_streams(Box::new(out.clone()), Box::new(err.clone()), Box::new(std::io::empty()));
        let line = Ouroctl::try_parse_from(["ouroctl", "--output", format, "modules"]).unwrap();
        let exit = show(ended, &mut Context::new(&line.global, &|_| None, &mut console)).unwrap();
        let text = |kept: Kept| String::from_utf8(kept.0.borrow().clone()).unwrap();
        (exit.code(), text(out), text(err))
    }

    fn result(state: RequestState) -> ResultDocument {
        ResultDocument {
            schema: "ouroboros.result/1".into(),
            id: sample::request_id(),
            state,
            served_by: "fleet".into(),
            low_confidence: false,
            tag: None,
            media: Some("text/plain".into()),
            text: None,
            base64: None,
            fault: None,
            trace: None,
        }
    }

    fn ended(result: ResultDocument, answer: Option<&[u8]>) -> Ended {
        Ended { result, answer: answer.map(<[u8]>::to_vec), shown: vec![] }
    }

    #[test]
    fn a_pipe_gets_the_answer_and_nothing_else() {
        assert_eq!(shown(ended(result(RequestState::Done), Some(b"German")), "table"), (0, "German\n".into(), String::new()));
        assert_eq!(shown(ended(result(RequestState::Done), Some(b"a\n")), "quiet"), (0, "a\n".into(), String::new()));
    }

    #[test]
    fn a_single_result_in_json_reads_as_a_sentence() {
        let language = ResultDocument { media: Some("application/json".into()), ..result(RequestState::Done) };
        let answer = r#"{"language":"de","name":"German","confidence":0.97}"#;
        assert_eq!(readable(&language, answer).as_deref(), Some("Language: German (97 % sure)"));
        assert_eq!(readable(&language, "{broken"), None);
        assert_eq!(readable(&result(RequestState::Done), answer), None, "what is no JSON by its type stays as it is");
        assert_eq!(shown(ended(language, Some(answer.as_bytes())), "table").1, format!("{answer}\n"), "a pipe gets the bytes");
    }

    #[test]
    fn a_low_confidence_answer_is_one_with_a_word_of_warning() {
        let fault = Fault::new(FaultCode::ServerUnreachable, "the server cannot be reached");
        let doubtful = ResultDocument { low_confidence: true, fault: Some(fault), served_by: "local".into(), ..result(RequestState::Done) };
        let (code, out, err) = shown(ended(doubtful, Some(b"maybe")), "table");
        assert_eq!((code, out.as_str(), err.lines().count()), (0, "maybe\n", 1));
        assert!(err.contains("low confidence") && err.contains("cannot be reached"), "{err}");
    }

    #[test]
    fn a_failure_says_why_and_json_has_the_answer_in_it() {
        let fault = Fault::new(FaultCode::CannotPlace, "no node can run s1").remedy("plug in langid");
        let failed = ResultDocument { fault: Some(fault), ..result(RequestState::Failed) };
        let (code, out, err) = shown(ended(failed, None), "table");
        assert_eq!((code, out.as_str()), (3, ""));
        assert_eq!(err, "error: no node can run s1\n  remedy: plug in langid  [OB0011 CANNOT_PLACE]\n");
        let (_, out, _) = shown(ended(result(RequestState::Done), Some(&[0xff])), "json");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((value["base64"].as_str(), value["schema"].as_str()), (Some("/w=="), Some("ouroboros.result/1")));
    }
}
