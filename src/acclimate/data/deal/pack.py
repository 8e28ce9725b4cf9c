"""Documents of one corpus become rows of at most ``sequence_length`` positions, and rows become batches.

A document of n tokens is n - 1 (input, label) pairs. A long document is cut into pieces, each with some context before
its first label (:mod:`acclimate.data.chat.pieces`), so every label is learned exactly once per epoch. Positions
restart at each piece, and attention is to be kept within a piece.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acclimate.data.chat.pieces import cut, labels_of, too_long
from acclimate.data.prepare.ranges import concatenated, sums
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.types.central import IGNORE, PAD_DOCUMENT, PLACE, Batch, Route

OPEN_ROWS = 64
"""Rows that are filled at the same time. More packs tighter and takes longer."""


class Piece(NamedTuple):
    """Part of a document of the corpus; see :class:`~acclimate.data.chat.pieces.Pieces`."""

    document: int
    start: int
    length: int  # positions
    own: int
    lead: int = 0
    prompt_start: int = 0
    prompt: int = 0

    @property
    def stop(self) -> int:
        """The token after the last."""
        return self.start + self.length + 1 - self.lead - self.prompt


@dataclass(frozen=True)
class Row:
    """Pieces that share one row."""

    pieces: tuple[Piece, ...]
    length: int  # positions, without padding
    trained: int  # labels under the active routes
    routes: tuple[int, ...]  # the active routes of these labels
    source: PackedSource = field(repr=False, compare=False)


class Rows(Sequence[Row]):
    """Rows as arrays; a :class:`Row` is made when it is asked for."""

    def __init__(self, source: PackedSource, pieces: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        self.source = source
        self._pieces = pieces  # row after row
        self._starts = starts  # [rows + 1]

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def trained(self) -> NDArray[np.int64]:
        """[rows] labels under the active routes."""
        return sums(self.source.trained[self._pieces], self._starts[:-1], self._starts[1:])

    @property
    def holds(self) -> NDArray[np.bool_]:
        """[rows, active routes of the source] the row has a label under the route."""
        held: NDArray[np.bool_] = np.logical_or.reduceat(self.source.holds[self._pieces], self._starts[:-1])
        return held

    def permuted(self, order: NDArray[np.int64]) -> Rows:
        lengths = np.diff(self._starts)[order]
        pieces = self._pieces[concatenated(self._starts[order], lengths)]
        return Rows(self.source, pieces, np.concatenate([[0], np.cumsum(lengths)]))

    def __getitem__(self, i: int) -> Row:  # type: ignore[override]
        at = range(len(self))[i]
        source, pieces = self.source, self._pieces[self._starts[at] : self._starts[at + 1]]
        return Row(
            pieces=tuple(map(Piece, *(column.tolist() for column in vars(source.pieces.take(pieces)).values()))),
            length=int(source.pieces.length[pieces].sum()),
            trained=int(source.trained[pieces].sum()),
            routes=tuple(source.routes[source.holds[pieces].any(0)].tolist()),
            source=source,
        )


class PackedSource:
    """Packs one source's training documents, differently in every epoch.

    Args:
        corpus: its documents.
        name: the source's name; part of the seed, so that sources are shuffled independently.
        sequence_length: positions in a row [tokens].
        active: [routes] routes that some loss term learns from; labels of others are ignored.
        seed: the run's seed.
        first_document_id: id of the corpus' first document in the run.
        overlap: tokens before its first label that a later piece of a document reads; at least one.
        drop_long: leave out chats and pairs that are longer than a row.
        row_length: pieces fill rows up to it; a longer piece has a row to itself, and none is cut for it. By default
            ``sequence_length``.
    """

    def __init__(
        self,
        corpus: TokenCorpus,
        name: str,
        sequence_length: int,
        active: NDArray[np.bool_],
        seed: int,
        first_document_id: int = 0,
        overlap: int = 0,
        drop_long: bool = False,
        row_length: int | None = None,
    ) -> None:
        self.corpus, self.name, self.sequence_length = corpus, name, sequence_length
        self.row_length = row_length or sequence_length
        self.active, self.seed, self.first_document_id = active, seed, first_document_id
        pieces = cut(corpus, sequence_length, overlap)
        learned = active[corpus.table]
        self.routes = corpus.table[learned]
        """The active ones of the source's routes, as indices in the run's table."""
        counts = labels_of(corpus, pieces)[:, learned]  # [pieces, active routes]
        kept = counts.sum(1) > 0
        if drop_long:
            kept &= ~too_long(corpus, pieces)[pieces.document]
        self.skipped_pieces = len(kept) - int(kept.sum())
        self.pieces = pieces.take(kept)
        self.trained, self.holds = counts[kept].sum(1), counts[kept] > 0  # [pieces], [pieces, active routes]
        documents = np.arange(len(corpus) + 1)
        self._first = np.searchsorted(self.pieces.document, documents)  # pieces before each document

    @property
    def document(self) -> NDArray[np.int64]:
        """[pieces] the document of each."""
        return self.pieces.document

    @property
    def trained_tokens(self) -> int:
        """Labels under the active routes, per epoch."""
        return int(self.trained.sum())

    def rows(self, *when: int) -> Rows:
        """The rows of one pass; the same for the same seed, source and ``when`` (epoch; of a stream, also window)."""
        random = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), *when])
        rows = self._pack(random.permutation(len(self.corpus)))
        # Rows that stayed open until the end are the emptier ones; spread them over the epoch.
        return rows.permuted(random.permutation(len(rows)))

    def rows_in_order(self, documents: NDArray[np.int64] | None = None) -> Rows:
        """The rows of all ``documents``, in their order, without shuffling."""
        return self._pack(np.arange(len(self.corpus)) if documents is None else documents)

    def _pack(self, order: NDArray[np.int64]) -> Rows:
        """Best fit: each piece goes into the fullest open row that can take it."""
        pieces = concatenated(self._first[order], np.diff(self._first)[order])
        row_of = []
        free: list[int] = []  # free positions of an open row * 2**40 + row, ascending
        rows = 0
        for length in self.pieces.length[pieces].tolist():
            at = bisect_left(free, length << 40)
            if at < len(free):
                space, row = divmod(free.pop(at), 1 << 40)
            else:
                space, row = max(self.row_length, length), rows
                rows += 1
            row_of.append(row)
            if space > length:
                insort(free, (space - length << 40) + row)
            if len(free) > OPEN_ROWS:
                free.pop(0)  # the fullest
        by_row = np.array(row_of, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(np.bincount(by_row, minlength=rows))]).astype(np.int64)
        return Rows(self, pieces[np.argsort(by_row, kind="stable")], starts)


def build_batch(rows: Sequence[Row], pad_id: int = 0, whole: bool = False) -> Batch:
    """Fills a batch, padded to its longest row.

    Args:
        rows: of any sources.
        pad_id: input at padding; nothing attends to it and nothing is learned from it.
        whole: padded to the length that its rows were filled up to, so that few shapes occur.
    """
    shape = (len(rows), max(max(row.length, whole * row.source.row_length) for row in rows))
    input_ids, labels = np.full(shape, pad_id, dtype=np.int64), np.full(shape, IGNORE, dtype=np.int64)
    document = np.full(shape, PAD_DOCUMENT, dtype=np.int64)
    positions, routes = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for b, here, source, piece in _placed(rows):
        ids, learned, route, _ = _pairs(source, piece)
        input_ids[b, here] = ids[:-1]
        labels[b, here] = np.where(learned, ids[1:], IGNORE)
        routes[b, here] = np.where(learned, route, 0)
        positions[b, here] = np.arange(piece.length)
        document[b, here] = source.first_document_id + piece.document
    for b, row in enumerate(rows):
        positions[b, row.length :] = np.arange(shape[1] - row.length)  # padding is a document of its own
    return Batch(*(torch.from_numpy(array) for array in (input_ids, labels, positions, document, routes)))


def label_bytes(rows: Sequence[Row]) -> Tensor:
    """[B, T] int64 UTF-8 bytes of each learned label of :func:`build_batch` (0 for special tokens and elsewhere)."""
    result = np.zeros((len(rows), max(row.length for row in rows)), dtype=np.int64)
    for b, here, source, piece in _placed(rows):
        _, learned, _, token_bytes = _pairs(source, piece)
        result[b, here] = token_bytes * learned
    return torch.from_numpy(result)


def label_places(rows: Sequence[Row]) -> Tensor:
    """[B, T] int64 number of each learned label of :func:`build_batch` among the tokens of its document, from 0."""
    result = np.zeros((len(rows), max(row.length for row in rows)), dtype=np.int64)
    for b, here, _, piece in _placed(rows):
        result[b, here] = np.arange(piece.stop - piece.length, piece.stop)
    return torch.from_numpy(result)


def _placed(rows: Sequence[Row]) -> Iterator[tuple[int, slice, PackedSource, Piece]]:
    """Row of the batch and positions in it, for every piece."""
    for b, row in enumerate(rows):
        at = 0
        for piece in row.pieces:
            yield b, slice(at, at + piece.length), row.source, piece
            at += piece.length


def _pairs(
    source: PackedSource, piece: Piece
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int32]]:
    """Of a piece: ids [length + 1]; of its labels [length]: whether learned, route, bytes."""
    read = [(piece.start, piece.stop)]
    if piece.prompt:
        read.insert(0, (piece.prompt_start, piece.prompt_start + piece.prompt))
    if piece.lead:
        read.insert(0, (0, piece.lead))
    parts = [source.corpus.document(piece.document, *part) for part in read]
    ids, routes, token_bytes = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    learned = (routes[1:] >= 0) & source.active[routes[1:]]
    learned[: piece.length - (piece.stop - piece.own)] = False
    return ids, learned, routes[1:], token_bytes[1:]


def heldout_batches(
    corpus: TokenCorpus,
    first_document_id: int,
    routes: Sequence[Route],
    sequence_length: int,
    rows_per_batch: int,
    documents: NDArray[np.int64] | None = None,
    overlap: int = 0,
    pad_id: int = 0,
) -> HeldoutBatches:
    """Batches of held-out documents in their order, every learned route active.

    Args:
        corpus: the held-out documents.
        first_document_id: id of the first of them in the run.
        routes: the run's route table.
        sequence_length: positions in a row.
        rows_per_batch: rows in a batch.
        documents: use only these, by their place in ``corpus``.
        overlap: tokens of context that a later piece of a document reads again, at least one.
    """
    everything = np.ones(len(routes), dtype=bool)
    source = PackedSource(corpus, "heldout", sequence_length, everything, 0, first_document_id, overlap)
    return HeldoutBatches(source.rows_in_order(documents), rows_per_batch, pad_id)


@dataclass(frozen=True)
class HeldoutBatches(Sequence[tuple[Batch, Tensor]]):
    """Each batch with the UTF-8 bytes of its labels, [B, T] int64; made when it is asked for."""

    rows: Rows
    rows_per_batch: int
    pad_id: int = 0

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.rows_per_batch)

    def __getitem__(self, i: int) -> tuple[Batch, Tensor]:  # type: ignore[override]
        first = range(len(self))[i] * self.rows_per_batch
        chunk = [self.rows[k] for k in range(first, min(first + self.rows_per_batch, len(self.rows)))]
        return replace(build_batch(chunk, self.pad_id), columns={PLACE: label_places(chunk)}), label_bytes(chunk)
