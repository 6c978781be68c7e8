"""`word_ngrams`: text -> f32[buckets], the featurizer the manifest declares. This file is its reference.

The semantics, in order:
  1. full Unicode lower case (`str.lower`, the same mapping as Rust's `str::to_lowercase`, final sigma included);
  2. U+2019 (the typographic apostrophe) becomes U+0027;
  3. the words: maximal runs of characters that are alphabetic (Unicode's property Alphabetic), numeric (category N) or U+0027;
     apostrophes at either end of a word are taken off, and a word of which nothing is left is none;
  4. the first MAX_WORDS words;
  5. every window of 1 and 2 words, joined by one U+0020, is an n-gram; its bucket is FNV-1a (32 bit) of its UTF-8 bytes,
     modulo BUCKETS;
  6. a bucket's value is ln(1 + how often it was hit), and the vector is divided by its Euclidean norm (no words: all zero).
"""

import math
from collections import Counter

import regex

MIN_N, MAX_N, BUCKETS, MAX_WORDS = 1, 2, 524288, 2000
WORD = regex.compile(r"[\p{Alphabetic}\p{N}']+")
_bucket_of = {}


def fnv1a32(data):
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def bucket(gram):
    found = _bucket_of.get(gram)
    if found is None:
        found = _bucket_of[gram] = fnv1a32(gram.encode()) % BUCKETS
    return found


def words(text):
    found = (run.strip("'") for run in WORD.findall(text.lower().replace("\u2019", "'")))
    return [word for word in found if word][:MAX_WORDS]


def grams(text):
    read = words(text)
    return [" ".join(read[i:i + n]) for n in range(MIN_N, MAX_N + 1) for i in range(len(read) - n + 1)]


def features(text):
    """{bucket: value}, the non-zero part of the vector."""
    values = {index: math.log1p(count) for index, count in Counter(map(bucket, grams(text))).items()}
    norm = math.sqrt(sum(value * value for value in values.values()))
    return {index: value / norm for index, value in values.items()}
