"""Which loss terms see which tokens, and what each is divided by: a description that any number of steps share.

The one denominator rule: a term is divided by the number of tokens *it* trains, summed over the micro-batches
and ranks of the optimizer step, or, where a step may hold none of it, by the number that a step is expected to hold.
The mean of micro-batch means, or one count for all terms, would change a term's pull with the batch layout or the
mixture ratio; a sparse term's own count would lose the pull of every step that it is absent from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acclimate.kernels.projection import Projection
from acclimate.model.reference import Reference
from acclimate.objective.assignment import assign
from acclimate.objective.step import Step
from acclimate.parallel.world import SOLO, World
from acclimate.types.batch import Assignment
from acclimate.types.central import Batch, Route, RoutedTerm

Expected = Sequence[float | None] | Callable[[int], Sequence[float | None]]
"""[K] denominators of sparse terms, of every step or by the steps before it; None where a step's own count is it."""


@dataclass(frozen=True)
class Objective:
    """Maps the micro-batches of an optimizer step to its loss.

    ``loss = sum_k w_k / n_k * sum_i u_i v_k(i) nats_k(i)`` over the tokens i routed to term k. ``n_k`` is the term's
    own count of the whole step (``normalise="term"``), or the count of all trained tokens (``"all"``); ``v_k`` is the
    term's weighting, 1 without one, and changes no count. With
    ``average="sequence"`` u_i is one over the trained tokens of the token's document piece in its row, and n_k counts
    such pieces. ``"all"`` with ``"sequence"`` is the mean over the step's sequences of their means: MoL as its authors
    restate it.

    Args:
        terms: what the plan routes where.
        routes: the run's route table, R entries.
        references: by name, those that ``terms`` ask for.
        chunk_tokens: tokens whose logits exist at one time; None chooses by device, vocabulary and term.
        expected: [K] of a sparse term what a step is expected to hold of it, in the unit of ``average``; None of the
            others. A sparse term divides by it under ``normalise="term"``, so that its pull over steps is its weight.
            Where shares move, a function of the steps before.
        balance: weight of the student's load balancing loss, of a mixture of experts whose router learns. It is over
            all tokens but padding, whatever their route and label, since experts compute them all; each micro-batch's
            counts by its part of the step's tokens [ours].
    """

    terms: Sequence[RoutedTerm]
    routes: Sequence[Route]
    references: Mapping[str, Reference]
    normalise: str = "term"
    average: str = "token"
    logits_dtype: torch.dtype = torch.float32
    chunk_tokens: int | None = None
    expected: Expected | None = None
    balance: float = 0.0
    world: World = SOLO
    projections: list[tuple[Tensor, Projection]] = field(default_factory=list, init=False, repr=False, compare=False)
    """Of frozen heads, which steps share; the step of a trained head has its own."""
    chunk_sizes: dict[tuple[torch.device, int, bool, float], int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Tokens of a chunk by device, vocabulary, and what a term makes of logits; the first micro-batch decides."""

    def step(self, batches: Sequence[Batch], means: Mapping[int, Tensor] | None = None, before: int = 0) -> Step:
        """One optimizer step: its denominators, and the sums that its micro-batches add up to.

        Args:
            batches: this rank's micro-batches of the step.
            means: of a step that has observed; otherwise :meth:`Step.observe` finds them.
            before: steps before this one.
        """
        return Step(self, batches, means or {}, before)

    def assigned(self, batch: Batch) -> Assignment:
        """Which labels of the batch are whose: found now, unless :meth:`assign_ahead` has."""
        host = batch.on_host
        known = host.assignment
        return known if known is not None and known.by is self else assign(self, host, self.selects, self.average)

    def assign_ahead(self, batch: Batch) -> None:
        """Lets a batch in main memory, which nobody changes any more, bring along which of its labels are whose."""
        batch.assignment = assign(self, batch, self.selects, self.average)

    @cached_property
    def selects(self) -> Tensor:
        """[K, R] bool: term k sees route r."""
        return torch.tensor(
            [[route.name in routed.routes for route in self.routes] for routed in self.terms], dtype=torch.bool
        )

    @property
    def active(self) -> np.ndarray:
        """[R] bool: some term learns from this route."""
        return self.selects.any(0).numpy()

    @property
    def compares(self) -> np.ndarray:
        """[R] int64: the references that some term compares this route with, one bit each."""
        names = list(dict.fromkeys(routed.reference for routed in self.terms if routed.reference is not None))
        found = np.zeros(len(self.routes), dtype=np.int64)
        for routed, selected in zip(self.terms, self.selects.numpy(), strict=True):
            if routed.reference is not None:
                found |= selected.astype(np.int64) << names.index(routed.reference)
        return found

    @property
    def observes(self) -> np.ndarray:
        """[R] bool: some term needs the first pass over this route."""
        asking = [routed.weighting is not None and routed.weighting.means_of == "step" for routed in self.terms]
        return self.selects[torch.tensor(asking)].any(0).numpy()
