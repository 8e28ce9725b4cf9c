"""The script's own losses (arXiv 2408.11029): two schedules of 20,000 steps, peak 2e-4, 500 steps of warm-up."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.laws.fit import fit
from acclimate.laws.forms.annealing import annealing, sums
from acclimate.types.errors import UsageError

COSINE = """3.6696358 3.3254106 3.1908393 3.1158533 3.0604768 3.020384 2.9880967 2.9612265 2.9395165 2.9195616
2.9030452 2.8881907 2.8767889 2.8654318 2.8565135 2.8489892 2.843639 2.8398669 2.8380618 2.8376071"""
CONSTANT = """3.6714418 3.325626 3.1884103 3.111947 3.058354 3.0211415 2.9874816 2.96082 2.9406552 2.9241402
2.9054413 2.8942103 2.8807929 2.8702695 2.862175 2.8530996 2.8448784 2.8383856 2.8326995 2.8294308"""
PEAK, WARMUP, LAST = 2e-4, 500, 20_000
STEP = np.arange(LAST + 1)
RISE = np.minimum(1.0, STEP / WARMUP)
RATES = {
    "cosine": PEAK * np.where(STEP < WARMUP, RISE, (1 + np.cos(np.pi * (STEP - WARMUP) / (LAST - WARMUP))) / 2),
    "constant": PEAK * RISE,
}
LOSSES = {"cosine": np.array(COSINE.split(), float), "constant": np.array(CONSTANT.split(), float)}
MEASURED = np.arange(1000, LAST + 1, 1000)


def table(*names: str, warmup: str = "peak") -> dict[str, np.ndarray]:
    both = [sums(RATES[name], warmup_steps=WARMUP, warmup=warmup) for name in names]  # type: ignore[arg-type]
    return {
        "s1": np.concatenate([forwards[MEASURED] for forwards, _ in both]),
        "s2": np.concatenate([annealed[MEASURED] for _, annealed in both]),
        "loss": np.concatenate([LOSSES[name] for name in names]),
    }


def test_sums_end_where_they_should() -> None:
    ends = {name: [part[-1] for part in sums(RATES[name], warmup_steps=WARMUP)] for name in RATES}
    assert ends["cosine"] == pytest.approx([2.0501, 0.19747], abs=1e-5)
    assert ends["constant"] == pytest.approx([4.0002, 0.0], abs=1e-5)


@pytest.mark.parametrize(
    ("warmup", "values", "r_squared", "cost"),
    [
        ("peak", {"L0": 2.62780, "A": 0.42967, "C": 0.41077, "alpha": 0.54985}, 0.99963, 1.63e-5),
        ("literal", {"L0": 2.49798, "A": 0.46539, "C": 0.41823, "alpha": 0.46673}, 0.99995, 4.2e-6),
    ],
)
def test_the_two_readings_of_warmup(warmup: str, values: dict[str, float], r_squared: float, cost: float) -> None:
    law = fit(annealing(), table("cosine", "constant", warmup=warmup))
    assert law.values == pytest.approx(values, abs=2e-5)
    assert law.r_squared == pytest.approx(r_squared, abs=3e-5)
    assert law.cost == pytest.approx(cost, rel=1e-2)
    assert law.loose() == ()


def test_one_schedule_predicts_the_other() -> None:
    """Warm-up as it is: the worst step of the constant schedule is off by 0.005 nats; with the peak, by 0.018."""
    both = table("cosine", "constant", warmup="literal")
    law = fit(annealing(), table("cosine", warmup="literal"))
    assert np.abs(law.predict(both) - both["loss"]).max() < 0.005


def test_a_constant_schedule_does_not_tell_what_annealing_brings() -> None:
    law = fit(annealing(), table("constant"))
    assert law.not_told() == ("C",)
    assert law.r_squared > 0.999


@pytest.mark.parametrize(
    ("rates", "options", "words"),
    [
        ([], {}, "one learning rate a step"),
        ([1e-4, float("nan")], {}, "finite"),
        ([-1e-4], {}, "0 or more"),
        ([1e-4], {"warmup_steps": 2}, "2 steps warm up, of a schedule of 1"),
        ([1e-4], {"warmup": "linear"}, "'peak' or 'literal', not 'linear'"),
    ],
)
def test_what_is_no_schedule(rates: list[float], options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sums(rates, **options)  # type: ignore[arg-type]
