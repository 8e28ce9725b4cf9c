"""Scores to the tidy records of ``summary.json``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from acclimate.evaluate.measure import DRIFT, POSITIONS, Scores
from acclimate.paired.bootstrap import ratio_interval
from acclimate.paired.estimate import Estimate
from acclimate.paired.grouped import Groups, count, subset
from acclimate.paired.ranges import change_range
from acclimate.paired.ratio import FEWEST_DOCUMENTS, ratio_change

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


def records(
    scores: Scores, *, run: str, seed: int, set_name: str, role: str, groups: Groups | None = None
) -> list[Record]:
    """One record a metric, with a 95 % bootstrap interval over documents, or over their ``groups`` [M].

    bits_per_byte: ``sum nats / ln 2 / sum bytes`` of the held-out text.
    kl_base_tuned, kl_tuned_base: mean ``KL(base || tuned)`` and ``KL(tuned || base)`` per token.
    top1_agreement: part of tokens where base and tuned model find the same next token most likely.
    entropy_change: mean entropy of the tuned model's next-token distribution less the base's.

    Drift has also ``positions``: the same over the tokens of each bucket of places in a document.
    """
    identity = {"run": run, "seed": seed, "set": set_name, "role": role}
    found, text = [], scores.bytes > 0
    if text.any():
        bits = ratio_interval(scores.nats[text] / math.log(2), scores.bytes[text], groups=subset(groups, text))
        found.append(_record(identity, "bits_per_byte", bits))
    for metric, column in DRIFT_METRICS.items():
        if (sums := getattr(scores, column)) is not None:
            interval = ratio_interval(sums, scores.tokens, groups=groups)
            found.append(_record(identity, metric, interval) | {"positions": _by_position(scores, column, groups)})
    return found


def _record(identity: Record, metric: str, found: Estimate) -> Record:
    return identity | {"metric": metric, "unit": UNITS[metric]} | found.record()


def _by_position(scores: Scores, column: str, groups: Groups | None) -> list[Record]:
    """One entry a bucket that has tokens: ``first`` and ``last`` place, the last bucket having no end."""
    assert scores.positions is not None
    found = []
    tokens, sums = scores.positions[0], scores.positions[DRIFT.index(column)]  # [M, 4]
    for bucket, first in enumerate(POSITIONS):
        here = tokens[:, bucket] > 0
        if here.any():
            share = ratio_interval(sums[here, bucket], tokens[here, bucket], groups=subset(groups, here)).record()
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
    """``bits_per_byte_change``: tuned minus base on the same documents, negative is better.

    ``low`` and ``high`` are a paired 95 % interval, ``p`` is two-sided, ``mde`` the minimum detectable effect; all four
    are None for fewer than ``FEWEST_DOCUMENTS`` documents or groups. Where some documents share text with training,
    ``clean`` says the same, and the base's own bits per byte, of the others.

    Args:
        groups: [M] the group of each document.
        overlapping: [M] bool, whether each shares text with training documents.
    """
    text = tuned.bytes > 0
    if not text.any():
        return []
    metric = "bits_per_byte_change"
    record = {"run": run, "seed": seed, "set": set_name, "role": role, "metric": metric, "unit": UNITS[metric]}
    record |= _change(tuned, base, text, groups)
    if overlapping is not None and (overlapping & text).any() and (clean := text & ~overlapping).any():
        before = float(base.nats[clean].sum() / math.log(2) / base.bytes[clean].sum())
        record["clean"] = _change(tuned, base, clean, groups) | {"base": before}
    return [record]


def _change(tuned: Scores, base: Scores, chosen: np.ndarray, groups: Groups | None) -> Record:
    bits, before, size = tuned.nats[chosen] / math.log(2), base.nats[chosen] / math.log(2), tuned.bytes[chosen]
    n, own = int(np.sum(chosen)), subset(groups, chosen)
    if count(own, n) < FEWEST_DOCUMENTS:
        return Estimate(float((bits.sum() - before.sum()) / size.sum()), n=n).record(change=True)
    possible = change_range("bits_per_byte", float(before.sum() / size.sum()))
    return ratio_change(bits, before, size, groups=own).within(possible).record(change=True)


def bits_per_byte(scores: Scores) -> float:
    """Of all documents together, without an interval."""
    return float(scores.nats.sum() / math.log(2) / scores.bytes.sum())


def drift(scores: Scores) -> dict[str, float]:
    """Each metric of drift over all tokens, without an interval."""
    return {m: float(getattr(scores, column).sum() / scores.tokens.sum()) for m, column in DRIFT_METRICS.items()}
