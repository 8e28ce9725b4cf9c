"""McNemar, Holm and transfer against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acclimate.paired.ratio import ratio_error
from acclimate.paired.significance import bound_at_every_look, holm, mcnemar
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


def looks(level: float, random: np.random.Generator, times: float = 1.0) -> bool:
    """Whether 100 looks at the same documents of two sets say at any that a mean divergence is above its limit, of
    which the truth is so many times; documents differ fourfold, and each moves on while the model does."""
    n, limit = 32, 0.05
    own, moved = random.normal(0, 0.4, (2, n)), random.normal(0, 0.4, (2, n))
    tokens = random.integers(40, 400, (2, n))
    for _ in range(100):
        moved = 0.9 * moved + math.sqrt(1 - 0.81) * random.normal(0, 0.4, (2, n))
        kl = times * limit * np.exp(own + moved - (0.16 + 0.16) / 2) * tokens
        values = [float(a.sum() / b.sum()) for a, b in zip(kl, tokens, strict=True)]
        errors = [ratio_error(a, b) for a, b in zip(kl, tokens, strict=True)]
        if bound_at_every_look(values, errors, [n, n], 100, level) > limit:
            return True
    return False


def test_a_bound_holds_at_every_look() -> None:
    """At a drift of exactly its limit, which is where the chance of a false claim is largest."""
    random = np.random.default_rng(2)
    assert np.mean([looks(0.95, random) for _ in range(120)]) <= 0.05
    assert np.mean([looks(0.95, random, times=2.0) for _ in range(20)]) > 0.9  # and it says so when it is exceeded
    naive = 1 - 0.05 * 100  # as if there were one look
    assert np.mean([looks(naive, random) for _ in range(40)]) > 0.1


def test_a_bound_is_students_of_the_fewest_items() -> None:
    error = math.sqrt(0.01**2 + 0.02**2) / 2
    assert bound_at_every_look([0.1, 0.3], [0.01, 0.02], [50, 11], 1) == pytest.approx(0.2 - 1.8125 * error, rel=1e-4)
    assert bound_at_every_look([0.1, 0.3], [0.01, 0.02], [50, 11], 50) == pytest.approx(0.2 - 4.1437 * error, rel=1e-4)
    assert bound_at_every_look([9.0], [math.inf], [1], 1) == -math.inf  # one document says nothing


def test_the_error_of_a_ratio_is_that_of_its_groups() -> None:
    above, below = np.array([1.0, 2.0, 4.0, 3.0]), np.array([2.0, 1.0, 2.0, 3.0])
    alone = [(above.sum() - a) / (below.sum() - b) for a, b in zip(above, below, strict=True)]
    assert ratio_error(above, below) == pytest.approx(math.sqrt(3 * np.var(alone)))
    grouped = np.array([0, 0, 1, 1])
    assert ratio_error(above, below, grouped) == pytest.approx(math.sqrt(1 * np.var([7 / 5, 3 / 3])))
    assert ratio_error(above, below, np.zeros(4, dtype=int)) == math.inf
