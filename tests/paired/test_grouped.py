"""Intervals over documents in groups: the same numbers where each is its own, honest where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.gate_error import ROWS, errors, truth_of

from acclimate.paired.bootstrap import mean_interval, ratio_interval
from acclimate.paired.flips import flips, score_change
from acclimate.paired.grouped import beyond, codes, numbered, quantile, sums
from acclimate.paired.metrics import METRICS
from acclimate.paired.ratio import mean_ratio, ratio
from acclimate.paired.seeds import crossed_ratio


def sample(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    size = random.lognormal(4, 0.9, n)
    return random.lognormal(-2, 0.6, n) * size, size


def test_groups_of_one_change_no_number() -> None:
    a, b = sample()
    own = np.random.default_rng(1).permutation(60) * 7  # any labels
    assert ratio(a, b, groups=own) == ratio(a, b)
    assert mean_ratio([(a, b)], groups=[own]) == mean_ratio([(a, b)])
    assert ratio_interval(a, b, groups=own) == ratio_interval(a, b)
    assert crossed_ratio(np.stack([a, a + 1]), b, groups=own) == crossed_ratio(np.stack([a, a + 1]), b)
    right, before = a > np.median(a), b > np.median(b)
    assert flips(right, before, groups=own) == flips(right, before)
    assert mean_interval(right.astype(float), groups=own) == mean_interval(right.astype(float))


def test_of_groups_their_sums_are_drawn() -> None:
    a, b = sample()
    groups = np.repeat(np.arange(20), 3)
    together, summed = ratio(a, b, groups=groups), ratio(sums(groups, a), sums(groups, b))
    assert together.value == pytest.approx(summed.value)
    assert together.error == pytest.approx(summed.error)
    assert (together.n, together.groups, together.independent, summed.independent) == (60, 20, 20, 20)
    assert together.high > summed.high  # and few of them are no less wide than Student's t says
    assert together.high - together.value >= quantile(0.95, 20) * together.error * (1 - 1e-9)


def test_three_copies_of_each_document_tell_no_more_than_one() -> None:
    """The attack on a gate: every line three times over."""
    a, b = sample(40)
    once, thrice = ratio(a, b), ratio(np.tile(a, 3), np.tile(b, 3), groups=np.tile(np.arange(40), 3))
    assert thrice.error == pytest.approx(once.error)
    assert thrice.high >= once.high
    assert ratio(np.tile(a, 3), np.tile(b, 3)).high < once.high
    right, before = np.arange(40) % 4 > 0, np.arange(40) % 3 > 0
    one = flips(right, before)
    more = flips(np.tile(right, 3), np.tile(before, 3), groups=np.tile(np.arange(40), 3))
    assert more.value == pytest.approx(one.value)
    assert more.low < one.low + 0.01
    assert more.high > one.high - 0.01
    assert more.p > 0.9 * one.p


def test_one_group_tells_nothing() -> None:
    a, b = sample(10)
    one = np.zeros(10)
    assert (ratio(a, b, groups=one).low, ratio(a, b, groups=one).high) == (-math.inf, math.inf)
    assert not ratio_interval(a, b, groups=one).bounded
    assert not mean_interval((a > 1).astype(float), groups=one).bounded
    found = flips(np.arange(10) > 2, np.arange(10) > 4, groups=one)
    assert (found.low, found.high) == (pytest.approx(-1.0), pytest.approx(1.0))
    assert math.isinf(found.mde)
    assert found.items_to_tell_from(0.5) == math.inf


def test_student_t() -> None:
    """Of tables: 12.706, 2.776, 2.228 and 1.980 for 1, 4, 10 and 120 degrees of freedom."""
    found = [quantile(0.95, groups) for groups in (2, 5, 11, 121, 5001)]
    assert found == pytest.approx([12.706, 2.776, 2.228, 1.980, 1.960], abs=6e-4)
    assert beyond(0.0, 7) == pytest.approx(0.5)


def test_names_to_numbers() -> None:
    assert codes([]) is None
    assert numbered(np.array([])) is None
    found = codes(["a", None, "a", None])
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2]


def test_a_check_of_the_gate_takes_the_groups_of_its_scores() -> None:
    a, b = sample()
    scores = {"kl_base_tuned": a, "tokens": b, "right": a > 5, "base_right": b > 50, "agree": b / 2}
    groups = np.repeat(np.arange(12), 5)
    for metric, unit in (("kl_base_tuned", "nats/token"), ("top1_agreement", "points"), ("accuracy", "points")):
        alone, together = (
            METRICS[metric].drop("max_drop", unit, {k: v.astype(float) for k, v in scores.items()} | more, 0.95)
            for more in ({}, {"group": groups})
        )
        assert (alone.groups, together.groups) == (None, 12), metric
        assert together.value == pytest.approx(alone.value)
        assert together.high > alone.high
    text = {"nats": a + b, "base_nats": b, "bytes": np.where(np.arange(60) == 0, 0.0, b), "group": groups}
    assert METRICS["bits_per_byte"].drop("max_drop", "%", text, 0.95).groups == 12


@pytest.mark.parametrize(
    ("name", "how", "bound"),
    [
        ("KL, clusters of 10", "given", 5.0),
        ("KL, clusters of 5", "found", 10.0),
        ("bits/byte, clusters of 10", "given", 5.0),
    ],
)
def test_false_passes_of_clusters(name: str, how: str, bound: float) -> None:
    """The bar, with fewer simulations than benchmarks/2026-11-29-gate-error.md has."""
    row = next(row for row in ROWS if row.name == name)
    truth, simulations = truth_of(row), 80
    passes, _, power = errors(row, 100, simulations, truth, how)
    assert passes <= bound + 2 * math.sqrt(bound * (100 - bound) / simulations)
    assert power > 10  # and it is not merely mute
    if how == "given":  # one by one it is far over the bar, so that the bound can fail
        assert errors(row, 100, simulations, truth, "none")[0] > bound + 5


def test_scores_that_are_no_flips() -> None:
    a, b = sample()
    found = score_change(a / b, np.zeros(60), groups=np.repeat(np.arange(20), 3))
    assert found.groups == 20
