"""Documents of one corpus become rows of at most ``sequence_length`` positions, and rows become batches.

A document of n tokens is n - 1 (input, label) pairs. A long document is cut into pieces; a later piece
begins with the token before its first label, so every label is learned exactly once per epoch. Positions
restart at each piece, and attention is to be kept within a piece.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acclimate.data.tokens import TokenCorpus
from acclimate.errors import DataError
from acclimate.types import IGNORE, PAD_DOCUMENT, Batch, Route

OPEN_ROWS = 64
"""Rows that are filled at the same time. More packs tighter and takes longer."""


class Piece(NamedTuple):
    """Pairs ``[start, start + length)`` of a document of the corpus."""

    document: int
    start: int
    length: int


@dataclass(frozen=True)
class Row:
    """Pieces that share one row."""

    pieces: tuple[Piece, ...]
    length: int  # positions, without padding
    trained: int  # labels under the active routes
    routes: tuple[int, ...]  # the active routes of these labels


class PackedSource:
    """Packs one source's training documents, differently in every epoch.

    Args:
        corpus: its documents.
        name: the source's name; part of the seed, so that sources are shuffled independently.
        sequence_length: positions in a row [tokens].
        active: [routes] routes that some loss term learns from; labels of others are ignored.
        seed: the run's seed.
        first_document_id: id of the corpus' first document in the run.

    Raises:
        DataError: no label has an active route.
    """

    def __init__(
        self,
        corpus: TokenCorpus,
        name: str,
        sequence_length: int,
        active: NDArray[np.bool_],
        seed: int,
        first_document_id: int = 0,
    ) -> None:
        self.corpus, self.name, self.sequence_length = corpus, name, sequence_length
        self.active, self.seed, self.first_document_id = active, seed, first_document_id
        self._pieces: list[list[tuple[Piece, int, tuple[int, ...]]]] = []  # of each document
        self.skipped_pieces = 0
        for document in range(len(corpus)):
            labels = corpus.document(document)[1][1:]
            found = []
            for start in range(0, len(labels), sequence_length):
                routes = labels[start : start + sequence_length]
                counts = np.bincount(routes[routes >= 0], minlength=len(active)) * active
                if counts.any():
                    piece = Piece(document, start, len(routes))
                    found.append((piece, int(counts.sum()), tuple(np.flatnonzero(counts).tolist())))
                else:
                    self.skipped_pieces += 1
            self._pieces.append(found)
        self.trained_tokens = sum(trained for found in self._pieces for _, trained, _ in found)
        """Labels under the active routes, per epoch."""
        if not self.trained_tokens:
            raise DataError(f"Source '{name}' has no token on a route that the method learns from.")

    def rows(self, epoch: int) -> list[Row]:
        """The rows of one pass; the same for the same seed, source and epoch."""
        random = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), epoch])
        rows = self._pack(random.permutation(len(self.corpus)).tolist())
        # Rows that stayed open until the end are the emptier ones; spread them over the epoch.
        return [rows[i] for i in random.permutation(len(rows)).tolist()]

    def rows_in_order(self, documents: int | None = None) -> list[Row]:
        """The rows of the first ``documents`` documents, without shuffling."""
        return self._pack(range(len(self.corpus) if documents is None else min(documents, len(self.corpus))))

    def _pack(self, order: Sequence[int]) -> list[Row]:
        """Best fit: each piece goes into the fullest open row that can take it."""
        rows: list[list[tuple[Piece, int, tuple[int, ...]]]] = []
        free: list[tuple[int, int]] = []  # (free positions, row), ascending
        for item in (item for document in order for item in self._pieces[document]):
            length = item[0].length
            at = bisect_left(free, (length, -1))
            if at < len(free):
                space, row = free.pop(at)
                rows[row].append(item)
            else:
                space, row = self.sequence_length, len(rows)
                rows.append([item])
            if space > length:
                insort(free, (space - length, row))
            if len(free) > OPEN_ROWS:
                free.pop(0)  # the fullest
        return [
            Row(
                pieces=tuple(piece for piece, _, _ in items),
                length=sum(piece.length for piece, _, _ in items),
                trained=sum(trained for _, trained, _ in items),
                routes=tuple(sorted({route for _, _, routes in items for route in routes})),
            )
            for items in rows
        ]


def waste(rows: Sequence[Row]) -> float:
    """Part of all positions that is padding when every row is as long as the longest."""
    return 1.0 - sum(row.length for row in rows) / (len(rows) * max(row.length for row in rows))


def build_batch(rows: Sequence[tuple[PackedSource, Row]], pad_id: int = 0) -> Batch:
    """Fills a batch, padded to its longest row.

    Args:
        rows: each with the source that made it.
        pad_id: input at padding; nothing attends to it and nothing is learned from it.
    """
    shape = (len(rows), max(row.length for _, row in rows))
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
    for b, (_, row) in enumerate(rows):
        positions[b, row.length :] = np.arange(shape[1] - row.length)  # padding is a document of its own
    return Batch(*(torch.from_numpy(array) for array in (input_ids, labels, positions, document, routes)))


def label_bytes(rows: Sequence[tuple[PackedSource, Row]]) -> Tensor:
    """[B, T] int64 UTF-8 bytes of each learned label of :func:`build_batch` (0 for special tokens and elsewhere)."""
    result = np.zeros((len(rows), max(row.length for _, row in rows)), dtype=np.int64)
    for b, here, source, piece in _placed(rows):
        _, learned, _, token_bytes = _pairs(source, piece)
        result[b, here] = token_bytes * learned
    return torch.from_numpy(result)


def _placed(rows: Sequence[tuple[PackedSource, Row]]) -> Iterator[tuple[int, slice, PackedSource, Piece]]:
    """Row of the batch and positions in it, for every piece."""
    for b, (source, row) in enumerate(rows):
        at = 0
        for piece in row.pieces:
            yield b, slice(at, at + piece.length), source, piece
            at += piece.length


def _pairs(
    source: PackedSource, piece: Piece
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int16], NDArray[np.int32]]:
    """Of a piece: ids [length + 1]; of its labels [length]: whether learned, route, bytes."""
    ids, routes, token_bytes = source.corpus.document(piece.document)
    labels = slice(piece.start + 1, piece.start + piece.length + 1)
    learned = (routes[labels] >= 0) & source.active[routes[labels]]
    return ids[piece.start : labels.stop], learned, routes[labels], token_bytes[labels]


def heldout_batches(
    corpus: TokenCorpus,
    first_document_id: int,
    routes: Sequence[Route],
    sequence_length: int,
    rows_per_batch: int,
    max_documents: int | None = None,
    pad_id: int = 0,
) -> list[tuple[Batch, Tensor]]:
    """Batches of held-out documents in their order, every learned route active.

    Args:
        corpus: the held-out documents.
        first_document_id: id of the first of them in the run.
        routes: the run's route table.
        sequence_length: positions in a row.
        rows_per_batch: rows in a batch.
        max_documents: use only the first so many documents.

    Returns:
        Each batch with the UTF-8 bytes of its labels, [B, T] int64.
    """
    if not len(corpus):
        return []
    everything = np.ones(len(routes), dtype=bool)
    source = PackedSource(corpus, "heldout", sequence_length, everything, 0, first_document_id)
    rows = [(source, row) for row in source.rows_in_order(max_documents)]
    chunks = [rows[i : i + rows_per_batch] for i in range(0, len(rows), rows_per_batch)]
    return [(build_batch(chunk, pad_id), label_bytes(chunk)) for chunk in chunks]
