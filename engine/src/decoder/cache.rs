//! The keys and values of a sequence: half precision, in pages of [`PAGE`] tokens that sequences with the same beginning share.
//!
//! A page holds all layers and heads. Keys lie with the token as the fastest index, values with the dimension, so that both
//! halves of attention read neighbouring numbers and never add up across them. A page that is shared is copied when it is
//! written.

use super::halves::to_half;
use std::ops::Range;
use std::sync::Arc;

/// Tokens in a page.
pub const PAGE: usize = 32;

/// What a page is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheShape {
    pub(super) layers: usize,
    /// Heads of keys and values.
    pub(super) heads: usize,
    /// Width of a head.
    pub(super) width: usize,
}

impl CacheShape {
    /// Numbers of the keys, or of the values, of one head of one layer.
    fn part(self) -> usize {
        self.width * PAGE
    }

    /// Bytes of a page.
    pub(super) fn page_bytes(self) -> usize {
        2 * self.layers * self.heads * self.part() * size_of::<u16>()
    }
}

/// A sequence of tokens over a model: what attention has to remember of it.
#[derive(Debug, Clone)]
pub struct Sequence {
    shape: CacheShape,
    pages: Vec<Arc<Vec<u16>>>,
    length: usize,
    capacity: usize,
    /// Whether positions are rotated by the factors for long contexts; chosen once, as keys of both kinds do not mix.
    long: bool,
}

impl Sequence {
    pub(super) fn new(shape: CacheShape, capacity: usize, long: bool) -> Self {
        Self { shape, pages: vec![], length: 0, capacity, long }
    }

    /// Tokens so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The most tokens it may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of its pages, those included that it shares.
    pub fn bytes(&self) -> usize {
        self.pages.len() * self.shape.page_bytes()
    }

    /// Bytes of the pages of so many tokens.
    pub(super) fn bytes_of(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE) * self.shape.page_bytes()
    }

    pub(super) fn is_long(&self) -> bool {
        self.long
    }

    /// Forgets all but the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.pages.truncate(self.length.div_ceil(PAGE));
    }

    /// Another sequence that begins with the first `length` tokens of this one and shares their pages.
    pub fn fork(&self, length: usize) -> Self {
        let mut other = self.clone();
        other.truncate(length);
        other
    }

    /// Begins an empty sequence with the first `length` tokens of another one and shares their pages; whether it could: both must be
    /// of one model, and their positions rotated alike.
    pub fn begin_as(&mut self, other: &Self, length: usize) -> bool {
        let alike = self.shape == other.shape && self.long == other.long && length <= other.length.min(self.capacity);
        if alike && self.length == 0 {
            self.pages = other.pages[..length.div_ceil(PAGE)].to_vec();
            self.length = length;
            return true;
        }
        false
    }

    /// Its keys and values as bytes.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.long));
        self.pages.iter().flat_map(|page| page.iter()).for_each(|number| out.extend(number.to_le_bytes()));
    }

    /// A sequence of so many tokens, as it was saved; `None` when there are not enough bytes. Takes them from `rest`.
    pub(super) fn restored(shape: CacheShape, length: usize, rest: &mut &[u8]) -> Option<Self> {
        let (long, after) = rest.split_first()?;
        let (bytes, after) = after.split_at_checked(length.div_ceil(PAGE) * shape.page_bytes())?;
        let page = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|number| u16::from_le_bytes(*number)).collect();
        let pages = bytes.chunks_exact(shape.page_bytes()).map(|bytes| Arc::new(page(bytes))).collect();
        *rest = after;
        Some(Self { shape, pages, length, capacity: length, long: *long != 0 })
    }

    /// Makes room for tokens up to `length`.
    pub(super) fn reserve(&mut self, length: usize) {
        let numbers = self.shape.page_bytes() / size_of::<u16>();
        self.pages.resize_with(length.div_ceil(PAGE), || Arc::new(vec![0; numbers]));
    }

    /// The rows were computed in all layers.
    pub(super) fn set_length(&mut self, length: usize) {
        self.length = length;
    }

    /// Keys and values of a page, of one head of one layer.
    pub(super) fn page(&self, page: usize, layer: usize, head: usize) -> Page<'_> {
        let part = self.shape.part();
        let start = 2 * (layer * self.shape.heads + head) * part;
        let (keys, values) = self.pages[page][start..start + 2 * part].split_at(part);
        Page { keys, values }
    }

    /// For each of some pages and each head: its keys and values of one layer, to be written.
    pub(super) fn pages_mut(&mut self, pages: Range<usize>, layer: usize) -> impl Iterator<Item = (usize, Vec<PageMut<'_>>)> {
        let (part, heads) = (self.shape.part(), self.shape.heads);
        let first = pages.start;
        self.pages[pages].iter_mut().enumerate().map(move |(index, page)| {
            let layer = &mut Arc::make_mut(page)[2 * layer * heads * part..][..2 * heads * part];
            (first + index, layer.chunks_exact_mut(2 * part).map(|both| PageMut::new(both, part)).collect())
        })
    }
}

/// One head's part of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    /// For each dimension the tokens' numbers.
    pub(super) keys: &'a [u16],
    /// For each token the dimensions' numbers.
    pub(super) values: &'a [u16],
}

/// The same, to be written.
#[derive(Debug)]
pub(super) struct PageMut<'a> {
    keys: &'a mut [u16],
    values: &'a mut [u16],
}

impl<'a> PageMut<'a> {
    fn new(both: &'a mut [u16], part: usize) -> Self {
        let (keys, values) = both.split_at_mut(part);
        Self { keys, values }
    }

    /// Notes the key and the value of the page's `slot`th token.
    pub(super) fn set(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        for (row, &number) in self.keys.chunks_exact_mut(PAGE).zip(key) {
            row[slot] = to_half(number);
        }
        let width = value.len();
        for (place, &number) in self.values[slot * width..][..width].iter_mut().zip(value) {
            *place = to_half(number);
        }
    }
}
