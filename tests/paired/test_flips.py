"""Intervals and minimum detectable effects of a change of accuracy keep what they say, by enumeration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import pytest

from acclimate.paired.bootstrap import mean_interval, ratio_interval
from acclimate.paired.flips import Flips, flips
from acclimate.paired.significance import mcnemar

Z = NormalDist().inv_cdf(0.975)


def outcomes(n: int, flipped: float, drop: float) -> Iterator[tuple[float, Flips]]:
    """Each outcome of ``n`` items, of which that part flips, with its probability; the unlikeliest are left out."""
    chance = [(flipped - drop) / 2, (flipped + drop) / 2, 1 - flipped]
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            counts = [won, lost, n - won - lost]
            if any(count and p <= 0 for count, p in zip(counts, chance, strict=True)):
                continue
            log = math.lgamma(n + 1) - sum(math.lgamma(count + 1) for count in counts)
            log += sum(count * math.log(p) for count, p in zip(counts, chance, strict=True) if count)
            if log > -16:
                yield math.exp(log), Flips(won, lost, n)


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize(
    ("flipped", "drop"), [(0.05, 0.0), (0.05, 0.02), (0.05, 0.03), (0.05, 0.05), (0.1, 0.05), (0.3, 0.02), (0.3, 0.1)]
)
def test_at_a_true_drop_the_interval_leaves_it_out_as_seldom_as_it_may(n: int, flipped: float, drop: float) -> None:
    """A gate whose margin is the true drop passes where the interval lies above it, and fails where it lies below."""
    seen, passed, failed = 0.0, 0.0, 0.0
    for chance, found in outcomes(n, flipped, drop):
        seen += chance
        passed += chance * (found.low > -drop)
        failed += chance * (found.high < -drop)
    assert seen == pytest.approx(1, abs=1e-3)
    assert passed <= 0.03
    assert failed <= 0.05
    assert passed + failed >= 0.015  # and it is not merely wide


def test_the_ends_are_where_the_score_test_rejects() -> None:
    """The likelihood under each end, maximised on a grid instead of in closed form."""
    for won, lost, n in ((12, 30, 200), (1, 9, 50), (0, 4, 60), (7, 7, 40)):
        found = Flips(won, lost, n)
        for end, sign in ((found.low, 1), (found.high, -1)):
            p_lost = np.linspace(max(0, -end), (1 - end) / 2, 400_001)[1:-1]
            likelihood = (
                won * np.log(p_lost + end) + lost * np.log(p_lost) + (n - won - lost) * np.log(1 - 2 * p_lost - end)
            )
            best = p_lost[likelihood.argmax()]
            score = (won - lost - n * end) / math.sqrt(n * (2 * best + end - end**2))
            assert score == pytest.approx(sign * Z, abs=2e-3), (won, lost, n)


def test_no_flip_still_allows_some() -> None:
    found = Flips(0, 0, 200)
    assert (found.estimate().value, found.p) == (0, 1)
    assert [found.high, -found.low] == pytest.approx([Z**2 / (200 + Z**2)] * 2)
    assert 3 / 200 < found.high < 4 / 200  # the rule of three is one-sided
    assert found.mde > found.high


@pytest.mark.parametrize("n", [20, 100, 300])
@pytest.mark.parametrize("flipped", [0.01, 0.05, 0.2, 0.5])
def test_what_each_sample_prints_is_found_in_80_percent_of_new_ones(n: int, flipped: float) -> None:
    """``p < 0.05`` and an interval without 0, where as many items flip, or as many as the drop needs."""

    def binomial(n: int, p: float) -> np.ndarray:
        log = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
        return np.exp(log) * p ** np.arange(n + 1) * (1 - p) ** np.arange(n, -1, -1)

    clear = [
        next((lost for lost in range(m // 2, m + 1) if mcnemar(lost, m - lost) < 0.05), m + 1) for m in range(n + 1)
    ]
    power = 0.0
    for m, chance in enumerate(binomial(n, flipped)):
        if chance > 1e-4:
            drop = Flips(0, m, n).mde
            parts = max(flipped, drop)
            found = [binomial(k, (parts + drop) / 2 / parts)[clear[k] :].sum() for k in range(n + 1)]
            power += chance * float(binomial(n, parts) @ found)
    assert 0.8 <= power <= 0.95
    assert all(Flips(m - clear[m], clear[m], n).high < 0 for m in range(6, n + 1) if clear[m] <= m)


def test_units_levels_and_arrays() -> None:
    right, base_right = np.array([True, False, False, False] * 50), np.array([True, True, False, True] * 50)
    found = flips(right, base_right, unit=100)
    assert (found.n, found.value) == (200, -50)
    share = flips(right, base_right)
    assert [found.low, found.high, found.mde] == pytest.approx([100 * share.low, 100 * share.high, 100 * share.mde])
    wide = flips(right, base_right, level=0.99)
    assert wide.low < share.low < share.high < wide.high
    assert wide.mde > share.mde
    assert wide.p == share.p


def test_items_to_tell_from_a_limit() -> None:
    """So many items, were they to flip alike, are enough by the same formula, and its power is enumerated above."""
    found = Flips(10, 14, 200).estimate(unit=100)  # two points lost
    needed = math.ceil(found.items_to_tell_from(-5.0))
    assert 600 < needed < 1600
    scale = needed / 200
    assert Flips(round(10 * scale), round(14 * scale), needed).mde == pytest.approx(0.03, rel=0.02)
    assert found.items_to_tell_from(-2.0) == math.inf
    assert Flips(0, 0, 100).items_to_tell(0.05) > 150


def test_too_few_items_have_no_detectable_effect() -> None:
    """Of five that all flip McNemar's exact test gives 0.06; of six 0.03."""
    assert math.isinf(Flips(0, 0, 5).mde)
    assert mcnemar(0, 5) > 0.05 > mcnemar(0, 6)
    assert math.isfinite(Flips(0, 0, 12).mde)


@pytest.mark.parametrize("right", [0, 3, 20])
def test_an_accuracy_has_wilsons_interval(right: int) -> None:
    """By its definition: the shares that a score test of this sample does not reject."""
    scores = np.array([1.0] * right + [0.0] * (20 - right))
    found = mean_interval(scores)
    value, low, high = found.value, found.low, found.high
    assert 0 <= low <= value <= high <= 1
    for share in (low, high):
        if 0 < share < 1:
            assert abs(value - share) / (share * (1 - share) / 20) ** 0.5 == pytest.approx(1.96, abs=1e-3)
    assert high - low > 0.15
    assert mean_interval(scores + 0.5) == ratio_interval(scores + 0.5, np.ones(20))
