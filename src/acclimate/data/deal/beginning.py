"""The beginning of a streamed source: all that is read of it before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import SourceSection
from acclimate.data.deal.stream import Heldout, numeric
from acclimate.data.prepare.split import check_heldout, normalised, rank
from acclimate.data.read.dialects import Readings
from acclimate.data.read.documents import Reader, read_documents
from acclimate.data.read.records import Document
from acclimate.data.read.unread import Unread
from acclimate.types.errors import DataError

BEGINNING_DOCUMENTS = 10_000
BEGINNING_CHARACTERS = 32_000_000
"""The beginning ends with the first of the two bounds; a counted held-out set comes on top."""
SAMPLE_DOCUMENTS = 256
SAMPLE_CHARACTERS = 1_000_000
"""Training documents whose tokens tell which routes the source has, and in which proportion: within both bounds."""


@dataclass(frozen=True)
class Beginning:
    """The first documents of a stream, in order."""

    name: str
    section: SourceSection
    documents: list[Document]
    texts: list[int]  # hash of each document's normalised text
    unread: Unread  # of these
    readings: Readings
    passed_over: Counter[str]  # files of the source that are not read

    @property
    def described(self) -> str:
        return f"the first {len(self.documents):,} documents of the stream"


@dataclass(frozen=True)
class Divided:
    """A beginning without duplicates of what it holds out."""

    name: str
    section: SourceSection
    heldout: list[Document]
    measured: frozenset[int]  # hashes of the held-out texts
    groups: frozenset[int]  # hashes of their groups; empty where each text is its own
    sample: list[Document]  # the first documents to train on
    documents_read: int
    unread: Unread
    readings: Readings
    passed_over: Counter[str]


def read_beginning(name: str, section: SourceSection) -> Beginning:
    """Reads until a bound is met.

    Raises:
        DataError: a path that matches nothing, a file or record that cannot be read, or no document at all.
        ConfigError: ``heldout`` is neither a share nor a whole count.
    """
    heldout = numeric(section)
    check_heldout(name, heldout)
    counted = int(heldout) if heldout >= 1 else 0
    documents: list[Document] = []
    characters = 0
    reader = Reader(name, section)
    for document, _ in reader.read():
        documents.append(document)
        if len(documents) > counted:
            characters += len(document.text)
        if characters >= BEGINNING_CHARACTERS or len(documents) == counted + BEGINNING_DOCUMENTS:
            break
        if len(documents) == section.max_documents:
            break
    if not documents:
        read_documents(name, section)  # raises: there is no document
    texts = [normalised(document) for document in documents]
    return Beginning(name, section, documents, texts, reader.unread, reader.readings, reader.passed_over)


def divide(beginning: Beginning, rule: Heldout, others: Iterable[NDArray[np.uint64]]) -> Divided:
    """Finds the held-out documents, each text once.

    A count holds out the first so many texts, or of a source with groups those of the groups of lowest rank; a share
    those of the beginning that fall under it. Texts that another source has are not measured here, and the rest of a
    group that is not measured whole is not trained on either.

    Args:
        others: hashes of the texts of other sources, ascending.

    Raises:
        DataError: nothing is held out, fewer than asked for, or nothing is left to train on.
    """
    name, heldout = beginning.name, numeric(beginning.section)
    texts = np.array(beginning.texts, dtype=np.uint64)
    elsewhere = np.zeros(len(texts), dtype=bool)
    for ascending in others:
        elsewhere |= np.isin(texts, ascending)
    keys = [rule.key(document, text) for document, text in zip(beginning.documents, beginning.texts, strict=True)]
    grouped = keys != beginning.texts
    order = list(range(len(keys)))
    if grouped and heldout >= 1:
        order.sort(key=lambda i: rank(f"{keys[i]:016x}", rule.purpose))
    chosen: dict[int, int] = {}  # text -> document
    for i in order:
        text = beginning.texts[i]
        if not elsewhere[i] and (len(chosen) < heldout if heldout >= 1 else rule.by_share(keys[i])):
            chosen.setdefault(text, i)
    if heldout > 0 and len(chosen) < max(int(heldout), 1):
        raise DataError(
            f"sources.{name}.heldout: {heldout} cannot be met: {beginning.described} hold {len(chosen) or 'none'} to "
            "hold out; give another count of documents, or 0 to measure nothing on this source."
        )
    groups = frozenset(keys[i] for i in chosen.values()) if grouped else frozenset()
    left = [
        document
        for document, text, key in zip(beginning.documents, beginning.texts, keys, strict=True)
        if text not in chosen and key not in groups and not rule.by_share(key)
    ]
    if not left:
        raise DataError(
            f"sources.{name}.heldout: {heldout} holds out all of {beginning.described}, which leaves none to train on; "
            "lower it, or set heldout: 0 and give more or shorter documents."
        )
    before = np.cumsum([0, *(len(document.text) for document in left[: SAMPLE_DOCUMENTS - 1])])
    sample = left[: int((before < SAMPLE_CHARACTERS).sum())]
    measured = [beginning.documents[i] for i in sorted(chosen.values())]
    return Divided(
        name=name,
        section=beginning.section,
        heldout=measured,
        measured=frozenset(chosen),
        groups=groups,
        sample=sample,
        documents_read=len(texts),
        unread=beginning.unread,
        readings=beginning.readings,
        passed_over=beginning.passed_over,
    )
