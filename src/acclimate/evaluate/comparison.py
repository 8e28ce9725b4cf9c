"""Two runs on the same held-out documents: how much more one lost than the other, paired."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acclimate.evaluate.paired import FEWEST_DOCUMENTS, Estimate, ratio_change
from acclimate.evaluate.score_file import read_places, read_scores


def compare_runs(run: Path, other: Path, set_name: str, level: float = 0.95) -> Mapping[str, Estimate]:
    """``run`` less ``other`` of each metric, over the documents that both runs measured.

    A document is the same where its place and its bytes are: what makes it hard for both runs cancels, as in a change
    from the base. Tokens may be other ones (two bases), and then only bits per byte compare.

    Returns:
        Metric (``bits_per_byte``, ``kl_base_tuned``, ``top1_agreement``) -> estimate; empty where fewer than
        ``FEWEST_DOCUMENTS`` documents are shared.

    Raises:
        RunError: a file of scores is missing or damaged.
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
        compared["bits_per_byte"] = ratio_change(bits, other_bits, a["bytes"][text], level)
    if len(pairs) >= FEWEST_DOCUMENTS and np.array_equal(a["tokens"], b["tokens"]):
        for metric, column in (("kl_base_tuned", "kl_base_tuned"), ("top1_agreement", "agree")):
            compared[metric] = ratio_change(a[column], b[column], a["tokens"], level)
    return compared
