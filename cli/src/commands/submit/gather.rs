//! What is submitted: the prompt and the inputs, read and checked before anybody is dialled.

use super::Arguments;
use crate::client::Submission;
use crate::console::Console;
use crate::output::quantity::bytes;
use ouro_common::container::MediaType;
use ouro_common::envelope::{Envelope, Input, MAX_INPUTS, MAX_PROMPT_BYTES, MAX_REQUEST_BYTES, PROMPT_TAG, Principal, Privacy};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, Name, RequestId};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Reads everything.
///
/// # Errors
/// Too large, not UTF-8, not readable: with the place and the remedy.
pub(super) fn gather(arguments: &Arguments, console: &mut Console) -> Result<Submission, Fault> {
    let prompt = prompt(&arguments.prompt, console)?;
    let sources: Vec<_> = arguments.files.iter().map(|f| source(f)).collect();
    let readers = sources.iter().filter(|(_, path)| path.as_os_str() == "-").count() + usize::from(arguments.prompt == "-");
    if readers > 1 {
        return Err(wrong("standard input can be read only once", "--file").remedy("give the others as files"));
    }
    if sources.len() > MAX_INPUTS {
        return Err(Fault::new(FaultCode::TooLarge, format!("a request has at most {MAX_INPUTS} inputs, not {}", sources.len())));
    }
    let mut room = MAX_REQUEST_BYTES.saturating_sub(prompt.len() as u64);
    let (mut inputs, mut payloads) = (Vec::new(), Vec::new());
    let mut tags = BTreeSet::from([PROMPT_TAG.to_string()]);
    for (tag, path) in sources {
        let content = read(&path, room, console)?;
        room -= content.len() as u64;
        let (input, content) = input(tag, &path, content, &mut tags)?;
        inputs.push(input);
        payloads.push(Arc::new(content));
    }
    if prompt.trim().is_empty() && inputs.is_empty() {
        return Err(wrong("the prompt is empty", "prompt").remedy("say what you want done"));
    }
    Ok(Submission { envelope: envelope(arguments, prompt, inputs)?, payloads, skip_first_pass: arguments.no_first_pass })
}

fn envelope(arguments: &Arguments, prompt: String, inputs: Vec<Input>) -> Result<Envelope, Fault> {
    let id = RequestId(Uuid::now_v7());
    let idempotency_key = arguments.key.clone().unwrap_or_else(|| id.to_string());
    if !(1..=200).contains(&idempotency_key.len()) {
        return Err(wrong("a key has 1 to 200 characters", "--key"));
    }
    // Never sent: whoever takes the request sees from the connection who asks.
    let principal = Principal::Client(String::new());
    Ok(Envelope {
        idempotency_key,
        privacy: if arguments.private { Privacy::Private } else { Privacy::Public },
        mode: arguments.mode.into(),
        priority: arguments.priority,
        budget_ms: u64::try_from(arguments.deadline.as_millis()).unwrap_or(u64::MAX),
        inputs,
        ..Envelope::new(id, principal, prompt)
    })
}

fn wrong(problem: impl Into<String>, at: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::InvalidArgument, problem).at(at)
}

fn prompt(given: &OsStr, console: &mut Console) -> Result<String, Fault> {
    let (content, at) = if given == "-" {
        let limit = MAX_PROMPT_BYTES as u64;
        let content = console.read_input(limit).map_err(|e| wrong(format!("standard input cannot be read: {e}"), "prompt"))?;
        (content, "standard input")
    } else {
        (given.as_bytes().to_vec(), "prompt")
    };
    if content.len() > MAX_PROMPT_BYTES {
        let problem = format!("the prompt is longer than {}", bytes(MAX_PROMPT_BYTES as u64));
        return Err(Fault::new(FaultCode::TooLarge, problem).at(at).remedy("attach long text with --file text=FILE"));
    }
    utf8(content, at)
}

/// Text, or the place of the first byte that cannot be one.
fn utf8(content: Vec<u8>, at: &str) -> Result<String, Fault> {
    String::from_utf8(content).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        wrong(format!("it is not UTF-8 text: byte {offset} cannot be part of it"), at)
            .remedy("convert it, for example with `iconv -f LATIN1 -t UTF-8`")
    })
}

/// `TAG=PATH` or `PATH`. What stands before the `=` is a tag only if it can be one; `./a=b` is a path.
fn source(given: &OsStr) -> (Option<Name>, PathBuf) {
    let raw = given.as_bytes();
    let split = raw.iter().position(|b| *b == b'=').and_then(|i| {
        let tag = std::str::from_utf8(&raw[..i]).ok()?.parse().ok()?;
        Some((tag, PathBuf::from(OsString::from_vec(raw[i + 1..].to_vec()))))
    });
    match split {
        Some((tag, path)) => (Some(tag), path),
        None => (None, PathBuf::from(given)),
    }
}

/// Reads a file, but not more than there is room for.
fn read(path: &Path, room: u64, console: &mut Console) -> Result<Vec<u8>, Fault> {
    let unreadable = |e: std::io::Error| wrong(format!("the file cannot be read: {e}"), path.display());
    let content = if path.as_os_str() == "-" {
        console.read_input(room).map_err(unreadable)?
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(wrong("it is a folder, not a file", path.display()).remedy("attach its files one by one, or an archive of it"));
        }
        let mut content = Vec::new();
        file.take(room + 1).read_to_end(&mut content).map_err(unreadable)?;
        content
    };
    if content.len() as u64 > room {
        let problem = format!("the request would have more than {} with this input", bytes(MAX_REQUEST_BYTES));
        return Err(Fault::new(FaultCode::TooLarge, problem)
            .at(path.display())
            .remedy("split the input into parts and submit them one by one"));
    }
    Ok(content)
}

/// An input with its media type: by the file's name, else by whether it is text.
fn input(tag: Option<Name>, path: &Path, content: Vec<u8>, tags: &mut BTreeSet<String>) -> Result<(Input, Vec<u8>), Fault> {
    let from_stdin = path.as_os_str() == "-";
    let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).filter(|_| !from_stdin);
    let mut media = MediaType::from_file_name(file_name.as_deref().unwrap_or_default());
    let is_text = std::str::from_utf8(&content).is_ok();
    if media.to_string() == "application/octet-stream" && is_text {
        media = MediaType::text();
    }
    let content = if media.main() == "text" && !is_text {
        utf8(content, &path.display().to_string())?.into_bytes()
    } else {
        content
    };
    let tag = match tag {
        Some(tag) if tags.insert(tag.to_string()) => tag,
        Some(tag) => {
            return Err(wrong(format!("the tag {tag} is used twice or reserved"), "--file").remedy("give each input a tag of its own"));
        }
        None => free_tag(path, from_stdin, tags),
    };
    let input = Input {
        tag,
        media: media.to_string(),
        digest: Digest::blake3(&content),
        size_bytes: content.len() as u64,
        file_name,
    };
    Ok((input, content))
}

/// A tag after the file's name, with a number if it is taken.
fn free_tag(path: &Path, from_stdin: bool, tags: &mut BTreeSet<String>) -> Name {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).filter(|_| !from_stdin).unwrap_or_default();
    let base = Name::from_text(&stem, "input");
    let mut tag = base.clone();
    let mut number = 2;
    while !tags.insert(tag.to_string()) {
        let short: String = base.as_str().chars().take(56).collect();
        tag = Name::from_text(&format!("{short}-{number}"), "input");
        number += 1;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn gathered(line: &[&OsStr], stdin: &'static [u8]) -> Result<Submission, Fault> {
        let line = Line::try_parse_from(std::iter::once(OsStr::new("submit")).chain(line.iter().copied())).unwrap();
        let mut console = Console::of_streams(Box::new(std::io::sink()), Box::new(std::io::sink()), Box::new(stdin));
        gather(&line.arguments, &mut console)
    }

    fn with(line: &[&str], stdin: &'static [u8]) -> Result<Submission, Fault> {
        gathered(&line.iter().map(OsStr::new).collect::<Vec<_>>(), stdin)
    }

    #[test]
    fn inputs_get_tags_and_media_types() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_string()
        };
        let letter = file("My Letter.txt", "grüße".as_bytes());
        let notes = file("NOTES", b"plain words");
        let image = file("scan.png", &[0x89, 0xff]);
        let blob = file("blob", &[0xff, 0xfe]);
        let tagged = format!("text={letter}");
        let made = with(&["hi", "-f", &letter, "-f", &notes, "-f", &image, "-f", &blob, "-f", &letter, "-f", &tagged], b"").unwrap();
        let seen: Vec<_> = made.envelope.inputs.iter().map(|i| format!("{} {} {}", i.tag, i.media, i.size_bytes)).collect();
        let expected = [
            "my-letter text/plain 7",
            "notes text/plain 11",
            "scan image/png 2",
            "blob application/octet-stream 2",
            "my-letter-2 text/plain 7",
            "text text/plain 7",
        ];
        assert_eq!(seen, expected);
        assert_eq!(made.envelope.inputs[0].digest, Digest::blake3(&made.payloads[0]));
        assert_eq!(made.envelope.inputs[0].file_name.as_deref(), Some("My Letter.txt"));
    }

    #[test]
    fn what_is_not_utf8_is_refused_with_its_place() {
        let bad = gathered(&[OsStr::from_bytes(b"hel\xfflo")], b"").err().unwrap();
        assert_eq!((bad.code, bad.at.as_str()), (FaultCode::InvalidArgument, "prompt"));
        assert!(bad.problem.contains("byte 3"), "{bad}");
        let bad = with(&["-"], b"ab\xff").err().unwrap();
        assert!(bad.problem.contains("byte 2") && bad.at == "standard input", "{bad}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin.txt");
        std::fs::write(&path, b"caf\xe9").unwrap();
        let bad = with(&["hi", "-f", path.to_str().unwrap()], b"").err().unwrap();
        assert!(bad.remedy.contains("iconv") && bad.at.ends_with("latin.txt"), "{bad}");
    }

    #[test]
    fn limits_are_checked_before_anything_is_sent() {
        static LONG: [u8; MAX_PROMPT_BYTES + 1] = [b'x'; MAX_PROMPT_BYTES + 1];
        assert_eq!(with(&["-"], &LONG).err().unwrap().code, FaultCode::TooLarge);
        assert!(with(&["-"], &LONG[1..]).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.bin");
        File::create(&path).unwrap().set_len(MAX_REQUEST_BYTES).unwrap();
        let bad = with(&["hi", "-f", path.to_str().unwrap()], b"").err().unwrap();
        assert_eq!(bad.code, FaultCode::TooLarge);
        assert!(bad.at.ends_with("big.bin"), "{bad}");
    }

    #[test]
    fn standard_input_is_read_once_and_tags_are_unique() {
        let made = with(&["hi", "-f", "text=-"], b"from a pipe").unwrap();
        assert_eq!((&made.payloads[0][..], made.envelope.inputs[0].media.as_str()), (&b"from a pipe"[..], "text/plain"));
        assert!(with(&["-", "-f", "text=-"], b"x").is_err());
        assert!(with(&["hi", "-f", "prompt=-"], b"x").err().unwrap().problem.contains("reserved"));
        assert!(with(&["  "], b"").err().unwrap().problem.contains("empty"));
        assert_eq!(source(OsStr::new("./a=b.txt")), (None, PathBuf::from("./a=b.txt")));
        assert!(with(&["hi", "-f", "/"], b"").err().unwrap().problem.contains("folder"));
    }
}
