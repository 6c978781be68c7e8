//! Beginnings of prompts whose keys and values are kept, so that who asks again with the same beginning need not wait for it.
//!
//! A beginning is found by the same asker only: how soon an answer comes would tell anybody else what was asked before. Only whole
//! pages are kept, and only of prompts: they were computed as any other prompt with the same beginning would be, to the last bit.

use crate::decoder::{Decoder, PAGE, Sequence};

/// What saved beginnings begin with, and the version of their form.
const MAGIC: &[u8] = b"ouroboros beginnings 1\n";

fn put(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u64).to_le_bytes());
}

/// A count and so many items of `size` bytes.
fn take<'b>(rest: &mut &'b [u8], size: usize) -> Option<&'b [u8]> {
    let (count, after) = rest.split_first_chunk()?;
    let bytes = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(size)?;
    let (items, after) = after.split_at_checked(bytes)?;
    *rest = after;
    Some(items)
}

/// A beginning that is kept.
#[derive(Debug)]
struct Kept {
    scope: String,
    ids: Vec<u32>,
    sequence: Sequence,
    /// When it was used last, in uses of all.
    used: u64,
}

/// The beginnings of all askers.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    kept: Vec<Kept>,
    uses: u64,
}

impl Prefixes {
    /// Begins an empty sequence with as much of `ids` as this asker's beginnings have, but for the last token, whose logits are
    /// wanted. How many tokens that are.
    pub(super) fn begin(&mut self, scope: &str, ids: &[u32], sequence: &mut Sequence) -> usize {
        self.uses += 1;
        let common = |kept: &Kept| {
            let same = kept.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
            same.min(ids.len().saturating_sub(1)) / PAGE * PAGE
        };
        let of_asker = self.kept.iter_mut().filter(|kept| kept.scope == scope);
        let Some(longest) = of_asker.max_by_key(|kept| (common(kept), kept.used)) else {
            return 0;
        };
        let length = common(longest);
        if length == 0 || !sequence.begin_as(&longest.sequence, length) {
            return 0;
        }
        longest.used = self.uses;
        length
    }

    /// Keeps the whole pages of a prompt that was computed.
    pub(super) fn keep(&mut self, scope: &str, ids: &[u32], sequence: &Sequence) {
        let length = ids.len().min(sequence.length()) / PAGE * PAGE;
        if length == 0 {
            return;
        }
        let ids = &ids[..length];
        self.uses += 1;
        let of_asker = |kept: &&mut Kept| kept.scope == scope;
        if let Some(longer) = self.kept.iter_mut().filter(of_asker).find(|kept| kept.ids.starts_with(ids)) {
            longer.used = self.uses;
            return;
        }
        self.kept.retain(|kept| kept.scope != scope || !ids.starts_with(&kept.ids));
        self.kept
            .push(Kept { scope: scope.into(), ids: ids.to_vec(), sequence: sequence.fork(length), used: self.uses });
    }

    /// Lets go of those that were not used for longest, until the others have at most so many bytes.
    pub(super) fn shrink(&mut self, most_bytes: u64) {
        while self.bytes() > most_bytes {
            let Some(oldest) = (0..self.kept.len()).min_by_key(|&at| self.kept[at].used) else {
                return;
            };
            self.kept.swap_remove(oldest);
        }
    }

    /// Bytes of all, pages counted as often as they are shared.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.sequence.bytes() as u64).sum()
    }

    /// All of them as bytes, with a checksum at the end.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut oldest_first: Vec<&Kept> = self.kept.iter().collect();
        oldest_first.sort_by_key(|kept| kept.used);
        for kept in oldest_first {
            put(&mut out, kept.scope.len());
            out.extend(kept.scope.as_bytes());
            put(&mut out, kept.ids.len());
            kept.ids.iter().for_each(|id| out.extend(id.to_le_bytes()));
            kept.sequence.save(&mut out);
        }
        let sum = blake3::hash(&out);
        out.extend(sum.as_bytes());
        out
    }

    /// Those that were saved with the same model; `None` when the bytes are damaged or do not fit it.
    pub(super) fn restore(bytes: &[u8], decoder: &Decoder) -> Option<Self> {
        let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(blake3::OUT_LEN)?)?;
        if blake3::hash(bytes).as_bytes() != sum {
            return None;
        }
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut all = Self::default();
        while !rest.is_empty() {
            let scope = std::str::from_utf8(take(&mut rest, 1)?).ok()?.to_string();
            let ids: Vec<u32> = take(&mut rest, size_of::<u32>())?.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
            let known = ids.iter().all(|&id| (id as usize) < decoder.config().vocabulary);
            if !known || ids.len() > decoder.config().context || !ids.len().is_multiple_of(PAGE) {
                return None;
            }
            let sequence = decoder.restored(ids.len(), &mut rest)?;
            all.uses += 1;
            all.kept.push(Kept { scope, ids, sequence, used: all.uses });
        }
        Some(all)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.kept.len()
    }
}
