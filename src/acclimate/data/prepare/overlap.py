"""How much of the held-out text is also in the training text, counted in word n-grams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.load import RunConfig
from acclimate.data.prepare.store import Writer, key_of, stored
from acclimate.data.read.records import Document
from acclimate.types.errors import ConfigError

WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication modulo 2**64 then loses nothing
BATCH_CHARACTERS = 1_000_000
FILTER_BITS = 20

Grams = NDArray[np.uint64]


@dataclass(frozen=True)
class Texts:
    """Documents that can be read, and a digest of their contents."""

    digest: str
    read: Callable[[], Iterable[Document]]


@dataclass(frozen=True)
class OverlapRow:
    """N-grams of one source's held-out documents that also occur in one source's training documents.

    The hits are None for training documents that are streamed: nobody has read them all.
    """

    train_source: str
    heldout_source: str
    documents: int
    documents_hit: int | None
    ngrams: int
    ngrams_hit: int | None


def check_drop(config: RunConfig) -> None:
    """Refuses ``data.overlap: drop`` where no training text is read before training."""
    if config.data.overlap == "drop" and all(s.streaming or s.share == 0 for s in config.sources.values()):
        raise ConfigError(
            "data.overlap: drop has no effect, since every source that is trained on is streamed, and overlap is "
            "looked for in text that is read before training; leave it out."
        )


@dataclass(frozen=True)
class Overlap:
    """What the held-out documents share with the training documents that are read before training."""

    rows: list[OverlapRow] = field(default_factory=list)
    hit: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Source -> [documents] whether each held-out one shares an n-gram with training text of any source."""


def cached_overlap(train: Mapping[str, Texts | None], heldout: Mapping[str, Texts], n: int, cache_dir: str) -> Overlap:
    """:func:`find_overlap`, or what an earlier run found on the same contents; ``None`` is a streamed source."""
    if not heldout:
        return Overlap()

    def fill(writer: Writer) -> dict[str, Any]:
        found = find_overlap(
            {name: texts.read() if texts else None for name, texts in train.items()},
            {name: texts.read() for name, texts in heldout.items()},
            n,
        )
        for number, hit in enumerate(found.hit.values()):
            writer.append(f"hit{number}", hit)
        return {"rows": [vars(row) for row in found.rows], "hit": list(found.hit)}

    digests = [[[name, texts.digest if texts else None] for name, texts in part.items()] for part in (train, heldout)]
    known = stored(cache_dir, "overlap", key_of([digests, n, "by document"]), fill)
    hit = {name: np.asarray(known.arrays[f"hit{number}"]) for number, name in enumerate(known.facts["hit"])}
    return Overlap([OverlapRow(**row) for row in known.facts["rows"]], hit)


def find_overlap(
    train: Mapping[str, Iterable[Document] | None], heldout: Mapping[str, Iterable[Document]], n: int
) -> Overlap:
    r"""One row for each pair of a training and a held-out source.

    Words are casefolded ``\w+``. A held-out document shorter than ``n`` words is one n-gram of its own
    length. N-grams are compared by 64-bit hashes of their words.
    """
    wanted = {name: _heldout_grams(documents, n) for name, documents in heldout.items()}
    wanted = {name: grams for name, grams in wanted.items() if grams.documents}
    sizes = {size for grams in wanted.values() for size in grams.by_size}
    everything = {
        size: np.unique(np.concatenate([g.by_size[size][0] for g in wanted.values() if size in g.by_size]))
        for size in sizes
    }
    rows = []
    hit = {name: np.zeros(grams.documents, dtype=bool) for name, grams in wanted.items()}
    for train_source, documents in train.items():
        seen = None if documents is None else _seen(documents, everything)
        for heldout_source, grams in wanted.items():
            hits = None if seen is None else grams.hits(seen)
            if hits is not None:
                hit[heldout_source] |= hits > 0
            rows.append(
                OverlapRow(
                    train_source,
                    heldout_source,
                    grams.documents,
                    None if hits is None else int((hits > 0).sum()),
                    sum(len(found) for found, _ in grams.by_size.values()),
                    None if hits is None else int(hits.sum()),
                )
            )
    return Overlap(rows, hit)


@dataclass(frozen=True)
class _Heldout:
    """N-grams of held-out documents."""

    documents: int
    by_size: dict[int, tuple[Grams, NDArray[np.int64]]]  # size -> the n-grams, and the document of each

    def hits(self, seen: Mapping[int, Grams]) -> NDArray[np.int64]:
        """[documents] n-grams that are among those ``seen``."""
        hits = np.zeros(self.documents, dtype=np.int64)
        for size, (grams, document) in self.by_size.items():
            hits += np.bincount(document[_find(grams, seen[size])[1]], minlength=self.documents)
        return hits


def _heldout_grams(documents: Iterable[Document], n: int) -> _Heldout:
    count = 0
    found: dict[int, list[tuple[Grams, NDArray[np.int64]]]] = {}
    for words, lengths in _words(documents):
        size_of = np.minimum(n, np.maximum(lengths, 1))
        number, left = np.repeat(np.arange(len(lengths)), lengths), _left(lengths)
        for size, grams in _grams(words, set(size_of.tolist())):
            here = np.flatnonzero((size_of[number] == size) & (left >= size))
            found.setdefault(size, []).append((grams[here], count + number[here]))
        count += len(lengths)
    joined = {
        size: (np.concatenate([grams for grams, _ in parts]), np.concatenate([number for _, number in parts]))
        for size, parts in found.items()
    }
    return _Heldout(count, joined)


def _seen(documents: Iterable[Document], wanted: Mapping[int, Grams]) -> dict[int, Grams]:
    """Of the wanted n-grams (size -> ascending), those that occur in the documents."""
    hit = {size: np.zeros(len(grams), dtype=bool) for size, grams in wanted.items()}
    shift = np.uint64(64 - FILTER_BITS)
    likely = {size: np.zeros(1 << FILTER_BITS, dtype=bool) for size in wanted}
    for size, grams in wanted.items():
        likely[size][grams >> shift] = True  # spares most searches
    for words, lengths in _words(documents) if wanted else ():
        left = _left(lengths)
        for size, grams in _grams(words, set(wanted)):
            candidates = grams[likely[size][grams >> shift] & (left >= size)]
            at, equal = _find(candidates, wanted[size])
            hit[size][at[equal]] = True
    return {size: grams[hit[size]] for size, grams in wanted.items()}


def _words(documents: Iterable[Document]) -> Iterator[tuple[Grams, NDArray[np.int64]]]:
    """Batches of documents: the hash of each word, equal only within one process, and the words of each document."""
    words: list[str] = []
    lengths: list[int] = []
    characters = 0
    for document in documents:
        found = WORD.findall(document.text.casefold())
        words += found
        lengths.append(len(found))
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            yield _hashes(words), np.array(lengths)
            words, lengths, characters = [], [], 0
    if lengths:
        yield _hashes(words), np.array(lengths)


def _hashes(words: Sequence[str]) -> Grams:
    return np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).view(np.uint64)


def _left(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """[words] words of the document from each word to the end."""
    return np.repeat(np.cumsum(lengths), lengths) - np.arange(int(lengths.sum()))


def _grams(words: Grams, sizes: set[int]) -> Iterator[tuple[int, Grams]]:
    """For each size, [words] hash of the run of so many words from each word; past the end, of those that are there."""
    grams = np.zeros(len(words), dtype=np.uint64)
    for size in range(1, max(sizes, default=0) + 1):
        grams *= MULTIPLIER
        grams[: max(len(words) - size + 1, 0)] += words[size - 1 :]
        if size in sizes:
            yield size, grams


def _find(grams: Grams, ascending: Grams) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each n-gram would stand in ``ascending``, and whether it stands there."""
    if not len(ascending):
        return np.zeros(len(grams), dtype=np.int64), np.zeros(len(grams), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, grams), len(ascending) - 1)
    return at, ascending[at] == grams
