"""Mixtures of several sources: their optima in closed form, and which of two forms a held-out run prefers."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.laws.fit import fit
from acclimate.laws.form import Array
from acclimate.laws.forms.mixtures import additive_mixture, column, exponential_mixture, joint_mixture, optimum
from acclimate.laws.forms.sft_mixture import sft_mixture, sft_optimum
from acclimate.laws.law import Law
from acclimate.laws.simplex import minimum
from acclimate.types.errors import UsageError
from tests.laws.planted import NOISE, PLANTED, SOURCES, mixtures, stacked

TWO = ["a", "b"]


def additive(**values: float) -> Law:
    return Law(additive_mixture(TWO, budget=False), {"E": 0.0, **values}, {}, 0.0)


def test_additive_optimum_in_closed_form() -> None:
    """g in (0, 1) alike: h_i is proportional to C_i^(1 / (1 - g))."""
    best = optimum([additive(C_a=1.0, C_b=2.0, g_a=0.5, g_b=0.5)], TWO)
    assert best.shares == pytest.approx([0.2, 0.8], abs=1e-5)
    assert 1 / best.value == pytest.approx(2.236068, abs=1e-6)
    assert best.uniform == pytest.approx(1 / (3 * 0.5**0.5))
    other = optimum([additive(C_a=1.0, C_b=3.0, g_a=0.25, g_b=0.25)], TWO)
    expected = np.array([1.0, 3.0]) ** (1 / 0.75)
    assert other.shares == pytest.approx(expected / expected.sum(), abs=1e-5)


def test_exponential_optimum_in_closed_form() -> None:
    form = exponential_mixture(TWO)
    laws = [
        Law(form, {"c": 2.0, "k": 1.0, "t_a": first, "t_b": second}, {}, 0.0) for first, second in ((-1, 0), (0, -1))
    ]
    best = optimum(laws, TWO)
    assert best.shares == pytest.approx([0.5, 0.5], abs=1e-6)
    assert best.value == pytest.approx(5.21306, abs=1e-5)
    assert best.uniform == pytest.approx(best.value)
    assert optimum(laws, TWO, weights=[2.0, 1.0]).shares[0] == pytest.approx(0.5 + np.log(2) / 2, abs=1e-5)


def test_sft_optimum_in_closed_form() -> None:
    """Without transfer and with equal beta: w_i is proportional to C_i^(1 / (1 + beta))."""
    for sizes, beta, expected in (([1.0, 4.0], 1.0, [1 / 3, 2 / 3]), ([1.0, 4.0, 9.0], 0.5, None)):
        laws = [Law(sft_mixture(), {"C": c, "k": 0.0, "alpha": 0.5, "beta": beta, "E": 0.3}, {}, 0.0) for c in sizes]
        weights = np.array(sizes) ** (1 / (1 + beta))
        best = sft_optimum(laws, 1e5)
        assert best.shares == pytest.approx(weights / weights.sum() if expected is None else expected, abs=1e-4)
        assert best.value < best.uniform


def test_sft_transfer_never_exceeds_what_there_is() -> None:
    law = fit(sft_mixture(), PLANTED["sft_mixture"].measured("sft_mixture"))
    others = np.geomspace(1, 1e9, 30)
    assert (law.values["k"] * others ** law.values["alpha"] <= others).all()


def test_sft_parts_are_never_nothing() -> None:
    laws = [Law(sft_mixture(), {"C": c, "k": 0.0, "alpha": 0.5, "beta": 1.0, "E": 0.0}, {}, 0.0) for c in (1e-9, 1.0)]
    assert sft_optimum(laws, 1e5).shares[0] == pytest.approx(1e-3, abs=1e-6)


TOKENS = (2e8, 8e8, 3.2e9)


def heldout_error(form, table: dict[str, Array]) -> float:  # type: ignore[no-untyped-def]
    """Mean relative error at the mixtures of every fifth row, which no fit has seen."""
    place = np.arange(len(table["loss"])) % 20 % 5
    errors = []
    for part in range(2):
        law = fit(form, {name: numbers[place != part] for name, numbers in table.items()})
        unseen = {name: numbers[place == part] for name, numbers in table.items()}
        errors.append(np.abs(law.predict(unseen) / unseen["loss"] - 1).mean())
    return float(np.mean(errors))


def test_heldout_runs_tell_a_joint_truth_from_an_additive_form() -> None:
    table = PLANTED["joint_mixture"].measured("joint_mixture")
    assert heldout_error(joint_mixture(SOURCES), table) < heldout_error(additive_mixture(SOURCES), table) / 2
    also = PLANTED["additive_mixture"].measured("additive_mixture")
    assert heldout_error(additive_mixture(SOURCES), also) < 2 * NOISE / also["loss"].mean()


def test_the_additive_optimum_does_not_depend_on_the_budget_and_the_joint_one_does() -> None:
    best = {
        name: [optimum([PLANTED[name].truth(name)], SOURCES, tokens=tokens).shares for tokens in (1e8, 1e11)]
        for name in ("additive_mixture", "joint_mixture")
    }
    assert best["additive_mixture"][0] == pytest.approx(best["additive_mixture"][1], abs=1e-4)
    assert np.abs(best["joint_mixture"][0] - best["joint_mixture"][1]).max() > 0.02


@pytest.mark.parametrize("name", ["additive_mixture", "joint_mixture"])
def test_the_optimum_of_a_fitted_law_is_nearly_the_true_one(name: str) -> None:
    planted = PLANTED[name]
    truth = planted.truth(name)
    found = optimum([fit(truth.form, planted.measured(name))], SOURCES, tokens=1e9)
    exact = optimum([truth], SOURCES, tokens=1e9)
    point = {column(source): [share] for source, share in zip(SOURCES, found.shares, strict=True)} | {"tokens": [1e9]}
    assert truth.predict(point)[0] - exact.value < 0.002 < exact.uniform - exact.value


def test_model_sizes() -> None:
    form = joint_mixture(SOURCES, size=True)
    truth = PLANTED["joint_mixture"].values | {"A": 500.0, "a_b": 2.0, "a_c": 0.5, "gA": 0.7, "alpha": 0.33}
    law = Law(form, truth, {}, 0.0)
    losses = law.predict(stacked(*(mixtures(1, 0, tokens=1e9, parameters=n) for n in (1e8, 1e9))))
    assert losses[0] > losses[1]
    plain = additive_mixture(SOURCES, budget=False, size=True)
    assert plain.inputs == ("share/a", "share/b", "share/c", "parameters")


def test_k_of_the_exponential_law_is_told_once_it_is_fixed() -> None:
    planted = PLANTED["exponential_mixture"]
    table = planted.measured("exponential_mixture")
    (direction,) = fit(exponential_mixture(SOURCES), table).loose()
    assert "k" in direction
    law = fit(exponential_mixture(SOURCES), table, fixed={"k": 1.0})
    assert law.loose() == ()
    expected = {f"t_{name}": planted.values[f"t_{name}"] + np.log(planted.values["k"]) for name in SOURCES}
    assert {name: law.values[name] for name in expected} == pytest.approx(expected, abs=0.05)


def test_bounds_of_shares() -> None:
    capped = minimum(lambda h: float(-h[0]), 3, high=0.5)
    assert capped.shares[0] == pytest.approx(0.5)
    assert capped.shares.sum() == pytest.approx(1)
    with pytest.raises(UsageError, match=r"No 3 shares between 1e-06 and 0\.3 sum to 1"):
        minimum(lambda h: float(h[0]), 3, high=0.3)
    with pytest.raises(UsageError, match="no finite value"):
        minimum(lambda h: float("nan"), 2)


def test_a_minimum_of_several_is_the_lowest() -> None:
    """Two valleys; the equal mixture lies in the shallower one."""
    depth = minimum(lambda h: float(-np.exp(-80 * (h[0] - 0.5) ** 2) - 2 * np.exp(-80 * (h[0] - 0.9) ** 2)), 2)
    assert depth.shares[0] == pytest.approx(0.9, abs=0.01)


def test_what_is_no_mixture() -> None:
    for sources in (["a"], "ab", ["a", "a"]):
        with pytest.raises(UsageError, match="two sources or more"):
            additive_mixture(sources)
    laws = [additive(C_a=1.0, C_b=2.0, g_a=0.5, g_b=0.5)]
    with pytest.raises(UsageError, match="1 laws have one weight each; 2 were given"):
        optimum(laws, TWO, weights=[1.0, 2.0])
    with pytest.raises(UsageError, match="one weight each"):
        sft_optimum(laws, 1.0, weights=[1.0, 2.0])
    with pytest.raises(UsageError, match="has no tokens"):
        optimum([PLANTED["additive_mixture"].truth("additive_mixture")], SOURCES)
