"""Scores to the tidy records of ``summary.json``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from acclimate.measurement.measure import DRIFT_COLUMNS, POSITIONS, Scores
from acclimate.paired.bootstrap import ratio_interval
from acclimate.paired.grouped import Groups, subset
from acclimate.paired.metrics import METRICS, Metric, of_drift

Record = dict[str, Any]
"""{run, seed, set, role, metric, unit, value, low, high, n}; of a change also p and mde, of drift also positions"""


def records(
    scores: Scores, *, run: str, seed: int, set_name: str, role: str, groups: Groups | None = None
) -> list[Record]:
    """One record a metric, with a 95 % bootstrap interval over documents, or over their ``groups`` [M].

    Of those of :data:`~acclimate.paired.metrics.METRICS` whose columns were measured, in their order there.
    Drift has also ``positions``: the same over the tokens of each bucket of places in a document.
    """
    identity = {"run": run, "seed": seed, "set": set_name, "role": role}
    found, columns = [], scores.columns(None)
    for metric in METRICS.values():
        if metric.below in columns and metric.above in columns:
            value = metric.value(columns[metric.above], columns[metric.below], groups)
            if value is not None:
                drift = metric.below == "tokens" and metric.above in DRIFT_COLUMNS
                positions = {"positions": _by_position(scores, metric, groups)} if drift else {}
                found.append(identity | {"metric": metric.name} | value.record() | positions)
    return found


def _by_position(scores: Scores, metric: Metric, groups: Groups | None) -> list[Record]:
    """One entry a bucket that has tokens: ``first`` and ``last`` place, the last bucket having no end."""
    assert scores.positions is not None
    found = []
    tokens, sums = scores.positions[0], scores.positions[DRIFT_COLUMNS.index(metric.above)]  # [M, 4]
    for bucket, first in enumerate(POSITIONS):
        here = tokens[:, bucket] > 0
        if here.any():
            share = ratio_interval(
                sums[here, bucket] / metric.per, tokens[here, bucket], groups=subset(groups, here)
            ).record()
            last = POSITIONS[bucket + 1] - 1 if bucket + 1 < len(POSITIONS) else None
            share["tokens"] = int(tokens[:, bucket].sum())
            share.pop("groups", None)
            found.append({"first": first, "last": last} | share)
    return found


def change_records(
    tuned: Scores,
    base: Scores,
    *,
    run: str,
    seed: int,
    set_name: str,
    role: str,
    groups: Groups | None = None,
    overlapping: np.ndarray | None = None,
) -> list[Record]:
    """The change of each metric that the base has too, such as ``bits_per_byte_change``: tuned minus base, paired.

    ``low`` and ``high`` are a paired 95 % interval, ``p`` is two-sided, ``mde`` the minimum detectable effect; all four
    are None for fewer than ``FEWEST_DOCUMENTS`` documents or groups. Where some documents share text with training,
    ``clean`` says the same, and the base's own value, of the others.

    Args:
        groups: [M] the group of each document.
        overlapping: [M] bool, whether each shares text with training documents.
    """
    found, scores = [], dict(tuned.columns(base))
    if groups is not None:
        scores["group"] = groups
    for metric in METRICS.values():
        if not metric.paired or metric.below is None or not scores.keys() >= set(metric.columns):
            continue
        if (change := metric.change(scores)) is None:
            continue
        record = {"run": run, "seed": seed, "set": set_name, "role": role, "metric": f"{metric.name}_change"}
        record |= change.record(change=True)
        own = scores[metric.below] > 0
        if overlapping is not None and (overlapping & own).any():
            clean = {name: column[~overlapping] for name, column in scores.items()}
            if (change := metric.change(clean)) is not None:
                _, before, size, _ = metric.sums(clean)
                value = float(before.sum() / metric.per / size.sum())
                record["clean"] = replace(change, unit="").record(change=True) | {"base": value}
        found.append(record)
    return found


def bits_per_byte(scores: Scores) -> float:
    """Of all documents together, without an interval."""
    return float(scores.nats.sum() / math.log(2) / scores.bytes.sum())


def drift(scores: Scores) -> dict[str, float]:
    """Each metric of drift over all tokens, without an interval."""
    tokens = scores.tokens.sum()
    return {name: float(getattr(scores, METRICS[name].above).sum() / tokens) for name in of_drift()}
