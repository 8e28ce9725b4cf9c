"""Two runs on the same held-out documents: how much more one lost than the other, paired."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acclimate.errors import RunError, reason
from acclimate.evaluate.paired import FEWEST_DOCUMENTS, Estimate, ratio_change
from acclimate.evaluate.ranges import change_range
from acclimate.evaluate.score_file import read_places, read_scores


def compare_runs(run: Path, other: Path, set_name: str, level: float = 0.95) -> Mapping[str, Estimate]:
    """``run`` less ``other`` of each metric, over the documents that both runs measured.

    A document is the same where its place and its bytes are: what makes it hard for both runs cancels, as in a change
    from the base. Drift compares only where both began with one base, which splits them into the same tokens.

    Returns:
        Metric (``bits_per_byte``, ``kl_base_tuned``, ``top1_agreement``) -> estimate; empty where fewer than
        ``FEWEST_DOCUMENTS`` documents are shared.

    Raises:
        RunError: a file of scores or ``provenance.json`` is missing or damaged.
    """
    found = []
    for folder in (run, other):
        path = folder / "eval" / f"{set_name}.jsonl"
        scores = read_scores(path)
        found.append((dict(zip(read_places(path), range(len(scores["bytes"])), strict=True)), scores))
    (places, mine), (other_places, theirs) = found
    rows = [(row, other_places[place]) for place, row in places.items() if place in other_places]
    pairs = np.array(rows, dtype=int).reshape(-1, 2)
    pairs = pairs[mine["bytes"][pairs[:, 0]] == theirs["bytes"][pairs[:, 1]]]
    a, b = ({name: scores[name][pairs[:, side]] for name in scores} for side, scores in enumerate((mine, theirs)))
    compared = {}
    if np.sum(text := a["bytes"] > 0) >= FEWEST_DOCUMENTS:
        bits, other_bits = (scores["nats"][text] / math.log(2) for scores in (a, b))
        size = a["bytes"][text]
        possible = change_range("bits_per_byte", float(other_bits.sum() / size.sum()))
        compared["bits_per_byte"] = ratio_change(bits, other_bits, size, level).within(possible)
    if len(pairs) >= FEWEST_DOCUMENTS and _base(run) == _base(other) and np.array_equal(a["tokens"], b["tokens"]):
        for metric, column in (("kl_base_tuned", "kl_base_tuned"), ("top1_agreement", "agree")):
            possible = change_range(metric, float(b[column].sum() / b["tokens"].sum()))
            compared[metric] = ratio_change(a[column], b[column], a["tokens"], level).within(possible)
    return compared


def _base(run: Path) -> str:
    """Digest of the weights that the run began with."""
    path = run / "provenance.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["model"]["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{path}' does not say which base the run began with ({reason(error)}).") from None
