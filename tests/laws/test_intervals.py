"""Noise of runs, and refits of all draws at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acclimate.laws.anchored import drift_forms
from acclimate.laws.fit import fit
from acclimate.laws.form import Array, Columns, Form, Parameter, Values
from acclimate.laws.intervals import Noise, Prior, curves_of, refitted
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError
from tests.fixtures.sentences import refused

LINE = Form(
    "line", "y = a + b x", ("x",), "y", (Parameter("a", (0.0,)), Parameter("b", (0.0,))),
    lambda table, values: values["a"] + values["b"] * table["x"], log=False, delta=1e3,
)  # fmt: skip


def line(outcomes: list[float]) -> Law:
    return fit(LINE, {"x": np.arange(float(len(outcomes))), "y": np.array(outcomes)})


def test_noise_of_single_rows_is_the_residual_error_of_regression() -> None:
    law = line([0.1, 0.9, 2.3, 2.8, 4.1])
    noise = Noise.of(law, np.arange(5))
    assert noise is not None
    assert noise.freedom == pytest.approx(3)
    assert noise.scale == pytest.approx(math.sqrt((law.residuals**2).sum() / 3))


def test_noise_of_curves_is_of_runs() -> None:
    """Sixty steps of three runs are three runs: their offsets are what a fourth would differ by."""
    runs, x = np.repeat([0, 1, 2], 20), np.tile(np.linspace(1, 5, 20), 3)
    law = fit(LINE, {"x": x, "y": 2 + x + np.array([-0.3, 0.0, 0.3])[runs]})
    by_run, by_row = Noise.of(law, runs), Noise.of(law, np.arange(60))
    assert by_run is not None
    assert by_row is not None
    assert by_run.freedom == pytest.approx(2)
    assert by_row.freedom == pytest.approx(58)
    assert by_run.scale == pytest.approx(math.sqrt(0.18 / by_run.freedom), rel=1e-6)
    residuals, new = by_run.draw(np.random.default_rng(0), 50)
    assert np.ptp(residuals[:, :20], axis=1).max() < 1e-6  # a run's rows lie off together
    assert len(new) == 50


@pytest.mark.parametrize("rows", [5, 6, 10, 49])
def test_one_degree_of_freedom_is_one(rows: int) -> None:
    """6 (1 - 5 / 6) is less than 1 in floats."""
    names = [f"p{number}" for number in range(rows - 1)]
    form = Form(
        "powers", "y", ("x",), "y", tuple(Parameter(name, (0.0,)) for name in names),
        lambda table, values: sum(np.asarray(values[name]) * table["x"] ** number for number, name in enumerate(names)),
        log=False,
    )  # fmt: skip
    table = {"x": np.linspace(-1, 1, rows), "y": np.ones(rows)}
    noise = Noise.of(Law(form, dict.fromkeys(names, 0.0), table, 0.0), np.arange(rows))
    assert noise is not None
    assert noise.freedom == pytest.approx(1)


def test_too_few_rows_leave_no_noise() -> None:
    assert Noise.of(line([0.0, 1.1]), np.arange(2)) is None


def test_the_error_at_settings_left_out_is_not_ignored() -> None:
    law = line([0.1, 0.9, 2.3, 2.8, 4.1])
    noise, wide = Noise.of(law, np.arange(5)), Noise.of(law, np.arange(5), left_out=5.0)
    assert noise is not None
    assert wide is not None
    assert (wide.new, wide.scale) == (5.0, noise.scale)
    assert noise.new == noise.scale


def test_seeds_of_a_setting_show_luck_and_no_form() -> None:
    law = line([0.1, 0.9, 2.3, 2.8, 4.1, 5.2])
    runs, seeds = Noise.of(law, np.arange(6)), Noise.of(law, np.arange(6), settings=3)
    assert runs is not None
    assert seeds is not None
    assert runs.freedom == pytest.approx(4)
    assert seeds.freedom == pytest.approx(2)
    assert runs.scale == seeds.scale


def test_a_prior_moderates_the_scales_and_adds_its_freedom() -> None:
    law = line([0.1, 0.9, 2.3, 2.8, 4.1])
    bare, known = (
        Noise.of(law, np.arange(5), left_out=0.5),
        Noise.of(law, np.arange(5), left_out=0.5, prior=Prior(0.2, 4)),
    )
    assert bare is not None
    assert known is not None
    assert known.freedom == pytest.approx(7)
    assert known.scale == pytest.approx(math.sqrt((3 * bare.scale**2 + 4 * 0.2**2) / 7))
    assert known.new == pytest.approx(math.sqrt((5 * 0.5**2 + 4 * 0.2**2) / 9))


def test_many_seeds_outweigh_a_prior() -> None:
    """Three settings of ten seeds each: their luck is known, whatever other tables had."""
    outcomes = np.repeat([0.0, 1.0, 2.0], 10) + np.random.default_rng(0).normal(0, 0.4, 30)
    law = fit(LINE, {"x": np.repeat([0.0, 1.0, 2.0], 10), "y": outcomes})
    noise = Noise.of(law, np.arange(30), settings=3, prior=Prior(0.05, 4))
    assert noise is not None
    assert 0.3 < noise.scale < 0.5


@pytest.mark.parametrize(
    ("scale", "freedom", "said"),
    [
        (0.0, 4.0, "scale is 0"),
        (0.1, -1.0, "freedom is -1"),
        (math.inf, 4.0, "scale is inf"),
        (math.nan, 1.0, "scale is nan"),
    ],
)
def test_a_prior_is_of_numbers_above_0(scale: float, freedom: float, said: str) -> None:
    with refused(f"The prior's {said}; it is a number above 0.", UsageError):
        Prior(scale, freedom)


def test_draws_have_students_tails() -> None:
    law = line([0.1, 0.9, 2.3, 2.8, 4.1])
    noise = Noise.of(law, np.arange(5))
    assert noise is not None
    _, new = noise.draw(np.random.default_rng(0), 200_000)
    assert np.quantile(new, 0.95) / noise.scale == pytest.approx(2.353, rel=0.03)  # t with 3 degrees of freedom


def test_blocks_keep_neighbouring_steps_together() -> None:
    runs, x = np.repeat([0, 1], 36), np.tile(np.linspace(0, 1, 36), 2)
    wave = np.where(np.arange(36) // 6 % 2 == 0, 0.1, -0.1)
    law = fit(LINE, {"x": x, "y": x + np.tile(wave, 2)})
    noise = Noise.of(law, runs)
    assert noise is not None
    residuals, _ = noise.draw(np.random.default_rng(0), 500)
    inner = residuals[:, :36] - residuals[:, :36].mean(axis=1, keepdims=True)
    alike = np.mean(inner[:, 1:] * inner[:, :-1]) / np.mean(inner**2)
    assert alike > 0.4  # shuffled steps would have about 0


@pytest.mark.parametrize("name", ["root", "saturating", "floor", "balance"])
def test_refits_are_scipys(name: str) -> None:
    (form,) = [form for form in drift_forms({"share", "tokens"}) if form.name == name]
    random = np.random.default_rng(1)
    table = {
        "share": np.array([1, 0.95, 0.9, 0.75, 0.5, 1.0]),
        "weight": np.ones(6),
        "tokens": 4e3 * 2.0 ** np.arange(6),
    }
    start = {parameter.name: parameter.starts[0] for parameter in form.parameters}
    table["drift"] = form.curve(table, start) * np.exp(0.03 * random.standard_normal(6))
    law = fit(form, table)
    outcomes = law.predict(table) * np.exp(0.05 * random.standard_normal((8, 6)))
    found = curves_of(form, table, refitted(law, outcomes))
    for row, outcome in enumerate(outcomes):
        other = fit(form, {**table, "drift": outcome}, starts=[law.values])
        # never worse, and the same curve
        mine = np.log(found[row]) - np.log(outcome)
        np.testing.assert_array_less((mine**2).sum(), (other.residuals**2).sum() * 1.02 + 1e-9)


def test_a_row_of_no_weight_is_left_out() -> None:
    law = line([0.0, 1.0, 2.0, 3.0, 9.0])
    kept = np.array([[1.0, 1, 1, 1, 0]])
    found = refitted(law, law.table["y"][None], kept)
    assert found["b"][0, 0] == pytest.approx(1, abs=1e-6)


def test_a_curve_that_takes_one_set_of_parameters_is_asked_one_by_one() -> None:
    def curve(table: Columns, values: Values) -> Array:
        return table["x"] * math.exp(values["a"]) if values["b"] > 0 else table["x"] * 0

    form = Form("single", "", ("x",), "y", LINE.parameters, curve)
    found = curves_of(form, {"x": np.array([1.0, 2.0])}, {"a": np.zeros((3, 1)), "b": np.array([[1.0], [-1.0], [2.0]])})
    np.testing.assert_allclose(found, [[1, 2], [0, 0], [1, 2]])
