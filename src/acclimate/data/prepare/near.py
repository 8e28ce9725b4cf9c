"""Documents that are nearly the same: equal but for case, marks, spacing, numbers or a few words, or one template.

Each document is known by the smallest hashes of its runs of words (a bottom-k sketch: Broder, *On the resemblance and
containment of documents*, 1997) [second-hand]. Two sketches estimate the Jaccard similarity of the two sets of runs.
"""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from acclimate.data.read.records import Document

NEAR = 0.4
"""Jaccard similarity from which on two documents are near duplicates [ours] (benchmarks/2026-11-29-gate-error.md)."""
RUN = 2
"""Words in a run."""
FEWEST_WORDS = 8
"""A shorter document shares its words with others by chance: only equal ones are duplicates."""
SKETCHED = 50_000
"""Characters of a document that are looked at: near duplicates begin alike."""
WIDTH = 32
"""Hashes in a sketch: 128 bytes a document; the estimate errs by 0.09 at the worst, by nothing for short documents."""
KEYS = 8
"""Of these, the smallest are looked up: two documents at the threshold share one in 98 % of cases."""
COMPARED = 4
"""Documents of one key that are compared with each: that many before it, in the order of their sketches."""
AT_ONCE = 65_536
"""Pairs in memory."""
NONE = np.uint32(0xFFFFFFFF)
WORD = re.compile(r"[^\W\d_]+|\d+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Sketches = NDArray[np.uint32]
"""[documents, WIDTH] ascending; past the end ``NONE``, which is all of a document that is too short."""


def sketch(document: Document) -> Sketches:
    """[WIDTH] of what is said, without system messages, which a whole corpus may share."""
    said = "\n".join(part.text for part in document.parts if part.role != "system")[:SKETCHED]
    words = WORD.findall(said.casefold())
    found = np.full(WIDTH, NONE)
    if len(words) < FEWEST_WORDS:
        return found
    codes = np.fromiter((crc32(word.encode()) if word[0].isalpha() else 1 for word in words), np.uint64, len(words))
    runs = np.zeros(len(words) - RUN + 1, dtype=np.uint64)
    for place in range(RUN):
        runs = (runs ^ codes[place : len(words) - RUN + 1 + place]) * MULTIPLIER
        runs ^= runs >> np.uint64(29)
    smallest = np.unique((runs >> np.uint64(32)).astype(np.uint32))[:WIDTH]
    found[: len(smallest)] = smallest
    return found


def similarity(one: Sketches, other: Sketches) -> NDArray[np.float64]:
    """[pairs] Jaccard similarity of sketches [pairs, WIDTH], by the smallest ``WIDTH`` hashes of both together."""
    both = np.sort(np.concatenate([one, other], axis=1), axis=1)
    again = np.zeros(both.shape, dtype=bool)
    again[:, 1:] = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] != NONE)
    distinct = np.cumsum(~again & (both != NONE), axis=1)
    size = np.minimum(distinct[:, -1], WIDTH)
    shared = np.sum(again & (distinct <= size[:, None]), axis=1)
    found: NDArray[np.float64] = shared / np.maximum(size, 1)
    return found


def near_duplicates(sketches: Sketches) -> NDArray[np.int64]:
    """[documents] the number of each one's cluster: what is linked by pairs of a similarity of ``NEAR`` or more.

    Memory is some 300 bytes a document. Pairs are looked for among documents that share one of their smallest hashes.
    """
    documents = len(sketches)
    long = np.flatnonzero(sketches[:, 0] != NONE) if documents else np.empty(0, dtype=np.int64)
    hashes = sketches[long, :KEYS].ravel()
    owner = np.repeat(long, KEYS)
    owner, hashes = owner[hashes != NONE], hashes[hashes != NONE]
    order = np.lexsort((sketches[owner, 0], hashes))
    pairs = _linked(sketches, owner[order], hashes[order])
    return components(pairs, documents)


def components(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """[size] the lowest number that each is linked to, directly or through others.

    Every number takes the lowest of its links' until none changes; halving paths makes that a few rounds.

    >>> components(np.array([[0, 2], [3, 2]]), 5).tolist()
    [0, 1, 0, 0, 4]
    """
    found = np.arange(size)
    while len(pairs):
        one, other = found[pairs[:, 0]], found[pairs[:, 1]]
        if (one == other).all():
            break
        np.minimum.at(found, np.maximum(one, other), np.minimum(one, other))
        while (found[found] != found).any():
            found = found[found]
    return found


def _linked(sketches: Sketches, documents: NDArray[np.int64], keys: NDArray[np.uint32]) -> NDArray[np.int64]:
    """[pairs, 2] near ones among documents that follow each other and have the same key."""
    links = [np.empty((0, 2), dtype=np.int64)]
    for apart in range(1, COMPARED + 1):
        same = np.flatnonzero(keys[apart:] == keys[:-apart])
        for start in range(0, len(same), AT_ONCE):
            at = same[start : start + AT_ONCE]
            one, other = documents[at], documents[at + apart]
            near = similarity(sketches[one], sketches[other]) >= NEAR
            links.append(np.stack([one[near], other[near]], axis=1))
    return np.concatenate(links)
