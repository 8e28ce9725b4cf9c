"""What a run's sources are once they are prepared: what each trains on, holds out, and says about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.label_notes import LabelNote
from acclimate.data.chat.rendering import TurnEnd
from acclimate.data.deal.stream import DocumentStream
from acclimate.data.prepare.overlap import OverlapRow
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.data.read.documents import Document
from acclimate.types.central import Route

Role = Literal["domain", "general", "chat"]
OVERLAPS = "held out, shares text with training documents"
BEGINNING = 240
"""Characters by which a person knows a document again."""
DRAWN = 64
"""Held-out documents that are read at a time where they are not read in their order."""
STREAM_IDS = 2**40
"""Document ids of the k-th streamed source begin at k times this."""


@dataclass(frozen=True)
class Mask:
    """Labels that the method does not learn: their part of all that it might, and what identifies them."""

    part: float
    digest: str


@dataclass(frozen=True)
class Corpus:
    """One source."""

    name: str
    section: SourceSection
    role: Role
    train: TokenCorpus  # of a streamed source: the first training documents, a sample
    heldout: TokenCorpus
    read_heldout: Callable[[], Iterable[Document]]  # aligned with heldout, read again
    documents_read: int  # all, or the beginning of a stream
    dropped: dict[str, int] | None  # reason -> documents; None of a stream, where nobody counts them
    unread: tuple[str, ...]  # sentences about what its rows carry that nobody reads; of a stream, its beginning's
    digest: str  # sha256 of the contents of the documents in use; of a stream, of its files' names, sizes and times
    first_document_id: int  # of training documents; ids are unique in the run
    first_heldout_id: int
    heldout_order: NDArray[np.int64]  # places in heldout in the order in which caps take them, by a hash of contents
    groups: tuple[str, ...]  # of held-out documents: what names each one's group
    overlapping: NDArray[np.bool_]  # held-out documents that share text with training documents
    reserved: float | int = 0  # what ``heldout`` came to: a share of a stream, or a count, or as it was given
    left_out: int = 0  # held-out documents that did, of ``data.overlap: drop``
    stream: DocumentStream | None = None
    mask: Mask | None = None  # of train
    read_as: tuple[str, ...] = ()  # sentences about how rows were read where that is a choice
    has_pairs: bool = False  # of two strings; of a stream, in its beginning
    passed_over: Mapping[str, int] = field(default_factory=dict)  # reason -> files of its path that are not read
    label_notes: tuple[LabelNote, ...] = ()  # what rows carry that is not read or not learned; of a stream's beginning
    turn_end: TurnEnd | None = None  # of a source with chats

    def beginnings(self, document_ids: Iterable[int]) -> list[str]:
        """How held-out documents begin, read again; ids ascend."""
        wanted, found = {int(number) - self.first_heldout_id for number in document_ids}, []
        for number, document in enumerate(self.read_heldout()):
            if number in wanted:
                text = document.text
                found.append(text[:BEGINNING] + "…" * (len(text) > BEGINNING))
            if len(found) == len(wanted):
                break
        return found

    def drawn(self, first: int = 0) -> Iterator[Document]:
        """What is :meth:`reported`, read a block at a time."""
        reported = self.reported(first)
        for start in range(0, len(reported), DRAWN):
            block = reported[start : start + DRAWN].tolist()
            wanted, read = set(block), enumerate(islice(self.read_heldout(), max(block) + 1))
            found = {number: document for number, document in read if number in wanted}
            yield from (found[number] for number in block)

    @property
    def heldout_digest(self) -> str:
        """sha256 of the tokens and groups of what is held out; the places it was read from have no part in it."""
        digest = hashlib.sha256("\n".join(self.groups).encode())
        for i in range(len(self.heldout)):
            digest.update(self.heldout.document(i)[0].tobytes())
        return digest.hexdigest()

    def reported(self, first: int) -> NDArray[np.int64]:
        """Places of held-out documents in the order in which caps take them, without the ``first`` so many, which
        choices look at, and without what belongs to a group of theirs."""
        seen = {self.groups[place] for place in self.heldout_order[:first]}
        rest = self.heldout_order[first:].tolist()
        return np.array([place for place in rest if self.groups[place] not in seen], dtype=np.int64)

    def without(self, out: NDArray[np.bool_]) -> Corpus:
        """Without some of the held-out documents."""
        left, number = np.flatnonzero(~out), np.cumsum(~out) - 1
        order = self.heldout_order[~out[self.heldout_order]]
        dropped = None if self.dropped is None else {**self.dropped, OVERLAPS: int(out.sum())}
        return replace(
            self,
            heldout=self.heldout.subset(left),
            read_heldout=lambda: (d for d, leave in zip(self.read_heldout(), out.tolist(), strict=True) if not leave),
            heldout_order=number[order],
            dropped=dropped,
            groups=tuple(self.groups[place] for place in left),
            overlapping=self.overlapping[left],
            left_out=int(out.sum()),
        )

    def where(self, document_id: int) -> str | None:
        """Place of a document by its id in the run; None if it is not of this source."""
        heldout, number = document_id - self.first_heldout_id, document_id - self.first_document_id
        if 0 <= heldout < len(self.heldout):
            return str(self.heldout.where[heldout])
        if self.stream is not None and number >= 0 and heldout < STREAM_IDS:
            return self.stream.where(document_id)
        return str(self.train.where[number]) if self.stream is None and 0 <= number < len(self.train) else None


@dataclass(frozen=True)
class Corpora:
    """All sources of a run and the route table their tokens point into."""

    routes: tuple[Route, ...]
    sources: dict[str, Corpus]
    overlap: list[OverlapRow]

    def document_name(self, document_id: int) -> str:
        """``source 'x', path:line`` for an id found in a batch."""
        for corpus in self.sources.values():
            if (where := corpus.where(document_id)) is not None:
                return f"source '{corpus.name}', {where}"
        raise KeyError(document_id)
