"""What every form keeps to, over the registry."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from acclimate.laws.fit import fit, huber
from acclimate.laws.form import Form, Parameter
from acclimate.laws.forms.registry import FORMS
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError
from tests.laws.planted import PLANTED, Planted

LABELS = ("[paper]", "[from code]", "[second-hand]", "[ours]", "[unverified]", "[abstract only]")


@pytest.fixture(scope="module", params=list(FORMS))
def fitted(request: pytest.FixtureRequest) -> tuple[str, Planted, Law]:
    name = request.param
    planted = PLANTED[name]
    return name, planted, fit(planted.form(name), planted.measured(name))


def test_planted_predictions_come_back(fitted: tuple[str, Planted, Law]) -> None:
    name, planted, law = fitted
    off = np.abs(law.predict(planted.unseen) - planted.truth(name).predict(planted.unseen))
    assert off.max() < planted.within
    spread = np.ptp(planted.measured(name)[law.form.outcome])
    assert planted.within < spread / 5, "the mean would do as well"


def test_planted_parameters_come_back_where_they_are_told(fitted: tuple[str, Planted, Law]) -> None:
    _, planted, law = fitted
    if planted.told:
        assert law.values == pytest.approx(dict(planted.values), rel=0.1)
        assert law.loose() == ()


def test_the_fit_is_no_worse_than_the_truth(fitted: tuple[str, Planted, Law]) -> None:
    name, planted, law = fitted
    true = huber(law.form.residuals(planted.measured(name), planted.values), law.form.delta)
    assert law.cost <= 1.02 * true
    assert law.cost == pytest.approx(huber(law.residuals, law.form.delta))


def test_bounds_are_kept(fitted: tuple[str, Planted, Law]) -> None:
    """By the fit, by all starts, and where the truth lies outside: of noise alone."""
    name, planted, law = fitted
    table = planted.measured(name)
    outcome = np.random.default_rng(3).permutation(table[law.form.outcome])
    for values in (law.values, fit(law.form, table | {law.form.outcome: outcome}).values):
        for parameter in law.form.parameters:
            assert parameter.low <= values[parameter.name] <= parameter.high
            assert all(parameter.low <= start <= parameter.high for start in parameter.starts)
            assert math.isfinite(values[parameter.name])


def test_a_poorer_table_says_what_is_loose(fitted: tuple[str, Planted, Law]) -> None:
    """Held at one value, a column tells less: the true law says so, whatever a fit would find."""
    name, planted, law = fitted
    if not planted.poor:
        return
    table = {
        **planted.inputs,
        **{column: np.full_like(planted.inputs[column], v) for column, v in planted.poor.items()},
    }
    if name == "exponential_mixture":
        table["share/c"] = 1 - table["share/a"] - table["share/b"]
    loss = law.form.curve(table, planted.values)
    noisy = loss + planted.noise * np.random.default_rng(0).standard_normal(len(loss))
    poor = Law(law.form, planted.values, table | {law.form.outcome: noisy}, 0.0)
    assert planted.loose <= set(poor.not_told())


def test_as_many_rows_as_parameters_tell_nothing(fitted: tuple[str, Planted, Law]) -> None:
    name, planted, law = fitted
    table = planted.measured(name)
    rows = np.linspace(0, len(table[law.form.outcome]) - 1, len(law.form.parameters)).astype(int)
    exact = Law(law.form, law.values, {column: numbers[rows] for column, numbers in table.items()}, 0.0)
    assert exact.not_told() == law.free


@pytest.mark.parametrize("name", FORMS)
def test_what_a_table_must_hold(name: str) -> None:
    planted = PLANTED[name]
    form, table = planted.form(name), planted.measured(name)
    for column in (*form.inputs, form.outcome):
        with pytest.raises(UsageError, match=f"'{form.name}' reads .*; the table has no {column}"):
            fit(form, {other: numbers for other, numbers in table.items() if other != column})
        with pytest.raises(UsageError, match=f"Row 2 of the table holds no finite number under '{column}'"):
            fit(form, table | {column: np.where(np.arange(len(table[column])) == 1, np.nan, table[column])})
        with pytest.raises(UsageError, match=f"Column '{column}' has shape|has {len(table[column]) - 1} rows"):
            fit(form, table | {column: table[column][:-1]})
    same = {column: np.full_like(table[column], table[column][0]) for column in form.varying}
    assert form.varying
    with pytest.raises(UsageError, match=rf"the same {form.varying[0]}.*nothing.*Add a run at another value"):
        fit(form, table | same)
    few = len(form.parameters) - 1
    with pytest.raises(UsageError, match=rf"{few + 1} unknown parameters .*only {few} row"):
        fit(form, {column: numbers[:: len(numbers) // few][:few] for column, numbers in table.items()})
    for column, (low, _) in form.ranges.items():
        assert low >= 0
        with pytest.raises(UsageError, match=rf"Row 1 of the table holds -1 under '{column}'; .* is accepted"):
            fit(form, table | {column: np.r_[-1.0, table[column][1:]]})
    with pytest.raises(UsageError, match=f"has no {form.inputs[0]}"):
        Law(form, planted.values, {}, 0.0).predict({"other": [1.0]})


@pytest.mark.parametrize("name", FORMS)
def test_what_a_form_says_of_itself(name: str) -> None:
    form = PLANTED[name].form(name)
    assert form.name == name
    assert any(label in form.source for label in LABELS)
    document = inspect.getdoc(FORMS[name]) or ""
    assert all(part in document for part in ("Formula:", "Example:", "Reference:"))
    assert any(label in document for label in LABELS)
    shared = [parameter.name for parameter in form.parameters]
    assert len(set(shared)) == len(shared)
    assert set(PLANTED[name].values) == set(shared)


def test_every_form_has_planted_data() -> None:
    assert PLANTED.keys() == FORMS.keys()


def line() -> Form:
    return Form(
        "line", "y = m x", ("x",), "y", (Parameter("m"),), lambda table, values: values["m"] * table["x"], log=False
    )


def test_given_parameters_are_not_fitted() -> None:
    law = fit(line(), {"x": [1.0, 2.0], "y": [2.0, 4.0]}, fixed={"m": 3.0})
    assert (law.values, law.free, law.loose()) == ({"m": 3.0}, (), ())
    with pytest.raises(UsageError, match="fixed: the form 'line' has no parameter 'n', only m"):
        fit(line(), {"x": [1.0], "y": [2.0]}, fixed={"n": 3.0})
    with pytest.raises(UsageError, match=r"starts: the form 'line' has no parameter 'M', only m\. Did you mean 'm'"):
        fit(line(), {"x": [1.0], "y": [2.0]}, starts=[{"M": 3.0}])


def test_a_misspelt_column_is_named() -> None:
    with pytest.raises(UsageError, match=r"the table has no replay\. Did you mean 'repaly'\?"):
        fit(FORMS["forgetting"](), {"repaly": [0.0], "tokens": [1.0], "start": [3.0], "loss": [3.0]})


def test_a_share_in_percent_is_refused() -> None:
    with pytest.raises(UsageError, match="holds 25 under 'share'; 0 to 1 is accepted"):
        fit(FORMS["d_cpt"](), {"share": [25.0], "tokens": [1.0], "loss": [3.0]})


def test_an_outlier_moves_the_law_little() -> None:
    planted = PLANTED["annealing"]
    table = planted.measured("annealing")
    table["loss"] = table["loss"] + np.where(np.arange(len(table["loss"])) == 30, 0.5, 0.0)
    off = fit(FORMS["annealing"](), table).predict(planted.unseen) - planted.truth("annealing").predict(planted.unseen)
    assert np.abs(off).max() < planted.within


def test_units_do_not_matter() -> None:
    """Parameters without a start begin at the table's own least squares: tokens may be in ones or in billions."""
    planted = PLANTED["d_cpt"]
    table = planted.measured("d_cpt")
    rows = table["share"] > 0.35
    table = {column: numbers[rows] for column, numbers in table.items()}
    ones, billions = (fit(FORMS["d_cpt"](), {**table, "tokens": table["tokens"] / unit}) for unit in (1.0, 1e9))
    assert ones.cost == pytest.approx(billions.cost, rel=1e-3)


def test_residuals_far_beyond_delta_do_not_stop_the_fit() -> None:
    """Near 0 a share's logarithm is off by more than delta from every start; the fit still comes down."""
    form, tokens = FORMS["power"]("tokens", "share"), np.geomspace(20, 200, 8)
    planted = {"a": 0.22524761, "s": 0.26944345, "b": -0.48139982}
    law = fit(form, {"tokens": tokens, "share": Law(form, planted, {}, 0.0).predict({"tokens": tokens})})
    assert law.values == pytest.approx(planted, rel=1e-6)
