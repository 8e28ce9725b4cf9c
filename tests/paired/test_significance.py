"""McNemar, Holm and transfer against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acclimate.paired.significance import holm, mcnemar
from acclimate.paired.transfer import improvement, transfer


def test_mcnemar_is_the_binomial_tail() -> None:
    for lost, won in ((0, 0), (0, 5), (3, 3), (4, 12), (12, 4), (40, 60)):
        n = lost + won
        weights = [math.comb(n, k) / 2**n for k in range(n + 1)]
        as_far = sum(w for k, w in enumerate(weights) if abs(k - n / 2) >= abs(lost - n / 2))
        assert mcnemar(lost, won) == pytest.approx(as_far), (lost, won)
    assert mcnemar(6, 0) == pytest.approx(0.03125)  # scipy.stats.binomtest(6, 6).pvalue
    assert 0 < mcnemar(1000, 1400) < 1e-10  # 2**2400 is no float


def test_mcnemar_claims_no_more_than_it_may() -> None:
    random = np.random.default_rng(0)
    lost = random.binomial(40, 0.5, 4000)
    assert np.mean([mcnemar(int(k), 40 - int(k)) < 0.05 for k in lost]) <= 0.05


def test_holm_by_hand() -> None:
    """Holm 1979's steps: 0.005 x 4, 0.01 x 3, 0.03 x 2, and the last no lower than the one before it."""
    assert holm([0.03, 0.005, 0.04, 0.01]) == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_claim() -> None:
    random = np.random.default_rng(1)
    panels = random.uniform(size=(3000, 8))
    assert np.mean([min(panel) < 0.05 for panel in panels]) > 0.3
    assert np.mean([min(holm(panel)) < 0.05 for panel in panels]) <= 0.06


def test_harmonic_s_hides_what_the_parts_show() -> None:
    both = transfer([improvement(1.0, 0.7)], [improvement(1.0, 1.2), improvement(0.5, 0.5)])
    assert (both.target_improvement, both.backward_transfer) == pytest.approx((0.3, -0.1))
    assert both.harmonic_s == pytest.approx(2 / (1 / 1.3 + 1 / 0.9))
    assert both.harmonic_s > 1
    assert transfer([0.0], [0.0]).harmonic_s == 1.0
    assert transfer([0.3], [-1.5]).harmonic_s == 0.0
