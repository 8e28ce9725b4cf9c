"""Which documents of a source are used, and which of these are held out: by content, never by position.

Documents are known by hashes here: a fingerprint [32 bytes] of the contents, and a hash of the normalised text.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.schema import DataSection
from acclimate.config.source_schema import AUTO, SourceSection
from acclimate.data.prepare.store import Writer, key_of, stored
from acclimate.data.read.records import Document
from acclimate.types.errors import ConfigError, DataError

Chosen = NDArray[np.int64]
Counts = tuple[int, ...]
"""Documents of the test and, with ``split: validation``, of the validation."""
BLOCK = 65_536
"""Documents whose fingerprints are spelt out at a time."""


def normalised(document: Document) -> int:
    """64-bit hash of the text with runs of whitespace collapsed; of a chat, also of who said what with which tools."""
    if document.templated:
        said = [[part.role, " ".join(part.text.split()), part.extra] for part in document.parts]
        text = json.dumps([said, document.tools] if document.tools else said, sort_keys=True)
    else:
        text = " ".join(document.text.split())
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def without_duplicates(
    texts: NDArray[np.uint64], before: Mapping[str, NDArray[np.uint64]], dropped: Counter[str]
) -> tuple[Chosen, NDArray[np.uint64]]:
    """The first document of each normalised text, ascending; and the hashes of these texts, ascending.

    Args:
        texts: [documents] hash of each.
        before: source -> hashes, ascending, of the texts that an earlier source of the run has.
        dropped: gets ``duplicate`` and ``duplicate of <source>``.
    """
    own, first, times = np.unique(texts, return_index=True, return_counts=True)
    new = np.ones(len(own), dtype=bool)
    for earlier, ascending in before.items():
        at = np.minimum(np.searchsorted(ascending, own), len(ascending) - 1)
        known = ascending[at] == own
        new &= ~known
        dropped[f"duplicate of {earlier}"] += int(times[known].sum())
    dropped["duplicate"] += int(times[new].sum() - new.sum())
    return np.sort(first[new]), own[new]


@dataclass(frozen=True)
class Fingerprints:
    """What documents hold, as hashes."""

    rows: NDArray[np.uint8]  # [documents, 32] sha256 of each

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Fingerprints:
        joined = bytes.fromhex("".join(document.fingerprint for document in documents))
        return cls(np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32))

    def take(self, indices: Chosen) -> Fingerprints:
        return self if len(indices) == len(self) else Fingerprints(self.rows[indices])

    @cached_property
    def digest(self) -> str:
        """sha256 over all of them as they are spelt, in order."""
        digest = hashlib.sha256()
        for start in range(0, len(self.rows), BLOCK):
            digest.update(self.rows[start : start + BLOCK].tobytes().hex().encode())
        return digest.hexdigest()

    def order(self, purpose: str) -> Chosen:
        """The documents by rank, lowest first."""
        ranks = b"".join(rank(row.tobytes().hex(), purpose) for row in self.rows)
        return np.argsort(np.frombuffer(ranks, dtype="S32"), kind="stable")

    def lowest(self, purpose: str, count: int, cache_dir: str) -> Chosen:
        """The ``count`` documents of lowest rank, ascending; cached, because a rank is a hash made in Python."""

        def fill(writer: Writer) -> dict[str, Any]:
            writer.append("chosen", np.sort(self.order(purpose)[:count]))
            return {}

        if not count:
            return np.empty(0, dtype=np.int64)
        return stored(cache_dir, "split", key_of([purpose, count, self.digest]), fill).arrays["chosen"]


def subsample(fingerprints: Fingerprints, count: int | None, seed: int, cache_dir: str) -> Chosen:
    """``count`` documents, ascending."""
    if count is None or count >= len(fingerprints):
        return np.arange(len(fingerprints))
    return fingerprints.lowest(f"subsample:{seed}", count, cache_dir)


def held_out(
    fingerprints: Fingerprints,
    name: str,
    section: SourceSection,
    data: DataSection,
    groups: Chosen | None = None,
    counts: Counts | None = None,
) -> tuple[Chosen, Chosen]:
    """The documents that are measured, and all that are not trained on, ascending.

    The test documents are those of lowest rank; the validation documents come next. Of documents in groups whole groups
    are taken, by the rank of the first of each by fingerprint, as near to the count as they come.

    Args:
        groups: [documents] number of each one's group, from 0 on without a gap; None: each is its own.
        counts: how many are for the test and, with ``split: validation``, for that; default: as the section has it.

    Raises:
        ConfigError: ``heldout`` is neither a share nor a whole count.
        DataError: no document, or no group, would be left to train on.
    """
    total = len(fingerprints)
    if counts is None:
        assert section.heldout != AUTO  # which is decided over all sources
        counts = (given_counts(name, section.heldout, total),) * (1 if data.split == "test" else 2)
    if sum(counts) >= total:
        documents_text = f"{total} document{'' if total == 1 else 's'}"
        raise DataError(
            f"sources.{name}.heldout: {section.heldout} holds out {sum(counts)} of {documents_text}, which leaves none "
            "to train on; lower it, or set heldout: 0 and give more or shorter documents."
        )
    if groups is not None and any(counts):
        return _whole_groups(fingerprints, groups, name, section, data, counts)
    purpose = f"heldout:{data.split_seed}"
    test, apart = (fingerprints.lowest(purpose, n, data.cache_dir) for n in (counts[0], sum(counts)))
    return (test if len(counts) == 1 else np.setdiff1d(apart, test)), apart


def given_counts(name: str, heldout: float | int, total: int) -> int:
    """Documents that a share or a count holds out.

    Raises:
        ConfigError: it is neither.
    """
    check_heldout(name, heldout)
    return int(heldout) if heldout >= 1 else max(round(heldout * total), 1 if heldout > 0 else 0)


def _whole_groups(
    fingerprints: Fingerprints, groups: Chosen, name: str, section: SourceSection, data: DataSection, counts: Counts
) -> tuple[Chosen, Chosen]:
    first = representatives(groups, fingerprints)
    sizes, parts = np.bincount(groups), len(counts)
    if len(sizes) <= parts:
        raise DataError(
            f"sources.{name}.group: '{section.group}' makes {len(sizes)} group{'s' * (len(sizes) > 1)} of all "
            f"{len(groups):,} documents, and {parts} {'are' if parts > 1 else 'is'} held out whole, which leaves none "
            f"to train on; set heldout: 0, another group, or none to split documents one by one."
        )
    left = fingerprints.take(first).order(f"heldout:{data.split_seed}").tolist()
    taken: list[list[int]] = []
    for part, count in enumerate(counts):
        most = len(left) - (parts - part)  # a group for each later part, and one to train on, stay
        chosen = _near(count, [int(sizes[group]) for group in left], most)
        taken.append([left[place] for place in chosen])
        left = [group for place, group in enumerate(left) if place not in set(chosen)]
    measured = np.flatnonzero(np.isin(groups, taken[-1]))
    return measured, np.flatnonzero(np.isin(groups, [group for part in taken for group in part]))


def _near(count: int, sizes: Sequence[int], most: int) -> list[int]:
    """Places of at most ``most`` sizes, from the first on, that add up to about ``count``; those that lead further from
    it are passed over. One at least: the smallest."""
    chosen: list[int] = []
    total = 0
    for place, size in enumerate(sizes):
        if len(chosen) == max(most, 1) or total >= count:
            break
        if abs(total + size - count) < count - total:
            chosen.append(place)
            total += size
    return chosen or [int(np.argmin(sizes))]


def representatives(groups: Chosen, fingerprints: Fingerprints) -> Chosen:
    """[groups] the document of lowest fingerprint of each."""
    begins = np.ascontiguousarray(fingerprints.rows[:, :8]).view(">u8").ravel()
    order = np.argsort(begins, kind="stable")
    return order[np.unique(groups[order], return_index=True)[1]]


def drawing_order(fingerprints: Fingerprints, groups: Chosen | None, chosen: Chosen, purpose: str) -> Chosen:
    """Places in ``chosen`` by rank; those of a group after each other, at the rank of its first one by fingerprint."""
    fingerprints = fingerprints.take(chosen)
    order = fingerprints.order(purpose)
    if groups is None or not len(chosen):
        return order
    own = np.unique(groups[chosen], return_inverse=True)[1]
    ranked = fingerprints.take(representatives(own, fingerprints)).order(purpose)
    place = np.empty(len(ranked), dtype=np.int64)
    place[ranked] = np.arange(len(ranked))
    return order[np.argsort(place[own[order]], kind="stable")]


def check_heldout(name: str, heldout: float | int) -> None:
    """Refuses a ``heldout`` that is neither a share nor a whole count."""
    if heldout >= 1 and heldout != int(heldout):
        raise ConfigError(
            f"sources.{name}.heldout: {heldout} is neither a share (below 1) nor a whole count of documents."
        )


def rank(fingerprint: str, purpose: str) -> bytes:
    """Place of a document in an order that depends on purpose and content alone, so that adding a document or
    another source moves few documents across a split."""
    return hashlib.sha256(f"{purpose}:{fingerprint}".encode()).digest()
