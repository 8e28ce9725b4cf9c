"""Scores to the tidy records of ``summary.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.evaluate.bootstrap import ratio_interval
from acclimate.evaluate.measure import Scores
from acclimate.files import write_text

Record = dict[str, Any]
"""{run, seed, set, role, metric, unit, value, low, high, n}"""

UNITS = {
    "bits_per_byte": "bits/byte",
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


def bits_per_byte(scores: Scores) -> float:
    """Of all documents together, without an interval."""
    return float(scores.nats.sum() / math.log(2) / scores.bytes.sum())


def write_scores(path: Path, places: Sequence[str], tuned: Scores, base: Scores | None) -> None:
    """One JSON line a held-out document, so that any statistic can be computed again from the run folder.

    Args:
        places: where each document came from, in the order of the scores.
    """
    columns = {key: value for key, value in vars(tuned).items() if value is not None}
    if base is not None:
        columns["base_nats"] = base.nats
    lines = [{"where": place} | {k: v[row].item() for k, v in columns.items()} for row, place in enumerate(places)]
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
