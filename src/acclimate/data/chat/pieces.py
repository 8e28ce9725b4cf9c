"""Where documents that are longer than a row are cut, and what each piece reads before its first label.

A piece learns a stretch of its document, and every label is in exactly one piece. Before its stretch a piece reads:

1. what the tokenizer puts before every text (a bos),
2. in a chat or pair, the prompt of the answer that it learns from: all that stands before the answer, cut from its left
   to half of the row, or less where the answer leaves more room for its own question,
3. the tokens just before its first label: at least one, ``overlap`` where that is more, and an eighth of the row within
   an answer.

In a chat or pair an answer is cut only if no row holds it beside its prompt [ours].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from acclimate.data.prepare.ranges import concatenated
from acclimate.data.prepare.tokens import TokenCorpus

HISTORY = 2
"""A prompt gets at least one part in so many of a row."""
CONTINUATION = 8
"""A later piece of an answer reads one part in so many of a row of what the answer said before."""


@dataclass(frozen=True)
class Pieces:
    """Columns [pieces], ordered by document; a piece is read as lead, prompt, and tokens from ``start`` on."""

    document: NDArray[np.int64]
    start: NDArray[np.int64]  # token of the document
    length: NDArray[np.int64]  # positions, one less than the tokens that are read
    own: NDArray[np.int64]  # first token that is its label; those before it are context
    lead: NDArray[np.int64]  # tokens of the document's beginning that are read first
    prompt_start: NDArray[np.int64]
    prompt: NDArray[np.int64]  # tokens

    @property
    def stop(self) -> NDArray[np.int64]:
        """[pieces] the token after the last."""
        return self.start + self.length + 1 - self.lead - self.prompt

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Pieces:
        return Pieces(*(getattr(self, column.name)[chosen] for column in fields(self)))


def cut(corpus: TokenCorpus, sequence_length: int, overlap: int = 0) -> Pieces:
    """The pieces of all documents.

    Args:
        sequence_length: most positions of a piece.
        overlap: tokens before its first label that a later piece reads, as far as there is room; at least one.
    """
    labels, lead = np.maximum(corpus.lengths - 1, 0), np.minimum(corpus.lead, max(sequence_length - 2, 0))
    answers = corpus.prompted & (labels > sequence_length)
    context = np.clip(overlap, 1, sequence_length - lead)
    fresh = sequence_length + 1 - lead - context  # labels of a later piece
    count = np.where(labels > 0, 1 + np.maximum(0, -(-(labels - sequence_length) // fresh)), 0)
    count[answers] = 0
    document = np.repeat(np.arange(len(corpus)), count)
    number = concatenated(np.zeros_like(count), count)
    later = number > 0
    own = np.where(later, sequence_length + 1 + (number - 1) * fresh[document], np.maximum(corpus.lead, 1)[document])
    start = np.where(later, own - context[document], 0)
    before = lead[document] * later
    stop = np.minimum(start + sequence_length + 1 - before, corpus.lengths[document])
    none = np.zeros_like(document)
    plain = Pieces(document, start, stop - start - 1 + before, own, before, none, none)
    if not answers.any():
        return plain
    rows = [
        (i, *piece)
        for i, runs in _answers(corpus, answers)
        for piece in _answered(runs, int(lead[i]), sequence_length, overlap)
    ]
    columns = np.array(rows, dtype=np.int64).reshape(-1, len(fields(Pieces))).T
    joined = [np.concatenate([getattr(plain, f.name), c]) for f, c in zip(fields(Pieces), columns, strict=True)]
    return Pieces(*joined).take(np.argsort(joined[0], kind="stable"))


def too_long(corpus: TokenCorpus, pieces: Pieces) -> NDArray[np.bool_]:
    """[documents] a chat or pair that is cut."""
    long = np.zeros(len(corpus), dtype=np.bool_)
    long[pieces.document[pieces.start > 0]] = True
    return long & corpus.prompted


def labels_of(corpus: TokenCorpus, pieces: Pieces) -> NDArray[np.int64]:
    """[pieces, routes of the source] labels of each route in each piece.

    Tokens are looked at only where a document is cut and holds labels of several routes, or context.
    """
    counts = corpus.labels[pieces.document].astype(np.int64)
    labels = (corpus.lengths - np.maximum(corpus.lead, 1))[pieces.document]
    size = np.maximum(pieces.stop - pieces.own, 0)
    whole = size == labels
    one_route = counts.max(1, initial=0) == labels
    part = one_route & ~whole
    counts[part] = (counts[part] > 0) * size[part, None]
    rest = np.flatnonzero(~(whole | one_route))
    firsts, sizes = corpus.bounds[pieces.document[rest], 0] + pieces.own[rest], size[rest]
    for piece, first, length in zip(rest.tolist(), firsts.tolist(), sizes.tolist(), strict=True):
        routes = corpus.routes[first : first + length]
        counts[piece] = np.bincount(routes[routes >= 0], minlength=counts.shape[1])
    return counts


@dataclass(frozen=True)
class Cuts:
    """What of a corpus no row holds whole."""

    documents: int
    chats: int  # of these, chats and pairs
    labels: float  # part of all labels that a later piece learns, without some of the text before them
    prompts: int  # chats and pairs of which some answer is learned after a part of what stands before it


def cuts(corpus: TokenCorpus, sequence_length: int) -> Cuts:
    """What :func:`cut` does to a corpus."""
    pieces = cut(corpus, sequence_length)
    labels = labels_of(corpus, pieces).sum(1)
    lead = corpus.lead[pieces.document]
    shortened = np.where(pieces.prompt > 0, pieces.prompt_start > lead, pieces.start > 0)
    return Cuts(
        documents=len(np.unique(pieces.document[pieces.start > 0])),
        chats=int(too_long(corpus, pieces).sum()),
        labels=float(labels[pieces.start > 0].sum() / max(labels.sum(), 1)),
        prompts=len(np.unique(pieces.document[shortened & corpus.prompted[pieces.document]])),
    )


def _answers(corpus: TokenCorpus, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The runs of labels of one route ``[first, after)`` of each chosen document, by its tokens."""
    for i in np.flatnonzero(chosen).tolist():
        first, end = corpus.bounds[i].tolist()
        routes = corpus.unmasked[first:end]
        edges = np.flatnonzero(np.diff(routes)) + 1
        starts, ends = np.append(0, edges), np.append(edges, len(routes))
        learned = (routes[starts] >= 0) & (ends > 1)  # the first token of a document is no label
        yield i, list(zip(np.maximum(starts[learned], 1).tolist(), ends[learned].tolist(), strict=True))


def _answered(runs: list[tuple[int, int]], lead: int, sequence_length: int, overlap: int) -> Iterator[tuple[int, ...]]:
    """Start, length, own, lead, prompt_start and prompt of the pieces of a chat or pair."""
    room = sequence_length - lead
    half = room // HISTORY
    j = 0
    while j < len(runs):
        own, end = runs[j]
        question = own - (runs[j - 1][1] if j else lead)
        start = max(lead, own - max(half, min(question, room + 1 - (end - own))))
        limit = start + room + 1
        while j + 1 < len(runs) and runs[j + 1][1] <= limit:
            j += 1
            end = runs[j][1]
        stop = min(end, limit)
        yield _piece(start, stop, own, lead, 0, 0)
        prompt = min(own - lead, half)
        prompt_start, answer = own - prompt, own
        while stop < end:
            own = stop
            start = own - min(max(overlap, 1, room // CONTINUATION), room - prompt, own - answer)
            stop = min(end, start + room + 1 - prompt)
            yield _piece(start, stop, own, lead, prompt_start, prompt)
        j += 1


def _piece(start: int, stop: int, own: int, lead: int, prompt_start: int, prompt: int) -> tuple[int, ...]:
    if not prompt and start <= lead:  # nothing is left out between them
        start = lead = 0
    return start, stop - start - 1 + lead + prompt, own, lead, prompt_start, prompt
