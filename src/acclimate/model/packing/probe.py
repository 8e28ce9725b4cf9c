"""Whether documents that are packed in one row are computed as each by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from acclimate.model.checks.reach import LIMITLESS
from acclimate.model.packing.states import UNFIT, States
from acclimate.types.errors import ModelError, reason

PROBE = 12
"""Tokens of a probed document."""
LONGEST_WINDOW = 512
"""A longer window, which neither configuration nor layers let make shorter, is not probed."""
ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-5}
"""Relative difference of a document's hidden states that shapes and kernels may make."""
BFLOAT16_ROUNDING = 0.05
TIMES, MOST = 10.0, 0.15
"""A network that rounds more than that between two batches of one document may differ by so many times as much, but
never by more than MOST: experts that are chosen otherwise at a near tie move whole tokens. Nor by so much that the
difference is nearer, by ratio, to what a leak makes than to rounding [ours]."""
WINDOWS = (
    "sliding_window",
    "window_size",
    "attention_window_size",
    "keep_window_size",
    "local_attention",
    "index_topk",
    "indexer_budget",
    "token_budget",
)
"""What limits how many tokens another one attends to, in configurations and layers."""


def why_alone(states: States, positions: int) -> str | None:
    """Why each document needs a row of its own, as the end of a sentence; None where packing changes nothing.

    Every probe is compared with the document alone in its row, or with the same row, up to rounding.

    ==============================  ================================================================================
    other tokens before it          what one document sees of another: masks, states that are carried on
    alone in a row                  what counts from the beginning of a row, as learned positions do
    a far position beside it        frequencies that the longest position of a forward switches. A token at the last
                                    position that a row may have is as good as a document of that length
    the first two, where windows    a document that goes beyond its window. Windows are made shorter than the probed
    are shorter than the document   document; one that cannot be is reached by a longer document
    ==============================  ================================================================================

    Args:
        positions: that a row may have.

    Raises:
        ModelError: a far position changes what is computed beside it, which a row of its own does not mend.
    """
    rows = states.network.get_input_embeddings().weight.shape[0]
    probe = _Probe(states, PROBE, rows)
    try:
        if found := probe.differs():
            return found
        if positions < LIMITLESS and probe.differs_beside(positions - 1):
            raise ModelError(
                f"{type(states.network).__name__} with attention '{states.network.config._attn_implementation}' lets "
                f"a document of {positions} tokens change what is computed of its neighbours, so acclimate cannot "
                "train or measure it; use a model with plain causal attention (Llama, Qwen, Gemma ...)."
            )
        with _short_windows(states.network) as longest:
            if longest == 0:
                return None
            short = _Probe(states, PROBE, rows)
            if not probe.is_right(short.alone):  # the window is another one
                return short.differs()
        if longest <= LONGEST_WINDOW and longest + PROBE < positions:
            return _Probe(states, longest + PROBE, rows).differs()
    except UNFIT as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return f"its code takes no packed rows ({type(error).__name__}: {reason(error)})"
    return None


def check_alone(states: States) -> None:
    """Refuses a network in which padding behind a document changes what is computed of it.

    Raises:
        ModelError: it does, as where attention is not causal.
    """
    probe = _Probe(states, PROBE, states.network.get_input_embeddings().weight.shape[0])
    padded = probe.documents.clone()
    padded[:, PROBE - 3 :] = padded[:1, :1]
    found, alone = states.alone(padded)[:, : PROBE - 3], states.alone(probe.documents[:, : PROBE - 3])
    if _difference(found, alone) > probe.allowed:
        raise ModelError(
            f"{type(states.network).__name__} makes other hidden states of a document when padding stands behind it, "
            "so its documents can stand neither in one row nor in rows of their own, and acclimate cannot train or "
            "measure it; use a causal language model."
        )


class _Probe:
    """Two rows of two documents of some length, and the second ones alone."""

    def __init__(self, states: States, length: int, rows: int) -> None:
        self.states, self.length = states, length
        ids = torch.arange(3, 3 + 6 * length, device=states.device).remainder(rows).view(3, 2, length)
        self.before, self.documents, self.others = ids.unbind(0)
        self.places = torch.arange(length, device=states.device).repeat(2).expand(2, 2 * length)
        self.alone = states.alone(self.documents)
        rounds = _difference(states.alone(self.documents[:1]), self.alone[:1])
        self.allowed = min(MOST, max(ROUNDING.get(self.alone.dtype, BFLOAT16_ROUNDING), TIMES * rounds))
        self.rounds = max(rounds, torch.finfo(self.alone.dtype).eps)

    @cached_property
    def limit(self) -> float:
        """Difference up to which packed documents are those alone: what is allowed, and nearer to rounding than to what
        a leak makes, where positions do not restart and a document is one with that before it."""
        together = torch.arange(2 * self.length, device=self.places.device).expand(2, -1)
        leak = _difference(self.beside(self.before, together), self.alone)
        return min(self.allowed, max(self.rounds, math.sqrt(self.rounds * leak)))

    def beside(self, before: Tensor, places: Tensor) -> Tensor:
        """[2, length, D] of the documents, behind other ones in their rows."""
        return self.states.packed(torch.cat([before, self.documents], 1), places)[:, self.length :]

    def is_right(self, found: Tensor) -> bool:
        return _difference(found, self.alone) <= self.limit

    def differs(self) -> str | None:
        """What changes a document in a packed row."""
        found = self.beside(self.before, self.places)
        if _difference(self.beside(self.others, self.places), found) > self.limit:
            return "documents that are packed in one row see each other"
        return None if self.is_right(found) else "a document's place in its row changes what is computed of it"

    def differs_beside(self, position: int) -> bool:
        """Whether a token at ``position``, which is a document by itself here, changes what comes behind it."""
        far = self.places.clone()
        far[:, 0] = position
        far[:, 1 : self.length] -= 1
        return not self.is_right(self.beside(self.before, far))


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest relative difference of a document's hidden states [n, L, D]."""
    one, other = (x.flatten(1).to(torch.promote_types(x.dtype, torch.float32)) for x in (found, expected))
    return float(((one - other).norm(dim=1) / other.norm(dim=1)).max().detach().nan_to_num(torch.inf))


@contextmanager
def _short_windows(network: Any) -> Iterator[int]:
    """Sliding windows shorter than a probed document, in configuration and layers; the longest as it was, or 0."""
    holders = [network.config.get_text_config(), *network.modules()]
    changed = [(holder, name, vars(holder)[name]) for holder in holders for name in WINDOWS if _is_window(holder, name)]
    for holder, name, _ in changed:
        setattr(holder, name, PROBE // 2)
    try:
        yield max((value for _, _, value in changed), default=0)
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def _is_window(holder: Any, name: str) -> bool:
    value = vars(holder).get(name)
    return isinstance(value, int) and not isinstance(value, bool) and value > PROBE // 2
