"""Measures held-out text while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from torch import Tensor

from acclimate.measurement.measure import measure
from acclimate.measurement.summary import bits_per_byte, drift
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.parallel.world import World
from acclimate.types.central import Batch, Metrics, TrainingState

NET_CHANGE = "eval/net_change"


class Probe:
    """``eval/<set>/bits_per_byte`` every ``every`` steps and at the last one, its change from the base in percent, and
    :func:`net_change` of all, by which the best weights are chosen; of ``metrics``, ``eval/<set>/<metric>`` too.

    Args:
        sets: name -> role and batches.
        model: as it is before the first step: the base.
        metrics: of drift from the base, by their names in ``summary.json``; each measurement then costs one more
            forward.
        base: what ``metrics`` compare with; not used without any.
    """

    def __init__(
        self,
        every: int,
        sets: Mapping[str, tuple[str, Sequence[tuple[Batch, Tensor]]]],
        special_ids: Sequence[int],
        model: CausalModel,
        world: World,
        metrics: Sequence[str] = (),
        base: Reference | None = None,
    ) -> None:
        self.every, self.sets, self.special_ids, self.metrics = every, sets, special_ids, metrics
        self.model, self.world, self.reference = model, world, base if metrics else None
        self.base = {name: found["bits_per_byte"] for name, found in self._found(None).items()}

    def measured(self, state: TrainingState) -> Metrics:
        """What is to be known after this step: nothing, in most."""
        if state.step % self.every and state.step != state.total_steps:
            return {}
        metrics: Metrics = {}
        changes = {}
        for name, found in self._found(self.reference).items():
            changes[name] = 100 * (found["bits_per_byte"] / self.base[name] - 1)
            metrics |= {f"eval/{name}/{metric}": value for metric, value in found.items()}
            metrics[f"eval/{name}/change_percent"] = changes[name]
        domain = [change for name, change in changes.items() if self.sets[name][0] == "domain"]
        kept = [change for name, change in changes.items() if self.sets[name][0] != "domain"]
        return metrics | ({NET_CHANGE: net_change(domain, kept)} if domain else {})

    def _found(self, base: Reference | None) -> dict[str, Metrics]:
        """By set that has text: bits per byte, and what else is asked for."""
        found = {}
        for name, (_, batches) in self.sets.items():
            scores, _ = measure(self.model, base, batches, self.special_ids, self.world)
            if scores.bytes.any():
                asked = {metric: drift(scores)[metric] for metric in self.metrics} if base is not None else {}
                found[name] = {"bits_per_byte": bits_per_byte(scores)} | asked
        return found


def net_change(domain: Sequence[float], kept: Sequence[float]) -> float:
    """What the domain lost in bits per byte, and what other text gained, each in percent of the base: lower is better.

    ``mean(domain) + mean(max(0, kept))`` over sets [ours]. A percent of the domain is worth a percent of what was to
    be kept; kept text that got easier does not make up for a domain that was not learned.

    >>> net_change([-20.0, -10.0], [4.0, -6.0])
    -13.0
    """
    return fmean(domain) + (fmean(max(0.0, change) for change in kept) if kept else 0.0)
