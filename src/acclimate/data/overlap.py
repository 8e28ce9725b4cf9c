"""How much of the held-out text is also in the training text, counted in word n-grams."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.data.records import Document

WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication modulo 2**64 then loses nothing

Grams = NDArray[np.uint64]


@dataclass(frozen=True)
class OverlapRow:
    """N-grams of one source's held-out documents that also occur in one source's training documents."""

    train_source: str
    heldout_source: str
    documents: int
    documents_hit: int
    ngrams: int
    ngrams_hit: int


def count_overlap(
    train: Mapping[str, Sequence[Document]], heldout: Mapping[str, Sequence[Document]], n: int
) -> list[OverlapRow]:
    r"""One row for each pair of a training and a held-out source.

    Words are casefolded ``\w+``. A held-out document shorter than ``n`` words is one n-gram of its own
    length. N-grams are compared by 64-bit hashes of their words.
    """
    wanted = {
        name: [_heldout_grams(_words(document), n) for document in documents]
        for name, documents in heldout.items()
        if documents
    }
    sizes = {size for pairs in wanted.values() for size, _ in pairs}
    everything = {
        size: np.unique(np.concatenate([grams for pairs in wanted.values() for own, grams in pairs if own == size]))
        for size in sizes
    }
    rows = []
    for train_source, documents in train.items():
        seen = _seen(documents, everything)
        for heldout_source, pairs in wanted.items():
            hits = [int(_find(grams, seen[size])[1].sum()) for size, grams in pairs]
            ngrams = sum(len(grams) for _, grams in pairs)
            hit = sum(count > 0 for count in hits)
            rows.append(OverlapRow(train_source, heldout_source, len(pairs), hit, ngrams, sum(hits)))
    return rows


def _words(document: Document) -> Grams:
    """[words] hash of each word; equal only within one process."""
    words = [hash(word) & 0xFFFFFFFFFFFFFFFF for word in WORD.findall(document.text.casefold())]
    return np.array(words, dtype=np.uint64)


def _grams(words: Grams, size: int) -> Grams:
    """[words - size + 1] hash of each run of ``size`` words."""
    count = len(words) - size + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    grams = np.zeros(count, dtype=np.uint64)
    for offset in range(size):
        grams = grams * MULTIPLIER + words[offset : offset + count]
    return grams


def _heldout_grams(words: Grams, n: int) -> tuple[int, Grams]:
    size = min(n, max(len(words), 1))
    return size, _grams(words, size)


def _seen(documents: Sequence[Document], wanted: Mapping[int, Grams]) -> dict[int, Grams]:
    """Of the wanted n-grams (size -> sorted), those that occur in the documents."""
    hit = {size: np.zeros(len(grams), dtype=bool) for size, grams in wanted.items()}
    for document in documents if wanted else ():
        words = _words(document)
        for size, grams in wanted.items():
            at, equal = _find(_grams(words, size), grams)
            hit[size][at[equal]] = True
    return {size: grams[hit[size]] for size, grams in wanted.items()}


def _find(grams: Grams, ascending: Grams) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each n-gram would stand in ``ascending``, and whether it stands there."""
    if not len(ascending):
        return np.zeros(len(grams), dtype=np.int64), np.zeros(len(grams), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, grams), len(ascending) - 1)
    return at, ascending[at] == grams
