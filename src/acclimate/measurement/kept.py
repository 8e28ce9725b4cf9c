"""A base that is measured against again and again on the same rows: its last hidden states, kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from acclimate.kernels.head import Head
from acclimate.model.causal import CausalModel
from acclimate.model.reference import AdapterOff, Reference
from acclimate.parallel.shard import hold, release
from acclimate.parallel.world import SOLO, World, in_turns
from acclimate.types.central import Batch

STATES = "base_states"
"""Column of a batch, [B, T, D]: the base's last hidden states in its own dtype."""

Rows = Sequence[tuple[Batch, Tensor]]
"""Batches with the bytes of each label token."""


@dataclass(frozen=True)
class KeptBase:
    """What :func:`~acclimate.measurement.measure.measure` asks of a base, without a forward of it.

    Logits are made of the kept states by the base's own head, so every number is bitwise what a forward would give.
    It takes 2 D bytes a position in 16 bits, where log-probabilities would take 2 V. A few of the largest of these
    would do for no divergence that looks at all of them.

    Args:
        model: whose head it is; by itself, where ``own`` is None.
        own: a copy of the head of a network that goes on to learn.
    """

    model: CausalModel
    reference: Reference | None = None
    own: Head | None = None

    @property
    def head(self) -> Head:
        if self.own is not None:
            return self.own
        assert self.reference is not None
        hold(self.model)  # no forward has made it whole
        return self.reference.head

    def hidden(self, batch: Batch) -> Tensor:
        """[B, T, D] of a batch of :func:`keep_states`."""
        return batch.columns[STATES]


def keep_states(
    model: CausalModel, base: Reference | None, sets: Mapping[str, Rows], world: World = SOLO
) -> tuple[KeptBase, dict[str, Rows]]:
    """The base's states on these rows, and the rows with them; each rank has those of the rows that it measures.

    Args:
        model: before its first step.
        base: None where that is the model as it is now; of full tuning a copy of its head is then kept.
    """
    if base is None and model.peft is not None:
        base = AdapterOff(model)
    found: dict[str, Rows] = {}
    for name, rows in sets.items():
        kept = list(rows)
        for own in in_turns(world, range(world.rank, len(rows), world.size)):
            batch, sizes = rows[own or 0]  # as it will be measured: a rank that has no more helps the others
            moved = batch.to(model.device)
            if base is not None:
                states = base.hidden(moved)
            else:
                with model.inference():
                    states = model(moved)
            kept[own or 0] = replace(batch, columns={**batch.columns, STATES: states.detach().cpu()}), sizes
        found[name] = kept
    if base is not None:
        release(base.model)
        return KeptBase(base.model, reference=base), found
    head = model.head
    bias = None if head.bias is None else head.bias.detach().clone()
    return KeptBase(model, own=replace(head, weight=head.weight.detach().clone(), bias=bias)), found


def positions(sets: Mapping[str, Rows]) -> int:
    """That a forward over these rows computes, without padding."""
    return sum(int((batch.document >= 0).sum()) for rows in sets.values() for batch, _ in rows)
