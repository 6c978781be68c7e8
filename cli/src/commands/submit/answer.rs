//! The answer as its parts come in: output as it is made, which may be void later, and the committed bytes, which count.

use ouro_common::document::ResultDocument;
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::{Digest, DigestAlgorithm};

/// What to do on the screen after a part came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// Nothing new.
    Keep,
    /// These bytes come next.
    Append(Vec<u8>),
    /// What was shown is void; these bytes begin anew.
    Restart(Vec<u8>),
}

/// The parts so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    live: Vec<u8>,
    committed: Vec<u8>,
}

impl Parts {
    /// The bytes of the committed answer that are here: they need not be sent again.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.committed.len() as u64
    }

    /// Forgets the committed bytes, so that they are sent again from the beginning.
    pub(super) fn forget_committed(&mut self) {
        self.committed.clear();
    }

    /// Takes output as it is made. After a reconnection it comes again from its beginning; what is there already is not
    /// shown twice. A part behind a gap is left out: the result will have it.
    pub(super) fn take_live(&mut self, offset: u64, data: &[u8], restart: bool) -> Screen {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if restart && !self.live.is_empty() {
            self.live = if offset == 0 { data.to_vec() } else { Vec::new() };
            return Screen::Restart(self.live.clone());
        }
        if offset > self.live.len() {
            return Screen::Keep;
        }
        let known = (self.live.len() - offset).min(data.len());
        if self.live[offset..offset + known] != data[..known] {
            // Another attempt's output under the same offsets.
            self.live.truncate(offset);
            self.live.extend_from_slice(data);
            return Screen::Restart(self.live.clone());
        }
        match &data[known..] {
            [] => Screen::Keep,
            fresh => {
                self.live.extend_from_slice(fresh);
                Screen::Append(fresh.to_vec())
            }
        }
    }

    /// Takes a part of the committed answer.
    pub(super) fn take_committed(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset <= self.committed.len() {
            self.committed.truncate(offset);
            self.committed.extend_from_slice(data);
        }
    }

    /// Whether output was shown as it was made.
    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    /// The whole answer: in the result where it is short, else the committed parts. `None` when there is none.
    ///
    /// # Errors
    /// `DIGEST_MISMATCH` when the parts are not the answer that the trace names.
    pub(super) fn whole(&self, result: &ResultDocument) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(text) = &result.text {
            return Ok(Some(text.clone().into_bytes()));
        }
        if let Some(encoded) = &result.base64 {
            let decoded = data_encoding::BASE64.decode(encoded.as_bytes());
            return decoded.map(Some).map_err(|_| Fault::new(FaultCode::DigestMismatch, "the answer's base64 is damaged"));
        }
        let named = result.trace.as_ref().and_then(|t| t.result.as_ref());
        let digest = named.map(|r| r.digest).filter(|d| d.algorithm == DigestAlgorithm::Blake3);
        match digest {
            Some(digest) if Digest::blake3(&self.committed) != digest => Err(Fault::new(
                FaultCode::DigestMismatch,
                "the answer does not hash to the digest it was announced with: parts of it were lost on the way",
            )
            .at(digest)),
            Some(_) => Ok(Some(self.committed.clone())),
            None if self.committed.is_empty() => Ok(None),
            None => Ok(Some(self.committed.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;
    use ouro_common::step::RequestState;

    #[test]
    fn after_a_reconnection_nothing_is_shown_twice() {
        let mut parts = Parts::default();
        assert_eq!(parts.take_live(0, b"hel", false), Screen::Append(b"hel".to_vec()));
        assert_eq!(parts.take_live(0, b"hello", false), Screen::Append(b"lo".to_vec()));
        assert_eq!(parts.take_live(2, b"ll", false), Screen::Keep);
        assert_eq!(parts.take_live(9, b"gap", false), Screen::Keep);
        assert_eq!(parts.live(), b"hello");
    }

    #[test]
    fn another_attempt_voids_what_was_shown() {
        let mut parts = Parts::default();
        assert_eq!(parts.take_live(0, b"", true), Screen::Keep, "nothing was shown");
        parts.take_live(0, b"the lan", false);
        assert_eq!(parts.take_live(0, b"a lang", true), Screen::Restart(b"a lang".to_vec()));
        assert_eq!(parts.take_live(0, b"a tongue", false), Screen::Restart(b"a tongue".to_vec()), "even unannounced");
    }

    #[test]
    fn a_long_answer_is_its_committed_parts_and_checked() {
        let content = b"a long answer".to_vec();
        let mut trace = sample::trace();
        let view = trace.result.as_mut().unwrap();
        view.digest = Digest::blake3(&content);
        let result = ResultDocument {
            schema: "ouroboros.result/1".into(),
            id: sample::request_id(),
            state: RequestState::Done,
            served_by: "fleet".into(),
            low_confidence: false,
            tag: None,
            media: None,
            text: None,
            base64: None,
            fault: None,
            trace: Some(trace),
        };
        let mut parts = Parts::default();
        parts.take_committed(0, &content[..6]);
        assert_eq!(parts.whole(&result).unwrap_err().code, FaultCode::DigestMismatch);
        assert_eq!(parts.committed_bytes(), 6);
        parts.take_committed(6, &content[6..]);
        assert_eq!(parts.whole(&result).unwrap().unwrap(), content);
        let short = ResultDocument { text: Some("short".into()), ..result.clone() };
        assert_eq!(parts.whole(&short).unwrap().unwrap(), b"short");
        let binary = ResultDocument { base64: Some("/w==".into()), ..result };
        assert_eq!(parts.whole(&binary).unwrap().unwrap(), [0xff]);
    }
}
