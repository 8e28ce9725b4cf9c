"""Several seeds of one method as one: means, with intervals over the luck of training and the choice of documents."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from acclimate.paired.estimate import ANY, Estimate, Range
from acclimate.paired.metrics import BITS, METRICS, known
from acclimate.paired.seeds import crossed_ratio
from acclimate.runs.folder import RunFolder
from acclimate.runs.layout import Layout
from acclimate.runs.scores import read_scores
from acclimate.types.errors import RunError

Scores = Mapping[str, np.ndarray]


def together(seeds: Sequence[RunFolder]) -> tuple[dict[tuple[str, str], Estimate], dict[str, Estimate]]:
    """Measures by set and metric, and paired changes by set, over all seeds.

    The interval of several seeds draws seeds and documents anew (:mod:`acclimate.paired.seeds`), from the scores by
    document of every seed. Where a folder lacks them there is no interval, and so nothing is claimed.

    Raises:
        RunError: a file of scores is damaged.
    """
    first = seeds[0]
    if len(seeds) == 1:
        return dict(first.measures), dict(first.changes)
    scores = {item.name: _same_documents(seeds, item.name) for item in first.sets}
    measures = {
        (name, metric): _mean(
            [seed.measures[name, metric] for seed in seeds], _ratio(scores[name], metric), known(metric).possible
        )
        for name, metric in first.measures
    }
    changes = {
        name: _mean([seed.changes[name] for seed in seeds], _change(scores[name]), _possible_change(scores[name]))
        for name in first.changes
        if all(name in seed.changes for seed in seeds)
    }
    return measures, changes


Ratio = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # [S, M], [M], and the groups [M]


def _mean(found: Sequence[Estimate], ratio: Ratio | None, possible: Range) -> Estimate:
    value, n = statistics.fmean(measure.value for measure in found), min(measure.n for measure in found)
    if ratio is None or not all(estimate.bounded for estimate in found):
        return Estimate(value, n=n)
    crossed = crossed_ratio(ratio[0], ratio[1], possible=possible, groups=ratio[2])
    if not math.isfinite(crossed.high):  # one group shows no spread
        return Estimate(value, n=n)
    return Estimate(value, crossed.low, crossed.high, n)


def _ratio(scores: Sequence[Scores] | None, metric: str) -> Ratio | None:
    own = METRICS.get(metric)
    if scores is None or own is None or own.below is None or not scores[0].keys() >= set(own.columns):
        return None
    return np.stack([one[own.above] / own.per for one in scores]), scores[0][own.below], scores[0].get("group")


def _change(scores: Sequence[Scores] | None) -> Ratio | None:
    if scores is None:
        return None
    return (
        np.stack([(one["nats"] - one["base_nats"]) / math.log(2) for one in scores]),
        scores[0]["bytes"],
        scores[0].get("group"),
    )


def _possible_change(scores: Sequence[Scores] | None) -> Range:
    if scores is None:
        return ANY
    return METRICS[BITS].change_range(scores[0]["base_nats"].sum() / math.log(2) / scores[0]["bytes"].sum())


def _same_documents(seeds: Sequence[RunFolder], name: str) -> list[Scores] | None:
    """The scores of every seed, or None where one has none, or of folders from before the base stood in them."""
    paths = [Layout(seed.path).scores(name) for seed in seeds]
    if not all(path.is_file() for path in paths):
        return None
    scores: list[Scores] = [read_scores(path) for path in paths]
    for seed, other in zip(seeds[1:], scores[1:], strict=True):
        if not np.array_equal(scores[0]["bytes"], other["bytes"]):
            raise RunError(
                f"The seeds in '{seeds[0].path}' and '{seed.path}' were measured on other documents of '{name}'. "
                "Run `acclimate eval` on both with the same data."
            )
    return scores
