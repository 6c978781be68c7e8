//! What the end of a container means: which failure, and whether it is evidence against the work. Pure.

use super::cgroup::Counts;
use crate::workers::RunFailure;
use ouro_common::step::{Evidence, FailureClass};

/// The exit code by which a program says that its input is not what it takes: `EX_DATAERR` of sysexits(3).
const EX_DATAERR: i32 = 65;
/// How much of what it said last goes into the failure, bytes.
const TAIL_BYTES: usize = 600;

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

/// What was seen of a run.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    /// How it ended.
    pub(super) end: End,
    /// What its cgroup counted.
    pub(super) counts: Counts,
    /// The memory it was allowed, bytes.
    pub(super) memory_bytes: u64,
    /// The processes it was allowed.
    pub(super) pids: u32,
    /// Whether `/out` had no room left.
    pub(super) out_full: bool,
    /// What it wrote to its standard error last.
    pub(super) stderr: &'a str,
}

/// Whether it succeeded; if not, how it failed and what speaks against it.
pub(super) fn judge(seen: &Seen<'_>) -> Result<(), RunFailure> {
    let fail = |class, why: String, evidence| Err(RunFailure { class, why: why + &said(seen.stderr), evidence });
    let limit = |what: &str| Some(Evidence::Limit { what: what.into() });
    if seen.end == End::Code(0) {
        return Ok(());
    }
    if seen.counts.oom_kills > 0 {
        let why = format!("the container took more than the {} bytes of memory its manifest names and was killed", seen.memory_bytes);
        return fail(FailureClass::Crashed, why, Some(Evidence::OomKill));
    }
    let how = match seen.end {
        End::Code(code) => format!("the container ended with code {code}"),
        End::Signal(signal) => format!("the container died by signal {signal}"),
        End::Unknown => "the container ended, and nobody saw how".to_string(),
    };
    if seen.counts.refused_forks > 0 {
        let why = format!("{how}; it wanted more than its {} processes", seen.pids);
        return fail(FailureClass::Crashed, why, limit("processes"));
    }
    if seen.out_full {
        return fail(FailureClass::Crashed, format!("{how}; it filled /out"), limit("out"));
    }
    match seen.end {
        End::Code(EX_DATAERR) => fail(FailureClass::InvalidInput, "the container refuses its input".into(), None),
        // The limit of a file's size (RLIMIT_FSIZE).
        End::Signal(25) => {
            fail(FailureClass::Crashed, "the container wrote a file larger than its outputs may be".into(), limit("file size"))
        }
        End::Signal(signal) => fail(FailureClass::Crashed, how, Evidence::from_signal(signal)),
        End::Code(_) | End::Unknown => fail(FailureClass::Error, how, None),
    }
}

/// What it said last, whole lines as far as they go.
fn said(stderr: &str) -> String {
    let text = stderr.trim_end();
    if text.is_empty() {
        return String::new();
    }
    let from = text.len().saturating_sub(TAIL_BYTES);
    let from = (from..text.len()).find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    let tail = if from == 0 { text } else { text[from..].split_once('\n').map_or(&text[from..], |(_, rest)| rest) };
    let clean: String = tail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("; it said: {}", clean.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(end: End, counts: Counts, out_full: bool, stderr: &str) -> (FailureClass, Option<Evidence>, String) {
        let failure = judge(&Seen { end, counts, memory_bytes: 1, pids: 2, out_full, stderr }).unwrap_err();
        (failure.class, failure.evidence, failure.why)
    }

    #[test]
    fn limits_are_evidence_and_a_plain_error_is_none() {
        let none = Counts::default();
        let oom = Counts { oom_kills: 1, ..none };
        let forks = Counts { refused_forks: 9, ..none };
        assert!(judge(&Seen { end: End::Code(0), counts: forks, memory_bytes: 1, pids: 1, out_full: true, stderr: "" }).is_ok());
        assert_eq!(of(End::Signal(9), oom, false, "").1, Some(Evidence::OomKill));
        assert_eq!(of(End::Code(1), oom, false, "").0, FailureClass::Crashed, "a shell reports its child's kill as a code");
        assert_eq!(of(End::Code(2), forks, false, "").1, Some(Evidence::Limit { what: "processes".into() }));
        assert_eq!(of(End::Code(1), none, true, "").1, Some(Evidence::Limit { what: "out".into() }));
        assert_eq!(of(End::Signal(25), none, false, "").1, Some(Evidence::Limit { what: "file size".into() }));
        assert_eq!(of(End::Signal(11), none, false, "").1, Some(Evidence::Signal { number: 11 }));
        assert_eq!(of(End::Signal(9), none, false, "").1, None, "anybody may have sent it");
        let (class, evidence, why) = of(End::Code(3), none, false, "first\nno such word: \u{1b}[31mx\n");
        assert_eq!((class, evidence), (FailureClass::Error, None));
        assert!(why.contains("code 3") && why.contains("no such word: ") && !why.contains('\u{1b}'), "{why}");
        assert_eq!(of(End::Code(65), none, false, "").0, FailureClass::InvalidInput);
    }

    #[test]
    fn only_the_end_of_what_it_said_is_told() {
        let long = "ä line of nothing in particular\n".repeat(100) + "the last one";
        let told = said(&long);
        assert!(told.len() < 700 && told.ends_with("the last one"), "{told}");
        assert_eq!(said(" \n"), "");
    }
}
