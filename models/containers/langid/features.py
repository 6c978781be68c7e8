"""`char_ngrams`: text -> f32[buckets], the featurizer the manifest declares. This file is its reference.

The semantics, in order:
  1. the first MAX_CHARS Unicode scalar values of the text;
  2. full Unicode lower case (`str.lower`, the same mapping as Rust's `str::to_lowercase`, final sigma included);
  3. each run of characters with the Unicode property White_Space becomes one U+0020; none is left at either end;
  4. one U+0020 is put before and one after (an empty text becomes two spaces);
  5. every window of 1, 2 and 3 scalar values is an n-gram; its bucket is FNV-1a (32 bit) of its UTF-8 bytes, modulo BUCKETS;
  6. a bucket's value is ln(1 + how often it was hit), and the vector is divided by its Euclidean norm.
"""

import math
import re
from collections import Counter

MIN_N, MAX_N, BUCKETS, MAX_CHARS = 1, 3, 4096, 4000
WHITE_SPACE = re.compile("[\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+")
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


def normalise(text):
    return f" {WHITE_SPACE.sub(' ', text[:MAX_CHARS].lower()).strip(' ')} "


def features(text):
    """{bucket: value}, the non-zero part of the vector."""
    text = normalise(text)
    counts = Counter(bucket(text[i:i + n]) for n in range(MIN_N, MAX_N + 1) for i in range(len(text) - n + 1))
    values = {index: math.log1p(count) for index, count in counts.items()}
    norm = math.sqrt(sum(value * value for value in values.values()))
    return {index: value / norm for index, value in values.items()}
