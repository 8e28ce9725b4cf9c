"""Bits learned by heart, against numbers worked by hand and planted ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acclimate.paired.memorisation import document, memorisation


def columns(gains: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """Documents of ``size`` bytes that gained ``gains`` bits each."""
    return {"base_nats": 10 * size, "nats": 10 * size - gains * math.log(2), "bytes": size}


def test_by_hand() -> None:
    """Held-out text gained 0.5 bits per byte; of 4 documents measured, two gained 30 and 10 bits more, one less."""
    size = np.array([100.0, 100.0, 200.0, 100.0])
    training = columns(np.array([80.0, 60.0, 100.0, 20.0]), size)
    heldout = columns(np.array([40.0, 60.0, 100.0]), np.array([100.0, 100.0, 200.0]))
    found = memorisation(training, heldout, trained_on=400, parameters=1000)
    assert found is not None
    assert found.training.value == pytest.approx(-260 / 500)
    assert found.heldout.value == pytest.approx(-0.5)
    assert found.gap.value == pytest.approx(260 / 500 - 0.5)
    assert found.bits_per_parameter.value == pytest.approx((30 + 10 + 0 + 0) / 4 * 400 / 1000)
    assert found.heldout_bits_per_parameter.value == pytest.approx((10 / 3) * (125 / (400 / 3)) * 400 / 1000)
    assert (found.measured, found.trained_on) == (4, 400)
    assert document(found)["gap"] == {"value": found.gap.value, "low": found.gap.low, "high": found.gap.high}


def test_documents_without_text_do_not_count_and_two_are_too_few() -> None:
    size = np.array([100.0, 100.0, 0.0])
    three, two = columns(np.full(3, 5.0), np.full(3, 100.0)), columns(np.full(3, 5.0), size)
    assert memorisation(three, two, 10, 10) is None
    assert memorisation(two, three, 10, 10) is None
    assert memorisation(three, three, 10, 10) is not None


@pytest.mark.parametrize("extra", [0.0, 0.1])
def test_intervals_hold_what_was_planted(extra: float) -> None:
    """Gap and bits per parameter; where nothing is memorised the held-out column is as large as the other."""
    random = np.random.default_rng(3)

    def draw(n: int, more: float) -> dict[str, np.ndarray]:
        size = np.round(np.exp(random.normal(6, 0.5, n)))
        return columns(size * (0.2 + more + 0.1 * random.standard_normal(n)), size)

    many = draw(200_000, extra)
    excess = (many["base_nats"] - many["nats"]) / math.log(2) - 0.2 * many["bytes"]
    truth = np.maximum(0, excess).mean() * 1000 / 5000
    gaps, bits, apart = [], [], []
    for _ in range(60):
        found = memorisation(draw(64, extra), draw(64, 0.0), 1000, 5000)
        assert found is not None
        gaps.append(found.gap.low <= extra <= found.gap.high)
        bits.append(found.bits_per_parameter.low <= truth <= found.bits_per_parameter.high)
        apart.append(found.bits_per_parameter.low > found.heldout_bits_per_parameter.high)
    assert np.mean(gaps) >= 0.87
    assert np.mean(bits) >= 0.85
    assert np.mean(apart) == pytest.approx(1.0 if extra else 0.0, abs=0.1)
