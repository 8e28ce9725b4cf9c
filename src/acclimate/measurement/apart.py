"""Two models that read one text as other tokens: bits per byte over the same bytes, and no drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from acclimate.data.chat.rendering import special_tokens
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.measurement.measure import Scores, measure
from acclimate.model.causal import CausalModel
from acclimate.parallel.world import SOLO, World
from acclimate.types.central import Batch

Batches = Callable[[TokenCorpus], Sequence[tuple[Batch, Tensor]]]


@dataclass(frozen=True)
class Reader:
    """A model and what its own tokenizer makes of some documents."""

    model: CausalModel
    corpus: TokenCorpus


def measure_apart(one: Reader, other: Reader, batches: Batches, world: World = SOLO) -> tuple[Scores, Scores] | None:
    """Scores of both by document, over the same bytes of each; None where they share none.

    ``sum_t -log p(token_t | tokens before it)`` is of the bytes that the tokens stand for, whatever their number, so it
    compares where the bytes are the same. A divergence would be of distributions over other things.

    Args:
        one, other: the same documents, in the same order.
        batches: makes them of a corpus.
    """
    corpora = over_same_bytes(one.corpus, other.corpus)
    if not all(corpus.labels.any() for corpus in corpora):
        return None
    found = []
    for reader, corpus in zip((one, other), corpora, strict=True):
        special = list(special_tokens(reader.model.tokenizer))
        found.append(measure(reader.model, None, batches(corpus), special, world)[0])
    tuned, before = found
    written = np.intersect1d(tuned.document[tuned.bytes > 0], before.document[before.bytes > 0])
    return (_only(tuned, written), _only(before, written)) if len(written) else None


def over_same_bytes(one: TokenCorpus, other: TokenCorpus) -> tuple[TokenCorpus, TokenCorpus]:
    """Both with only those labels whose bytes are labels of the other, too.

    A first token has no label, and is longer in one of them; so may be the token at which a prompt ends. A document is
    compared from one place that both have between two tokens to the next, and left out where its bytes differ.
    """
    keep = [np.zeros(len(corpus.ids), dtype=bool) for corpus in (one, other)]
    for number in range(len(one)):
        pair = [_Document.of(corpus, number) for corpus in (one, other)]
        if pair[0].size != pair[1].size:
            continue
        shared = np.intersect1d(pair[0].ends, pair[1].ends)
        both = pair[0].scored(shared) & pair[1].scored(shared)
        for kept, document in zip(keep, pair, strict=True):
            kept[document.here] = both[np.searchsorted(shared, document.ends)]
    first, second = (_masked(corpus, kept) for corpus, kept in zip((one, other), keep, strict=True))
    return first, second


@dataclass(frozen=True)
class _Document:
    here: slice
    ends: NDArray[np.int64]  # [n] bytes of the text up to the end of each token
    bare: NDArray[np.bool_]  # [n] stands for text, and has no label

    @classmethod
    def of(cls, corpus: TokenCorpus, number: int) -> _Document:
        here = slice(*corpus.bounds[number].tolist())
        size, unlearned = corpus.token_bytes[here], corpus.routes[here] == NOT_LEARNED
        unlearned[:1] = True
        return cls(here, np.cumsum(size, dtype=np.int64), unlearned & (size > 0))

    @property
    def size(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def scored(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[places] whether all bytes from the place before it, or the beginning, have a label."""
        found = np.ones(len(places), dtype=bool)
        found[np.searchsorted(places, self.ends[self.bare])] = False
        return found


def _masked(corpus: TokenCorpus, keep: NDArray[np.bool_]) -> TokenCorpus:
    routes = np.where(keep, corpus.routes, NOT_LEARNED).astype(corpus.routes.dtype)
    width, labels = corpus.labels.shape[1], np.zeros_like(corpus.labels)
    for number, (first, end) in enumerate(corpus.bounds.tolist()):
        learned = routes[first + 1 : end]
        labels[number] = np.bincount(learned[learned != NOT_LEARNED], minlength=width)
    return replace(corpus, routes=routes, unmasked=routes, labels=labels)


def _only(scores: Scores, documents: NDArray[np.int64]) -> Scores:
    here = np.isin(scores.document, documents)
    columns: dict[str, Any] = {name: getattr(scores, name)[here] for name in ("document", "nats", "bytes", "tokens")}
    return Scores(**columns)
