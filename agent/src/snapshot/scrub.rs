//! Replaces what names one machine among all, and leaves everything a sensor needs.
//!
//! Three rules: the machine's known secrets wherever they stand; values behind keys that say what they are
//! (`POWER_SUPPLY_SERIAL_NUMBER=…`, `Serial : …`); and whatever has the form of a hardware or network address, a UUID or a
//! mail address. The same secret gets the same replacement everywhere, so that links still meet their targets.

use crate::sensing::memory_table_without_secrets as without_secrets;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What stands where a value was whose form does not matter.
const REMOVED: &str = "scrubbed";

/// Whole files that hold nothing but a secret.
const SECRET_FILES: &[&str] =
    &["serial", "serial_number", "serial-number", "wwid", "uuid", "nguid", "eui", "cid", "unique_id", "machine-id"];

/// Parts of keys whose value is a secret.
const SECRET_KEYS: &[&str] = &[
    "serial",
    "uuid",
    "wwid",
    "guid",
    "asset tag",
    "asset_tag",
    "hostname",
    "machine-id",
    "imei",
    "imsi",
    "sequence code",
    "lpar name",
];
/// Keys whose value is a secret if they are just this.
const SECRET_WHOLE_KEYS: &[&str] = &["mac", "mac address", "mac_address", "hid_uniq", "uniq", "host", "identification", "vm00 name"];

/// No form is longer; a file of one character must not cost the square of its length.
const LONGEST_FORM: usize = 255;

/// A scrubber and what it has replaced so far.
#[derive(Debug)]
pub(super) struct Scrubber {
    known: Vec<String>,
    replacements: BTreeMap<String, String>,
    counts: [usize; 4],
}

impl Scrubber {
    /// A scrubber that knows these secrets, longest first.
    pub(super) fn new(known: Vec<String>) -> Self {
        Self { known, replacements: BTreeMap::new(), counts: [0; 4] }
    }

    /// How many different values were replaced.
    pub(super) fn replaced(&self) -> usize {
        self.replacements.len()
    }

    /// A path or a link's target, name by name.
    pub(super) fn scrub_path(&mut self, path: &str) -> String {
        let names: Vec<String> = path.split('/').map(|name| self.scrub_forms(name)).collect();
        names.join("/")
    }

    /// A file's bytes. Bytes that are no text are kept only of the PCI configuration header, which holds ids of models, and of
    /// the firmware's table what it says of memory modules.
    pub(super) fn scrub_file(&mut self, name: &str, bytes: &[u8]) -> Vec<u8> {
        if name == "config" {
            return bytes.to_vec();
        }
        if name == "DMI" {
            return without_secrets(bytes);
        }
        if SECRET_FILES.contains(&name) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            return self.remember(text.trim()).into_bytes();
        }
        // As a sensor would read them.
        self.scrub_text(&String::from_utf8_lossy(bytes)).into_bytes()
    }

    /// A text, line by line.
    pub(super) fn scrub_text(&mut self, text: &str) -> String {
        text.split_inclusive('\n').map(|line| self.scrub_line(line)).collect()
    }

    fn scrub_line(&mut self, line: &str) -> String {
        // A mainframe's cpuinfo has the machine's number among other things: `version = FF,  identification = 0133E8,  machine = 3931`.
        if let Some((before, after)) = line.split_once("identification = ") {
            let value = after.split([',', '\n']).next().unwrap_or_default();
            let replacement = self.remember(value);
            let (before, after) = (self.scrub_forms(before), self.scrub_forms(&after[value.len()..]));
            return format!("{before}identification = {replacement}{after}");
        }
        let body = line.trim_end_matches('\n');
        let end = &line[body.len()..];
        for separator in ['=', ':'] {
            if let Some((key, value)) = body.split_once(separator)
                && is_secret_key(key)
            {
                let trimmed = value.trim();
                if trimmed.is_empty() || matches!(trimmed, "0" | "null" | "false" | "true") {
                    continue;
                }
                // JSON keeps its quotes and commas.
                let kept: String = trimmed.chars().rev().take_while(|c| matches!(c, '"' | ',' | '}')).collect();
                let quote = if trimmed.starts_with('"') { "\"" } else { "" };
                let inner = trimmed.trim_matches(['"', ',', '}']);
                let replacement = self.remember(inner);
                let space = &value[..value.len() - value.trim_start().len()];
                return format!("{key}{separator}{space}{quote}{replacement}{}{end}", kept.chars().rev().collect::<String>());
            }
        }
        self.scrub_forms(line)
    }

    /// A value that is replaced by a word.
    fn remember(&mut self, value: &str) -> String {
        if value.is_empty() {
            return String::new();
        }
        self.replacements.entry(value.to_ascii_lowercase()).or_insert_with(|| REMOVED.to_string()).clone()
    }

    /// Known secrets and telling forms inside a text.
    fn scrub_forms(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut previous: Option<char> = None;
        while let Some(first) = rest.chars().next() {
            if let Some((length, replacement)) = self.match_secret(rest, previous) {
                out.push_str(&replacement);
                previous = rest[..length].chars().last();
                rest = &rest[length..];
            } else {
                out.push(first);
                previous = Some(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }

    /// The secret that `text` starts with: its length and what replaces it. A long form is one wherever it stands, a short one
    /// only as a word of its own.
    fn match_secret(&mut self, text: &str, previous: Option<char>) -> Option<(usize, String)> {
        if let Some(length) = match_uuid(text) {
            return Some((length, self.number(0, &text[..length])));
        }
        if let Some(length) = match_hardware_address(text).filter(|_| previous.is_none_or(|c| !c.is_ascii_hexdigit())) {
            return Some((length, self.number(1, &text[..length])));
        }
        if previous.is_some_and(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        let ends = |length: usize| !text[length..].starts_with(|c: char| c.is_ascii_alphanumeric());
        if let Some((length, kind)) = match_network_address(text) {
            return Some((length, self.number(kind, &text[..length])));
        }
        if let Some(length) = match_mail_address(text) {
            // A kernel's builder says whether it is Android's, and sensors ask.
            let builder = if text[..length].to_ascii_lowercase().contains("android") { "android-build@host" } else { "user@host" };
            self.replacements.insert(text[..length].to_ascii_lowercase(), builder.to_string());
            return Some((length, builder.to_string()));
        }
        let starts = |known: &&String| text.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)) && ends(known.len());
        let length = self.known.iter().find(starts)?.len();
        Some((length, self.remember(&text[..length])))
    }

    /// The replacement of the same form: UUID, hardware address, IPv4, IPv6.
    fn number(&mut self, form: usize, value: &str) -> String {
        let count = &mut self.counts[form];
        let make = || {
            *count += 1;
            match form {
                0 => format!("00000000-0000-0000-0000-{count:012x}"),
                1 => format!("02:00:00:00:{:02x}:{:02x}", *count >> 8 & 0xff, *count & 0xff),
                // Addresses for documentation: RFC 5737 and RFC 3849.
                2 => format!("192.0.2.{}", *count & 0xff),
                _ => format!("2001:db8::{count:x}"),
            }
        };
        let key = value.to_ascii_lowercase().replace('-', ":");
        self.replacements.entry(key).or_insert_with(make).clone()
    }
}

fn is_secret_key(key: &str) -> bool {
    let key = key.trim().trim_matches(['"', '{', ' ']).to_ascii_lowercase();
    // A long "key" is a sentence with a colon in it.
    key.len() <= 40 && (SECRET_KEYS.iter().any(|part| key.contains(part)) || SECRET_WHOLE_KEYS.contains(&key.as_str()))
}

fn hex_run(text: &str) -> usize {
    text.bytes().take(LONGEST_FORM).take_while(u8::is_ascii_hexdigit).count()
}

/// `123e4567-e89b-12d3-a456-426614174000`.
fn match_uuid(text: &str) -> Option<usize> {
    let mut at = 0;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            text[at..].starts_with('-').then_some(())?;
            at += 1;
        }
        let run = hex_run(&text[at..]);
        (run == length || index == 4 && run > length).then_some(())?;
        at += length;
    }
    Some(at)
}

/// Six or more pairs of hexadecimal digits with one separator: Ethernet, EUI-64, Fibre Channel, InfiniBand.
fn match_hardware_address(text: &str) -> Option<usize> {
    let separator = *text.as_bytes().get(2).filter(|byte| matches!(byte, b':' | b'-'))?;
    let (mut at, mut pairs) = (0, 0);
    (hex_run(text) == 2).then_some(())?;
    loop {
        at += 2;
        pairs += 1;
        let next_is_pair = text.as_bytes().get(at) == Some(&separator) && hex_run(&text[at + 1..]) == 2;
        if !next_is_pair {
            return (pairs >= 6).then_some(at);
        }
        at += 1;
    }
}

/// An IPv4 address (form 2) or an IPv6 address (form 3).
fn match_network_address(text: &str) -> Option<(usize, usize)> {
    let run = text.bytes().take(LONGEST_FORM).take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
    let word = text[..run].trim_end_matches(['.', ':']);
    let ends = !text[word.len()..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if !ends {
        return None;
    }
    if word.parse::<Ipv4Addr>().is_ok() {
        return Some((word.len(), 2));
    }
    let colons = word.bytes().filter(|b| *b == b':').count();
    (colons >= 2 && word.parse::<Ipv6Addr>().is_ok()).then_some((word.len(), 3))
}

/// `user@host`, as kernels name their builder.
fn match_mail_address(text: &str) -> Option<usize> {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let user = text.bytes().take(LONGEST_FORM).take_while(is_part).count();
    let host = text.get(user..)?.strip_prefix('@')?.bytes().take(LONGEST_FORM).take_while(is_part).count();
    (user > 0 && host > 0).then_some(user + 1 + host)
}
