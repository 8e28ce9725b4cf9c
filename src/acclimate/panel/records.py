"""What was found of each item -> records: values of model and base, and paired changes between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.evaluate.measure import Scores
from acclimate.evaluate.summary import (
    DRIFT_METRICS,
    Record,
    bits_per_byte,
    change_records,
    records,
)
from acclimate.evaluate.summary import UNITS as UNITS_OF_TEXT
from acclimate.paired.bootstrap import mean_interval, ratio_interval
from acclimate.paired.estimate import Estimate
from acclimate.paired.flips import score_change
from acclimate.paired.grouped import Groups, count, subset
from acclimate.paired.ranges import change_range
from acclimate.paired.ratio import FEWEST_DOCUMENTS, mean_ratio
from acclimate.paired.significance import holm
from acclimate.panel.schema import SetSection

SIDES = ("model", "base")
UNITS = UNITS_OF_TEXT | {
    "accuracy": "share of items",
    "accuracy_norm": "share of items",
    "word_nats": "nats/word",
}
KEYS = {"accuracy": "correct", "accuracy_norm": "correct_norm"}
"""Metric -> what it is called in an item's line, where it has another name there."""


def choice_records(
    name: str, section: SetSection, lines: Sequence[dict[str, Any]], groups: Groups | None = None
) -> list[Record]:
    """Of the lines of a choice or cloze set: accuracy, nats by word, and drift."""
    metrics = [metric for metric, key in KEYS.items() if f"model_{key}" in lines[0]]
    found = score_records(name, section, lines, metrics, groups)
    if section.kind == "cloze":
        nats, base_nats = (-np.array([line[side][0] for line in lines]) for side in SIDES)
        found += _compared(name, section, "word_nats", nats, base_nats, groups=groups)
    tokens = np.array([line["right_tokens"] for line in lines])
    for metric, column in DRIFT_METRICS.items():
        interval = ratio_interval(np.array([line[column] for line in lines]), tokens, groups=groups)
        found.append(_identity(name, section, metric, "model") | _values(interval))
    return found


def score_records(
    name: str,
    section: SetSection,
    lines: Sequence[dict[str, Any]],
    metrics: Sequence[str],
    groups: Groups | None = None,
) -> list[Record]:
    """Means over items of both sides, and the change."""
    found = []
    for metric in metrics:
        scores, base_scores = (
            np.array([line[f"{side}_{KEYS.get(metric, metric)}"] for line in lines], dtype=float) for side in SIDES
        )
        found += _compared(name, section, metric, scores, base_scores, groups=groups)
    return found


def text_records(
    name: str, section: SetSection, tuned: Scores, before: Scores, groups: Groups | None = None
) -> list[Record]:
    """Bits per byte of both sides and its change, and drift, by position too."""
    found: list[Record] = []
    for side, scores in zip(SIDES, (tuned, before), strict=True):
        found += records(scores, run=side, seed=0, set_name=name, role=section.role, groups=groups)
    found += change_records(tuned, before, run="model", seed=0, set_name=name, role=section.role, groups=groups)
    return [{key: value for key, value in record.items() if key != "seed"} for record in found]


def adjust(found: Sequence[Record]) -> None:
    """Gives each change ``p_holm``, its p-value adjusted for all changes of the panel."""
    changes = [record for record in found if record.get("p") is not None]
    for record, p in zip(changes, holm([record["p"] for record in changes]), strict=True):
        record["p_holm"] = p


def averages(texts: Sequence[tuple[str, Scores, Scores, Groups | None]]) -> dict[str, dict[str, Any]]:
    """Role -> macro average of bits per byte by ``model`` and ``base``, and ``change`` with its paired interval.

    Args:
        texts: role, scores of model and base, and groups of documents, of each text set.
    """
    by_role: dict[str, list[tuple[Scores, Scores]]] = {}
    grouped: dict[str, list[Groups | None]] = {}
    for role, tuned, before, groups in texts:
        if tuned.bytes.any():
            by_role.setdefault(role, []).append((tuned, before))
            grouped.setdefault(role, []).append(subset(groups, tuned.bytes > 0))
    found: dict[str, dict[str, Any]] = {}
    for role, pairs in by_role.items():
        means = [float(np.mean([bits_per_byte(one) for one in side])) for side in zip(*pairs, strict=True)]
        sums = [((tuned.nats - before.nats) / math.log(2), tuned.bytes) for tuned, before in pairs]
        written = [(bits[size > 0], size[size > 0]) for bits, size in sums]
        change = Estimate(means[0] - means[1], n=sum(len(size) for _, size in written))
        sizes = (count(own, len(size)) for own, (_, size) in zip(grouped[role], written, strict=True))
        if min(sizes) >= FEWEST_DOCUMENTS:
            change = mean_ratio(written, groups=grouped[role]).within(change_range("bits_per_byte", means[1]))
        found[role] = dict(zip(SIDES, means, strict=True)) | {"change": change.record(change=True)}
    return found


def _compared(
    name: str, section: SetSection, metric: str, *columns: NDArray[Any], groups: Groups | None = None
) -> list[Record]:
    """Means over items of model and base, and the change."""
    n = len(columns[0])
    found = [
        _identity(name, section, metric, side) | _values(mean_interval(column, groups=groups))
        for side, column in zip(SIDES, columns, strict=True)
    ]
    change = Estimate(float(np.mean(columns[0] - columns[1])), n=n)
    if count(groups, n) >= FEWEST_DOCUMENTS:
        possible = change_range(metric, float(np.mean(columns[1])))
        change = score_change(columns[0], columns[1], groups=groups).within(possible)
    return [*found, _identity(name, section, metric, "model", "_change") | change.record(change=True)]


def _identity(name: str, section: SetSection, metric: str, side: str, change: str = "") -> Record:
    return {
        "run": side,
        "set": name,
        "role": section.role,
        "metric": metric + change,
        "unit": UNITS.get(metric, "mean of items"),
    }


def _values(found: Estimate) -> Record:
    return {key: value for key, value in found.record().items() if key != "groups"}
