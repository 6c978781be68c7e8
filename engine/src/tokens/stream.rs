//! Tokens to text as they come: a character is given out only when all of its bytes are there.

use super::Tokenizer;

/// Turns a sequence of tokens into text, piece by piece.
#[derive(Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
    /// SentencePiece writes a space before the first word that is no part of the text.
    drop_space: bool,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, drop_space: bool) -> Self {
        Self { tokenizer, pending: Vec::new(), drop_space }
    }

    /// The text that this token completes; empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        let bytes = self.tokenizer.bytes(id);
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.drop_space => rest,
            _ => &bytes[..],
        };
        self.drop_space = self.drop_space && self.tokenizer.bytes(id).is_empty();
        self.pending.extend_from_slice(bytes);
        take_complete(&mut self.pending)
    }

    /// What is left at the end: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Takes all complete characters out of `pending`; what can never become a character is U+FFFD.
fn take_complete(pending: &mut Vec<u8>) -> String {
    let complete = match pending.utf8_chunks().last() {
        Some(chunk) if could_continue(chunk.invalid()) => pending.len() - chunk.invalid().len(),
        _ => pending.len(),
    };
    let rest = pending.split_off(complete);
    let text = String::from_utf8_lossy(pending).into_owned();
    *pending = rest;
    text
}

/// Whether bytes that are no character yet are the beginning of one.
fn could_continue(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_of_any_bytes_join_to_their_lossy_text(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80..0xff_u8], 0..40), cut in 1..5_usize) {
            let (mut pending, mut text) = (Vec::new(), String::new());
            for piece in bytes.chunks(cut) {
                pending.extend_from_slice(piece);
                text.push_str(&take_complete(&mut pending));
                prop_assert!(pending.len() < 4);
            }
            text.push_str(&String::from_utf8_lossy(&pending));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_character_is_never_split(text in "\\PC{0,12}") {
            let (mut pending, mut pieces) = (Vec::new(), String::new());
            for byte in text.bytes() {
                pending.push(byte);
                pieces.push_str(&take_complete(&mut pending));
            }
            prop_assert!(pending.is_empty());
            prop_assert_eq!(pieces, text);
        }
    }
}
