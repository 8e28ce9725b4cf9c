"""Scores to the tidy records of ``summary.json``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from acclimate.evaluate.bootstrap import ratio_interval
from acclimate.evaluate.measure import Scores
from acclimate.evaluate.paired import ratio_change

Record = dict[str, Any]
"""{run, seed, set, role, metric, unit, value, low, high, n}; of a change also p and mde"""

FEWEST_DOCUMENTS = 3
"""Of two, half of all resamples are one document twice: their interval excludes the truth in 38 % of cases."""

UNITS = {
    "bits_per_byte": "bits/byte",
    "bits_per_byte_change": "bits/byte",
    "kl_base_tuned": "nats/token",
    "kl_tuned_base": "nats/token",
    "top1_agreement": "share of tokens",
}


def records(scores: Scores, *, run: str, seed: int, set_name: str, role: str) -> list[Record]:
    """One record a metric, with a 95 % bootstrap interval over documents.

    bits_per_byte: ``sum nats / ln 2 / sum bytes`` of the held-out text.
    kl_base_tuned, kl_tuned_base: mean ``KL(base || tuned)`` and ``KL(tuned || base)`` per token.
    top1_agreement: part of tokens where base and tuned model find the same next token most likely.
    """
    text = scores.bytes > 0
    found = {"bits_per_byte": ratio_interval(scores.nats[text] / math.log(2), scores.bytes[text])} if text.any() else {}
    drift = {
        "kl_base_tuned": scores.kl_base_tuned,
        "kl_tuned_base": scores.kl_tuned_base,
        "top1_agreement": scores.agree,
    }
    found |= {metric: ratio_interval(sums, scores.tokens) for metric, sums in drift.items() if sums is not None}
    identity = {"run": run, "seed": seed, "set": set_name, "role": role}
    return [
        identity
        | {"metric": metric, "unit": UNITS[metric]}
        | {"value": value, "low": low, "high": high, "n": int(np.sum(text) if metric == "bits_per_byte" else len(text))}
        for metric, (value, low, high) in found.items()
    ]


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
        value = bits_per_byte(tuned) - bits_per_byte(base)
        return [record | {"value": value, "low": None, "high": None, "n": n, "p": None, "mde": None}]
    found = ratio_change(tuned.nats[text] / math.log(2), base.nats[text] / math.log(2), tuned.bytes[text])
    return [record | {name: getattr(found, name) for name in ("value", "low", "high", "n", "p", "mde")}]


def bits_per_byte(scores: Scores) -> float:
    """Of all documents together, without an interval."""
    return float(scores.nats.sum() / math.log(2) / scores.bytes.sum())
