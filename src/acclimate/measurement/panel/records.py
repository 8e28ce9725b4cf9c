"""What was found of each item -> records: values of model and base, and paired changes between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.measurement.measure import Scores
from acclimate.measurement.panel.schema import SetSection
from acclimate.measurement.summary import Record, bits_per_byte, change_records, records
from acclimate.paired.estimate import Estimate
from acclimate.paired.grouped import Groups, count, subset
from acclimate.paired.metrics import BITS, METRICS, Metric, known
from acclimate.paired.ratio import FEWEST_DOCUMENTS, mean_ratio
from acclimate.paired.significance import holm

SIDES = ("model", "base")
Array = NDArray[np.float64]


def choice_records(
    name: str, section: SetSection, lines: Sequence[dict[str, Any]], groups: Groups | None
) -> list[Record]:
    """Of the lines of a choice or cloze set: accuracy, nats by word, and drift."""
    metrics = [name for name, metric in METRICS.items() if metric.key and f"model_{metric.key}" in lines[0]]
    found = score_records(name, section, lines, metrics, groups)
    if section.kind == "cloze":
        nats, base_nats = (-np.array([line[side][0] for line in lines]) for side in SIDES)
        found += _compared(name, section, METRICS["word_nats"], nats, base_nats, groups)
    tokens = np.array([line["right_tokens"] for line in lines])
    for metric in METRICS.values():
        if metric.below == "tokens" and metric.above in lines[0]:
            value = metric.value(np.array([line[metric.above] for line in lines]), tokens, groups)
            found.append(_identity(name, section, metric, "model") | _values(value))
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
    for metric in map(known, metrics):
        key = metric.key or metric.name
        scores, base_scores = (np.array([line[f"{side}_{key}"] for line in lines], dtype=float) for side in SIDES)
        found += _compared(name, section, metric, scores, base_scores, groups)
    return found


def text_records(name: str, section: SetSection, tuned: Scores, before: Scores, groups: Groups | None) -> list[Record]:
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
            change = mean_ratio(written, groups=grouped[role]).within(METRICS[BITS].change_range(means[1]))
        found[role] = dict(zip(SIDES, means, strict=True)) | {"change": change.record(change=True)}
    return found


def _compared(
    name: str, section: SetSection, metric: Metric, own: Array, base: Array, groups: Groups | None
) -> list[Record]:
    """Means over items of model and base, and the change."""
    found = [
        _identity(name, section, metric, side) | _values(metric.value(column, None, groups))
        for side, column in zip(SIDES, (own, base), strict=True)
    ]
    change = metric.difference(own, base, np.ones(len(own)), groups=groups)
    return [*found, _identity(name, section, metric, "model", "_change") | change.record(change=True)]


def _identity(name: str, section: SetSection, metric: Metric, side: str, change: str = "") -> Record:
    return {
        "run": side,
        "set": name,
        "role": section.role,
        "metric": metric.name + change,
    }


def _values(found: Estimate | None) -> Record:
    assert found is not None  # each item counts
    return {key: value for key, value in found.record().items() if key != "groups"}
