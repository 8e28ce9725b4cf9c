"""Paired intervals, p-values and minimum detectable effects keep what they say, by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from acclimate.paired import resample
from acclimate.paired.estimate import Estimate
from acclimate.paired.ratio import mean_change, mean_ratio, ratio, ratio_change
from acclimate.paired.seeds import crossed_ratio

Random = np.random.Generator


def two_models(random: Random, n: int, change: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits of a tuned and a base model on documents of very different length and difficulty, and their bytes."""
    size = np.exp(random.normal(6, 0.8, n))
    hard = random.gamma(8, 1 / 8, n)  # bits per byte of the base: the documents differ much more than the models
    noise = np.sqrt(0.02**2 + 0.4**2 / size) * random.standard_normal(n)  # between documents, and of their tokens
    return (hard + change + noise) * size, hard * size, size


def simulated(n: int, change: float, trials: int, seed: int = 0) -> list[Estimate]:
    random = np.random.default_rng(seed)
    return [ratio_change(*two_models(random, n, change)) for _ in range(trials)]


def test_intervals_cover_and_nothing_is_found_where_nothing_is() -> None:
    found = simulated(40, 0.0, 1500)
    above, below = (np.mean([e.low > 0 for e in found]), np.mean([e.high < 0 for e in found]))
    assert 0.933 <= 1 - above - below <= 0.967  # 0.95, and three times the error of 1500 trials
    assert max(above, below) <= 0.037
    assert np.mean([e.p < 0.05 for e in found]) <= 0.068
    assert all((e.p < 0.05) == (e.low > 0 or e.high < 0) for e in found if abs(e.p - 0.05) > 0.003)
    assert 0.4 < np.mean([e.p < 0.5 for e in found]) < 0.6


def test_skewed_sums_are_covered_from_both_sides() -> None:
    """Divergences: a few documents hold much of the sum. A percentile interval ends too low in 10 % of samples."""
    random, missed = np.random.default_rng(1), []
    for _ in range(800):
        size = np.exp(random.normal(6, 0.8, 40))
        found = ratio(random.lognormal(np.log(0.1) - 0.18, 0.6, 40) * size, size)
        missed.append((found.low > 0.1, found.high < 0.1))
    assert np.mean(missed, axis=0)[0] <= 0.04
    assert np.mean(missed, axis=0)[1] <= 0.065


def divergences(random: Random, n: int) -> tuple[np.ndarray, np.ndarray]:
    """0.1 on average; a few documents hold much of the sum."""
    size = np.exp(random.normal(6, 0.8, n))
    return random.lognormal(np.log(0.1) - 0.18, 0.6, n) * size, size


def heavy_tails(random: Random, n: int) -> tuple[np.ndarray, np.ndarray]:
    size = np.exp(random.normal(6, 0.8, n))
    return 0.03 * random.standard_t(3, n) * size, size


def skewed_words(random: Random, n: int) -> tuple[np.ndarray, np.ndarray]:
    return random.lognormal(-0.32, 0.8, n) - 1, np.ones(n)


def disagreements(random: Random, n: int) -> tuple[np.ndarray, np.ndarray]:
    size = np.ceil(np.exp(random.normal(5, 0.8, n)))
    return random.binomial(size.astype(int), random.beta(2, 18, n)).astype(float), size


def changes(random: Random, n: int) -> tuple[np.ndarray, np.ndarray]:
    tuned, base, size = two_models(random, n, 0.0)
    return tuned - base, size


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [(changes, 0.0), (heavy_tails, 0.0), (skewed_words, 0.0), (disagreements, 0.1), (divergences, 0.1)],
)
def test_what_each_sample_prints_is_found_in_80_percent_of_new_ones(
    draw: Callable[[Random, int], tuple[np.ndarray, np.ndarray]], truth: float, n: int
) -> None:
    """Each sample's mde, not their average, is planted on either side of a limit, and told by the other samples."""
    random = np.random.default_rng(n)
    found = [ratio(*draw(random, n)) for _ in range(400)]
    for reach in (np.array([e.high - truth for e in found]), np.array([truth - e.low for e in found])):
        power = np.mean([np.mean(reach < e.mde) for e in found])
        assert power >= 0.8 - 1.645 * np.sqrt(0.16 / 400)
        assert power <= 0.995


def test_a_macro_average_gives_each_set_one_voice() -> None:
    random = np.random.default_rng(2)
    (a, b), (c, d) = changes(random, 200), heavy_tails(random, 25)
    found = mean_ratio([(a, b), (c, d)])
    one, two = ratio(a, b), ratio(c, d)
    assert found.value == pytest.approx((one.value + two.value) / 2)
    assert found.error == pytest.approx(np.hypot(one.error, two.error) / 2)
    assert found.n == 225
    assert found.low < found.value < found.high
    assert mean_ratio([(a, b)]) == ratio(a, b)


def test_macro_averages_cover() -> None:
    random, missed = np.random.default_rng(6), []
    for _ in range(500):
        found = mean_ratio([divergences(random, 30), divergences(random, 60), changes(random, 40)])
        missed.append((found.low > 0.2 / 3, found.high < 0.2 / 3))
    assert (np.mean(missed, axis=0) <= 0.05).all()


def test_pairing_is_what_makes_it_narrow() -> None:
    """The base's spread over documents cancels: it is an order of magnitude above the change's own."""
    tuned, base, size = two_models(np.random.default_rng(0), 400, 0.01)
    found, alone = ratio_change(tuned, base, size), ratio(tuned, size)
    assert found.error < alone.error / 5
    assert found.value == pytest.approx(tuned.sum() / size.sum() - base.sum() / size.sum())


def test_interval_equals_a_plain_loop() -> None:
    tuned, base, size = two_models(np.random.default_rng(3), 25, 0.02)
    difference, random = tuned - base, np.random.default_rng(0)
    value = difference.sum() / size.sum()

    def spread(a: np.ndarray, b: np.ndarray) -> float:
        residual = a - a.sum() / b.sum() * b
        return float(np.sqrt(np.sum(residual**2) * 25 / 24) / b.sum())

    studentised = []
    for draw in random.integers(0, 25, (resample.RESAMPLES, 25)):
        a, b = difference[draw], size[draw]
        studentised.append((a.sum() / b.sum() - value) / spread(a, b))
    without = [np.delete(difference, i).sum() / np.delete(size, i).sum() for i in range(25)]
    error = np.sqrt(24 / 25 * np.sum((np.array(without) - np.mean(without)) ** 2))
    high, low = value - error * np.quantile(studentised, [0.025, 0.975])
    found = ratio_change(tuned, base, size)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.error == pytest.approx(error)


def test_mde_of_many_items_is_2_8_errors() -> None:
    found = ratio_change(*two_models(np.random.default_rng(9), 5000, 0.0))
    assert 0.97 < found.mde / ((1.96 + 0.842) * found.error) < 1.2  # caution for what the sample may have missed


def test_many_items_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned, base, size = two_models(np.random.default_rng(4), 50, 0.0)
    whole = ratio_change(tuned, base, size)
    monkeypatch.setattr(resample, "DRAWN_AT_ONCE", 50 * 300)
    parts = ratio_change(tuned, base, size)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-9)


def test_a_higher_level_is_wider() -> None:
    data = two_models(np.random.default_rng(5), 100, 0.0)
    narrow, wide = (ratio_change(*data, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_spread_is_a_point() -> None:
    same = np.array([3.0, 5.0, 0.1])
    assert ratio_change(same, same, np.ones(3)) == Estimate(0.0, 0.0, 0.0, 3, p=1.0, mde=0.0, error=0.0)
    shifted = ratio(0.1 * same, same)
    assert (shifted.low, shifted.high) == (shifted.value, shifted.value)
    assert shifted.p < 0.001


def test_sparse_differences_stay_finite() -> None:
    right = np.ones(30)
    found = mean_change(np.r_[0.0, right[1:]], right)
    assert found.value == pytest.approx(-1 / 30)
    assert np.isfinite([found.low, found.high, found.mde, found.p]).all()
    assert found.low < found.value < found.high


def test_items_to_tell_from_a_limit() -> None:
    """With as many items as it says (on average: each is an estimate), 80 % of samples tell the limit."""
    needed = round(np.mean([found.items_to_tell_from(found.value + 0.006) for found in simulated(60, 0.0, 300)]))
    assert 150 < needed < 600
    told = np.mean([found.high < 0 for found in simulated(needed, -0.006, 200, seed=1)])
    assert 0.75 <= told <= 0.88
    certain = ratio(np.array([0.1, 0.2]), np.ones(2))
    assert certain.items_to_tell_from(certain.value) == np.inf


def test_crossed_interval_covers_seeds_and_items() -> None:
    random, hits, items_only = np.random.default_rng(7), [], []
    for _ in range(60):
        size = np.exp(random.normal(6, 0.5, 30))
        luck = 0.02 * random.standard_normal((10, 1))
        numerators = (0.1 + luck + 0.03 * random.standard_normal(30) + 0.01 * random.standard_normal((10, 30))) * size
        found = crossed_ratio(numerators, size)
        hits.append(found.low <= 0.1 <= found.high)
        alone = ratio(numerators.mean(0), size)
        items_only.append(alone.low <= 0.1 <= alone.high)
        assert found.value == pytest.approx(np.mean(numerators.sum(1) / size.sum()))
    assert np.mean(hits) >= 0.87
    assert np.mean(items_only) < np.mean(hits)  # nothing but the items was let vary


def test_crossed_is_wider_than_items_only_where_seeds_differ() -> None:
    random = np.random.default_rng(8)
    size, items = np.ones(50), random.standard_normal(50)
    same = crossed_ratio(np.stack([items] * 5), size)
    apart = crossed_ratio(np.stack([items + shift for shift in (-1.0, -0.5, 0.0, 0.5, 1.0)]), size)
    alone = ratio(items, size)
    assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=0.12)
    assert apart.high - apart.low > 1.5 * (same.high - same.low)
