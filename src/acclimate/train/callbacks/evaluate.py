"""Measures held-out text while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from torch import Tensor

from acclimate.evaluate.measure import measure
from acclimate.evaluate.summary import bits_per_byte
from acclimate.model.causal import CausalModel
from acclimate.parallel.world import World
from acclimate.train.training import Training
from acclimate.types import Batch, Callback, Metrics

NET_CHANGE = "eval/net_change"


class Evaluate(Callback):
    """Adds ``eval/<set>/bits_per_byte`` to the metrics every ``every`` steps and at the last one, its change from the
    base in percent, and :func:`net_change` of all, by which the best weights are chosen.

    Comes before the callbacks that log or keep the best, so that they see its numbers.

    Args:
        sets: name -> role and batches.
        model: as it is before the first step: the base.
    """

    def __init__(
        self,
        every: int,
        sets: Mapping[str, tuple[str, Sequence[tuple[Batch, Tensor]]]],
        special_ids: Sequence[int],
        model: CausalModel,
        world: World,
    ) -> None:
        self.every, self.sets, self.special_ids = every, sets, special_ids
        self.base = self._bits(model, world)

    def _bits(self, model: CausalModel, world: World) -> dict[str, float]:
        measured = {
            name: measure(model, None, batches, self.special_ids, world)[0] for name, (_, batches) in self.sets.items()
        }
        return {name: bits_per_byte(scores) for name, scores in measured.items() if scores.bytes.any()}

    def on_step_end(self, state: Training, metrics: Metrics) -> None:
        if state.step % self.every == 0 or state.step == state.total_steps:
            changes = {}
            for name, bits in self._bits(state.model, state.world).items():
                changes[name] = 100 * (bits / self.base[name] - 1)
                metrics |= {f"eval/{name}/bits_per_byte": bits, f"eval/{name}/change_percent": changes[name]}
            domain = [change for name, change in changes.items() if self.sets[name][0] == "domain"]
            kept = [change for name, change in changes.items() if self.sets[name][0] != "domain"]
            if domain:
                metrics[NET_CHANGE] = net_change(domain, kept)


def net_change(domain: Sequence[float], kept: Sequence[float]) -> float:
    """What the domain lost in bits per byte, and what other text gained, each in percent of the base: lower is better.

    ``mean(domain) + mean(max(0, kept))`` over sets [ours]. A percent of the domain is worth a percent of what was to
    be kept; kept text that got easier does not make up for a domain that was not learned.

    >>> net_change([-20.0, -10.0], [4.0, -6.0])
    -13.0
    """
    return fmean(domain) + (fmean(max(0.0, change) for change in kept) if kept else 0.0)
