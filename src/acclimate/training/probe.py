"""Measures held-out text while training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from acclimate.measurement.kept import KeptBase, keep_states
from acclimate.measurement.measure import Scores, measure
from acclimate.measurement.summary import bits_per_byte, drift
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.paired.grouped import Groups, count, numbered
from acclimate.paired.metrics import METRICS
from acclimate.paired.ratio import ratio_error
from acclimate.parallel.world import World
from acclimate.types.central import Batch, Metrics, TrainingState

NET_CHANGE = "eval/net_change"
CHANGE = "change_percent"
GroupsOf = Callable[[NDArray[np.int64]], Groups | None]
"""Of documents, by their ids."""


class Probe:
    """``eval/<set>/bits_per_byte`` every ``every`` steps and at the last one, its change from the base in percent, and
    :func:`net_change` of all, by which the best weights are chosen; of ``metrics``, ``eval/<set>/<metric>`` too.

    The rows are the same each time, so the base's states on them are kept: ``metrics`` cost none of its forwards.

    Args:
        sets: name -> role and batches.
        model: as it is before the first step: the base.
        metrics: of drift from the base, by their names in ``summary.json``.
        base: what ``metrics`` compare with; None where that is the model as it is now.
        groups: of each set's documents, where a forgetting budget wants to know what chance may do:
            ``eval/<set>/<metric>_error`` is then a standard error over documents, of the change in percent too.
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
        groups: Mapping[str, GroupsOf] | None = None,
    ) -> None:
        self.every, self.special_ids, self.metrics = every, special_ids, metrics
        self.roles = {name: role for name, (role, _) in sets.items()}
        self.rows = {name: rows for name, (_, rows) in sets.items()}
        self.model, self.world, self.groups = model, world, groups
        self._scores: dict[str, Scores] = {}
        self.base = {name: found["bits_per_byte"] for name, found in self._found(None).items()}
        self._began = dict(self._scores)
        self._reference: KeptBase | None = None
        if metrics:
            self._reference, self.rows = keep_states(model, base, self.rows, world)

    @property
    def independent(self) -> dict[str, int]:
        """Set -> its documents, or their groups."""
        known = self.groups or {}
        return {
            name: count(numbered(known[name](scores.document)) if name in known else None, len(scores.document))
            for name, scores in self._began.items()
        }

    def measured(self, state: TrainingState) -> Metrics:
        """What is to be known after this step: nothing, in most."""
        if state.step % self.every and state.step != state.total_steps:
            return {}
        metrics: Metrics = {}
        changes = {}
        for name, found in self._found(self._reference).items():
            changes[name] = 100 * (found["bits_per_byte"] / self.base[name] - 1)
            metrics |= {f"eval/{name}/{metric}": value for metric, value in found.items()}
            metrics[f"eval/{name}/{CHANGE}"] = changes[name]
            if self.groups is not None:
                errors = {metric: error for metric, error in self._errors(name).items() if math.isfinite(error)}
                metrics |= {f"eval/{name}/{metric}_error": error for metric, error in errors.items()}
        domain = [change for name, change in changes.items() if self.roles[name] == "domain"]
        kept = [change for name, change in changes.items() if self.roles[name] != "domain"]
        return metrics | ({NET_CHANGE: net_change(domain, kept)} if domain else {})

    def scores(self) -> dict[str, tuple[str, Scores, Scores]]:
        """Of the model as it is now: set -> its role, and scores of the model and of its base."""
        found = {}
        for name, rows in self.rows.items():
            own, base = measure(self.model, self._reference, rows, self.special_ids, self.world)
            found[name] = self.roles[name], own, self._began[name] if base is None else base
        return found

    def _found(self, base: KeptBase | None) -> dict[str, Metrics]:
        """By set that has text: bits per byte, and what else is asked for."""
        found = {}
        for name, rows in self.rows.items():
            scores, _ = measure(self.model, base, rows, self.special_ids, self.world)
            if scores.bytes.any():
                asked = {metric: drift(scores)[metric] for metric in self.metrics} if base is not None else {}
                found[name] = {"bits_per_byte": bits_per_byte(scores)} | asked
                self._scores[name] = scores
        return found

    def _errors(self, name: str) -> Metrics:
        """Standard errors over the documents of a set, or over their groups."""
        now, began = self._scores[name], self._began[name]
        of = self.groups[name](now.document) if self.groups else None
        found = {metric: ratio_error(getattr(now, METRICS[metric].above), now.tokens, of) for metric in self.metrics}
        return found | {CHANGE: 100 * ratio_error(now.nats - began.nats, began.nats, of)}


def net_change(domain: Sequence[float], kept: Sequence[float]) -> float:
    """What the domain lost in bits per byte, and what other text gained, each in percent of the base: lower is better.

    ``mean(domain) + mean(max(0, kept))`` over sets [ours]. A percent of the domain is worth a percent of what was to
    be kept; kept text that got easier does not make up for a domain that was not learned.

    >>> net_change([-20.0, -10.0], [4.0, -6.0])
    -13.0
    """
    return fmean(domain) + (fmean(max(0.0, change) for change in kept) if kept else 0.0)
