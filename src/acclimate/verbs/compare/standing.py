"""What the table says of each method: gain on the domain, drift and loss elsewhere, and who is ahead of whom.

Documents are drawn anew together for all methods, so a difference of two methods is paired over documents; the luck of
training is added by Student's t (:class:`acclimate.paired.seeds.Luck`): of the differences by seed where both have
the same seeds, otherwise of both methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from acclimate.paired.estimate import ALPHA, ANY, Estimate, Range
from acclimate.paired.flips import score_change
from acclimate.paired.grouped import count
from acclimate.paired.metrics import DRIFT, METRICS
from acclimate.paired.ratio import FEWEST_DOCUMENTS
from acclimate.paired.resample import shared_counts, two_sided, widened
from acclimate.paired.seeds import Luck
from acclimate.paired.significance import holm
from acclimate.runs.cells import ItemScores, Row, TextScores, groups_of

DETECTABLE = 2.8 / (2 * 1.96)
"""Widths of a 95 % interval that a change must have for another sample to show it with 80 % power: 1.96 + 0.84 standard
errors."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A mean over seeds with its 95 % interval over documents and seeds."""

    value: float
    drawn: Array  # [R] for documents drawn anew
    seeds: tuple[tuple[int, float], ...]  # (seed, its own value)
    documents: int  # of the smallest of its sets, or groups of them; too few give no interval
    possible: Range = ANY  # of its values

    @cached_property
    def estimate(self) -> Estimate:
        found = Estimate(self.value, n=self.documents)
        if self.documents < FEWEST_DOCUMENTS:
            return found
        low, high = np.quantile(self.drawn + self.luck.draws(), [0.025, 0.975])
        return replace(found, low=float(low), high=float(high)).within(self.possible)

    @property
    def luck(self) -> Luck:
        return Luck.of([value for _, value in self.seeds])

    def less(self, other: Measured) -> Estimate:
        """This less ``other``, over the same documents; paired by seed where both have the same ones.

        Without interval, and with a p of 1, where documents are too few.
        """
        found = Estimate(self.value - other.value, n=self.documents, p=1.0)
        if self.documents < FEWEST_DOCUMENTS:
            return found
        mine, theirs = dict(self.seeds), dict(other.seeds)
        same = mine.keys() == theirs.keys() and len(mine) > 1
        luck = Luck.of([mine[seed] - theirs[seed] for seed in mine]) if same else self.luck.beside(other.luck)
        drawn = self.drawn - other.drawn + luck.draws()
        low, high = np.quantile(drawn, [0.025, 0.975])
        return replace(found, low=float(low), high=float(high), p=two_sided(drawn))

    def p_of(self, other: Measured) -> float:
        """Of no difference, two-sided."""
        return self.less(other).p

    def differs(self, other: Measured) -> bool:
        """Whether the two are told apart, at 5 %, were this the only difference that is looked at."""
        return self.p_of(other) < ALPHA


@dataclass(frozen=True)
class Standing:
    """One method: ``gain`` and ``loss`` are parts of the base's bits per byte, ``drift`` nats per token."""

    method: str
    rows: tuple[Row, ...]  # of its runs, by seed
    sets: tuple[str, ...]  # that the means are over, of all methods alike
    gain: Measured | None  # mean over domain sets of 1 - bits / base's bits
    drift: Measured | None  # mean over the other sets of KL(base || tuned)
    loss: Measured | None  # mean over the other sets of bits / base's bits - 1

    def ahead_of(self, other: Standing) -> bool:
        """No less gain and no more drift, and better in one of them, as measured."""
        if not (self.gain and self.drift and other.gain and other.drift):
            return False
        gained, spared = self.gain.value - other.gain.value, other.drift.value - self.drift.value
        return gained >= 0 and spared >= 0 and gained + spared > 0

    def p_ahead_of(self, other: Standing) -> float:
        """Of not being ahead in both: the larger of the two p-values; 1 where it is not ahead as measured."""
        if not (self.gain and self.drift and other.gain and other.drift and self.ahead_of(other)):
            return 1.0
        return max(self.gain.p_of(other.gain), self.drift.p_of(other.drift))


def ahead_of(standing: Standing, everyone: Sequence[Standing]) -> dict[str, float]:
    """Methods that are ahead of this one, and how surely: p-values, adjusted together by Holm's method."""
    rivals = [other for other in everyone if other.ahead_of(standing)]
    adjusted = holm([other.p_ahead_of(standing) for other in rivals])
    return {other.method: p for other, p in zip(rivals, adjusted, strict=True)}


def standings(rows: Sequence[Row], methods: Sequence[str]) -> list[Standing]:
    """Of every method with a finished run, in the order of the comparison; on the sets that all of them have.

    Args:
        rows: runs and panels of one comparison.
    """
    finished = sorted((row for row in rows if row.outcome == "finished"), key=lambda row: row.seed)
    runs = {method: tuple(r for r in finished if r.method == method and r.kind == "run") for method in methods}
    texts = {
        method: {
            run.seed: {name: s for row in finished if row.key == run.key for name, s in row.texts.items()}
            for run in own
        }
        for method, own in runs.items()
        if own
    }
    shared = shared_sets(texts)
    return [_standing(method, runs[method], found, shared) for method, found in texts.items()]


def shared_sets(texts: Mapping[str, Mapping[int, Mapping[str, TextScores]]]) -> list[str]:
    """Sets that every seed of every method was measured on: a mean over others would compare unlike things."""
    every = [scores for by_seed in texts.values() for scores in by_seed.values()]
    return [name for name in every[0] if all(name in scores for scores in every)] if every else []


def front(found: Sequence[Standing]) -> list[Standing]:
    """Those that no other is ahead of: the Pareto front of gain against drift."""
    complete = [standing for standing in found if standing.gain and standing.drift]
    return [one for one in complete if not any(other.ahead_of(one) for other in complete)]


def accuracy_changes(rows: Sequence[Row], method: str) -> dict[str, Estimate]:
    """Accuracy less the base's on the same items, as a part of them, by panel set.

    Of one seed with the interval and test for flipped answers, of several over items and seeds.
    """
    own = sorted((row for row in rows if row.kind == "panel" and row.method == method), key=lambda row: row.seed)
    return {
        name: _accuracy_change(name, [row.items[name] for row in own if name in row.items])
        for name in dict.fromkeys(name for row in own for name in row.items)
    }


def _accuracy_change(name: str, found: Sequence[ItemScores]) -> Estimate:
    changes = np.array([np.subtract(scores.model, scores.base) for scores in found])  # [S, M] of -1, 0 and 1
    seeds, n = changes.shape
    base, groups = float(np.mean(found[0].base)), groups_of(found[0])
    if seeds == 1:
        model, before = (np.array(side, dtype=float) for side in (found[0].model, found[0].base))
        return replace(score_change(model, before, groups=groups), base=base)
    times = shared_counts(name, n, tuple(found[0].groups))
    drawn = widened(times @ changes.mean(0) / times.sum(1), changes.mean(), groups, 0.95)
    drawn = drawn + Luck.of(changes.mean(1).tolist()).draws()  # [R]
    unseen = 3 / n if not changes.any() else 0.0  # no item flipped: of n, 3 / n may still do so (rule of three)
    low, high = np.quantile(drawn, [0.025, 0.975])
    detectable = max(DETECTABLE * float(high - low), 3 / n)
    low, high, p = float(low) - unseen, float(high) + unseen, two_sided(drawn)
    change = Estimate(float(changes.mean()), low, high, n, p, detectable, base=base)
    return change.within(METRICS["accuracy"].change_range(base))


def mean_gain(texts: Mapping[str, TextScores]) -> float | None:
    """``1 - bits / base's bits``, mean over domain sets."""
    return _mean([_gain(scores, None) for scores in texts.values() if scores.role == "domain"])


def mean_drift(texts: Mapping[str, TextScores]) -> float | None:
    """``KL(base || tuned)`` in nats per token, mean over the sets that are not of the domain."""
    return _mean([_drift(scores, None) for scores in texts.values() if scores.role != "domain"])


def _mean(values: Sequence[Array]) -> float | None:
    return float(np.mean([value.item() for value in values])) if values else None


def _standing(
    method: str, runs: tuple[Row, ...], texts: Mapping[int, Mapping[str, TextScores]], shared: Sequence[str]
) -> Standing:
    domain = [name for name in shared if texts[runs[0].seed][name].role == "domain"]
    others = [name for name in shared if name not in domain]
    made = _Draws(texts)
    return Standing(
        method,
        runs,
        tuple(shared),
        made.mean_over(domain, _gain, (-math.inf, 1.0)),
        made.mean_over(others, _drift, METRICS[DRIFT].possible),
        made.mean_over(others, lambda scores, times: -_gain(scores, times), (-1.0, math.inf)),
    )


Metric = Callable[[TextScores, Array | None], Array]
"""(scores, times each document was drawn [R, M] or None for once) to the value of each resample, [R] or []."""


@dataclass(frozen=True)
class _Draws:
    texts: Mapping[int, Mapping[str, TextScores]]  # seed -> set -> scores

    def mean_over(self, names: Sequence[str], metric: Metric, possible: Range) -> Measured | None:
        """The mean over sets, each of the same weight."""
        if not names:
            return None
        own, drawn = [], []
        for scores in self.texts.values():
            own.append(np.mean([metric(scores[name], None) for name in names]).item())
            drawn.append(np.mean([_drawn(name, scores[name], metric) for name in names], axis=0))
        documents = min(
            count(groups_of(scores[name]), len(scores[name].nats)) for scores in self.texts.values() for name in names
        )
        return Measured(
            float(np.mean(own)), np.mean(drawn, axis=0), tuple(zip(self.texts, own, strict=True)), documents, possible
        )


def _drawn(name: str, scores: TextScores, metric: Metric) -> Array:
    """[R] the metric of a set whose documents, or groups of them, are drawn anew; wider where groups are few."""
    drawn = metric(scores, shared_counts(name, len(scores.nats), tuple(scores.groups)))
    return widened(drawn, metric(scores, None), groups_of(scores), 0.95)


def _gain(scores: TextScores, times: Array | None) -> Array:
    return 1 - _sum(scores.column("nats"), times) / _sum(scores.column("base_nats"), times)


def _drift(scores: TextScores, times: Array | None) -> Array:
    return _sum(scores.column(DRIFT), times) / _sum(scores.column("tokens"), times)


def _sum(column: Array, times: Array | None) -> Array:
    return np.asarray(column.sum() if times is None else times @ column)
