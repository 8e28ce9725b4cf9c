"""Scores to the tidy records of ``summary.json``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from acclimate.evaluate.bootstrap import Interval, ratio_interval
from acclimate.evaluate.flips import Flips
from acclimate.evaluate.measure import DRIFT, POSITIONS, Scores
from acclimate.evaluate.paired import FEWEST_DOCUMENTS, Estimate, ratio_change
from acclimate.evaluate.ranges import change_range

Record = dict[str, Any]
"""{run, seed, set, role, metric, unit, value, low, high, n}; of a change also p and mde, of drift also positions"""

DRIFT_METRICS = {
    "kl_base_tuned": "kl_base_tuned",
    "kl_tuned_base": "kl_tuned_base",
    "top1_agreement": "agree",
    "entropy_change": "entropy_change",
}
"""Metric -> column of scores whose sum over tokens it is."""

UNITS = {
    "bits_per_byte": "bits/byte",
    "bits_per_byte_change": "bits/byte",
    "kl_base_tuned": "nats/token",
    "kl_tuned_base": "nats/token",
    "top1_agreement": "share of tokens",
    "entropy_change": "nats/token",
}


def records(scores: Scores, *, run: str, seed: int, set_name: str, role: str) -> list[Record]:
    """One record a metric, with a 95 % bootstrap interval over documents.

    bits_per_byte: ``sum nats / ln 2 / sum bytes`` of the held-out text.
    kl_base_tuned, kl_tuned_base: mean ``KL(base || tuned)`` and ``KL(tuned || base)`` per token.
    top1_agreement: part of tokens where base and tuned model find the same next token most likely.
    entropy_change: mean entropy of the tuned model's next-token distribution less the base's.

    Drift has also ``positions``: the same over the tokens of each bucket of places in a document.
    """
    identity = {"run": run, "seed": seed, "set": set_name, "role": role}
    found, text = [], scores.bytes > 0
    if text.any():
        bits = ratio_interval(scores.nats[text] / math.log(2), scores.bytes[text])
        found.append(_record(identity, "bits_per_byte", bits, int(np.sum(text))))
    for metric, column in DRIFT_METRICS.items():
        if (sums := getattr(scores, column)) is not None:
            record = _record(identity, metric, ratio_interval(sums, scores.tokens), len(text))
            found.append(record | {"positions": _by_position(scores, column)})
    return found


def _record(identity: Record, metric: str, interval: Interval, n: int) -> Record:
    value, low, high = interval
    return identity | {"metric": metric, "unit": UNITS[metric], "value": value, "low": low, "high": high, "n": n}


def _by_position(scores: Scores, column: str) -> list[Record]:
    """One entry a bucket that has tokens: ``first`` and ``last`` place, the last bucket having no end."""
    assert scores.positions is not None
    found = []
    tokens, sums = scores.positions[0], scores.positions[DRIFT.index(column)]  # [M, 4]
    for bucket, first in enumerate(POSITIONS):
        here = tokens[:, bucket] > 0
        if here.any():
            value, low, high = ratio_interval(sums[here, bucket], tokens[here, bucket])
            last = POSITIONS[bucket + 1] - 1 if bucket + 1 < len(POSITIONS) else None
            counts = {"tokens": int(tokens[:, bucket].sum()), "n": int(np.sum(here))}
            found.append({"first": first, "last": last, "value": value, "low": low, "high": high} | counts)
    return found


def change_records(tuned: Scores, base: Scores, *, run: str, seed: int, set_name: str, role: str) -> list[Record]:
    """``bits_per_byte_change``: tuned minus base on the same documents, negative is better.

    ``low`` and ``high`` are a paired 95 % interval, ``p`` is two-sided, ``mde`` the minimum detectable effect; all four
    are None for fewer than ``FEWEST_DOCUMENTS``.
    """
    text = tuned.bytes > 0
    if not text.any():
        return []
    metric, n = "bits_per_byte_change", int(np.sum(text))
    record = {"run": run, "seed": seed, "set": set_name, "role": role, "metric": metric, "unit": UNITS[metric]}
    if n < FEWEST_DOCUMENTS:
        return [record | {"value": bits_per_byte(tuned) - bits_per_byte(base), "n": n} | NO_INTERVAL]
    found = ratio_change(tuned.nats[text] / math.log(2), base.nats[text] / math.log(2), tuned.bytes[text])
    return [record | fields(found.within(change_range("bits_per_byte", bits_per_byte(base))))]


NO_INTERVAL: Record = {"low": None, "high": None, "p": None, "mde": None}


def fields(found: Estimate | Flips) -> Record:
    """What a record says of a change."""
    return {name: getattr(found, name) for name in ("value", "low", "high", "n", "p", "mde")}


def bits_per_byte(scores: Scores) -> float:
    """Of all documents together, without an interval."""
    return float(scores.nats.sum() / math.log(2) / scores.bytes.sum())
