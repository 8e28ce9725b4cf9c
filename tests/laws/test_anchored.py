"""Forms of an anchored run: their limits, and that planted runs are predicted again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.laws.anchored import INPUTS, drift_forms, gain_forms
from acclimate.laws.fit import fit
from acclimate.laws.form import Form
from acclimate.types.errors import UsageError

ALL = [*drift_forms(INPUTS), *gain_forms(INPUTS)]
DRIFTS = list(drift_forms(INPUTS))


def values_in(form: Form, parts: list[float]) -> dict[str, float]:
    """Parameters within their bounds and near where fits begin: a start times 0.5 to 1.5."""
    return {
        parameter.name: float(np.clip(parameter.starts[0] * (0.5 + part), parameter.low, parameter.high))
        for parameter, part in zip(form.parameters, parts, strict=False)
    }


def runs(**columns: object) -> dict[str, np.ndarray]:
    whole = {"share": 0.5, "weight": 1.0, "rate": 2e-4, "tokens": 2e4, **columns}
    return dict(zip(whole, np.broadcast_arrays(*(np.asarray(one, dtype=float) for one in whole.values())), strict=True))


parts = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@pytest.mark.parametrize("form", ALL, ids=lambda form: f"{form.outcome} {form.name}")
@given(parts=parts)
@settings(max_examples=20, deadline=None)
def test_limits(form: Form, parts: list[float]) -> None:
    values = values_in(form, parts)
    # no tokens, no change
    few, many = form.curve(runs(tokens=[1e-30, 2e4]), values)
    assert abs(few) < 1e-3 * abs(many)
    # all of the domain and no weight are both plain fine-tuning
    plain = form.curve(runs(share=[1.0, 0.5, 1.0], weight=[1.0, 0.0, 0.0]), values)
    np.testing.assert_allclose(plain, plain[0])


@pytest.mark.parametrize("form", DRIFTS, ids=lambda form: form.name)
@given(parts=parts)
@settings(max_examples=20, deadline=None)
def test_more_anchor_less_drift(form: Form, parts: list[float]) -> None:
    values = values_in(form, parts)
    for columns in ({"share": [1.0, 0.95, 0.7, 0.3]}, {"weight": [0.0, 0.5, 1.0, 4.0]}):
        assert (np.diff(form.curve(runs(**columns), values)) < 0).all()


def test_drift_saturates_where_a_form_says_so() -> None:
    (form,) = [form for form in DRIFTS if form.name == "saturating"]
    values = values_in(form, [0.5] * 6)
    far, further = form.curve(runs(tokens=[1e8, 1e9]), values)
    assert far == pytest.approx(further)


def test_in_balance_what_is_held_comes_to_rest_and_what_is_free_drifts_on() -> None:
    (form,) = [form for form in DRIFTS if form.name == "balance"]
    values = {"A": 0.3, "b": 0.5, "g": 1.0, "K": 9.0}
    held = form.curve(runs(tokens=[1e12, 1e13], share=0.75), values)
    np.testing.assert_allclose(held, 1 / (9 * 0.5), rtol=1e-3)  # K sqrt(1 - 0.75)
    near, far = form.curve(runs(tokens=[1e4, 4e4], share=1.0, rate=1e-4), values)
    assert (near, far) == (pytest.approx(0.3), pytest.approx(0.6))


@pytest.mark.parametrize("varied", [{"share"}, {"share", "tokens"}, {"rate"}, {"share", "tokens", "rate"}], ids=sorted)
def test_few_parameters_and_only_for_what_varies(varied: set[str]) -> None:
    for form in (*drift_forms(varied), *gain_forms(varied)):
        assert len(form.parameters) <= 5
        names = {parameter.name for parameter in form.parameters}
        assert "rate" in varied or not names & {"g", "h"}
        assert "tokens" in form.inputs if {"tokens"} <= varied and form.outcome == "drift" else True
        assert "share" in varied or not names & {"B", "a", "f", "k", "K", "c"}
        assert not form.inputs or set(form.inputs) <= varied | {"share", "weight"}


@pytest.mark.parametrize("form", [*drift_forms({"share", "tokens"}), *gain_forms({"share", "tokens"})],
                         ids=lambda form: f"{form.outcome} {form.name}")  # fmt: skip
def test_planted_runs_are_predicted_again(form: Form) -> None:
    """Six runs without noise; parameters may trade, predictions may not."""
    planted = values_in(form, [0.3, 0.7, 0.4, 0.6, 0.5, 0.5])
    table = runs(share=[1.0, 0.9, 0.75, 0.5, 1.0, 0.6], tokens=[4e3, 8e3, 16e3, 32e3, 32e3, 4e3])
    table[form.outcome] = form.curve(table, planted)
    points = runs(share=[0.8, 0.95, 0.5], tokens=[1e4, 3e4, 5e4])
    np.testing.assert_allclose(fit(form, table).predict(points), form.curve(points, planted), rtol=0.02)


def test_wrong_inputs_are_sentences() -> None:
    with pytest.raises(UsageError, match=r"'shares' is none\. Did you mean 'share'\?"):
        drift_forms({"shares"})
    with pytest.raises(UsageError, match="differ in nothing"):
        gain_forms(set())
