"""What counts beside a table's own runs, and what heads a page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.judgement import USUAL, USUAL_FREEDOM, judge, usual_noise
from acclimate.types.errors import UsageError
from acclimate.verbs.planning.advice import Advice
from acclimate.verbs.planning.luck import ELSEWHERE, luck_of_gain
from acclimate.verbs.planning.plan import Plan
from acclimate.verbs.planning.predictions import Laws
from acclimate.verbs.planning.reading.readings import Reading, Readings
from tests.fixtures.sentences import refused
from tests.planning.tables import planted, planted_drift, planted_gain, settings

Change = Callable[[Reading], Reading]
SHARES = [(share, 1e-4, 20_000.0) for share in (0.25, 0.5, 0.75, 0.9)]
NORMAL = 1.645
ROW = settings(rates=(1e-4,))


def on_the_law(one: Reading) -> Reading:
    """Without luck, as four runs may lie by chance."""
    rate, tokens = one.learning_rate, one.tokens
    return replace(one, drift=planted_drift(one.share, rate, tokens), gain=planted_gain(rate, tokens))


def changed(table: Readings, change: Change) -> Readings:
    return replace(table, readings=tuple(map(change, table.readings)))


def test_four_runs_on_a_curve_have_the_noise_of_a_run_all_the_same() -> None:
    one = Advice(Laws(changed(planted(SHARES), on_the_law)), 0.1, 20_000).best.drift
    assert math.log(one.high / one.low) > 2 * NORMAL * USUAL[DRIFT] * math.sqrt(USUAL_FREEDOM / (USUAL_FREEDOM + 2))


def test_seeds_of_a_table_count_from_four_degrees_of_freedom_on() -> None:
    few, many = planted(SHARES[:3], seeds=2), planted(SHARES, seeds=2)
    assert not luck_of_gain(few).own
    assert luck_of_gain(few).size == ELSEWHERE["bits/byte"]
    own = luck_of_gain(many)
    assert (own.own, own.runs, own.says) == (True, 8, "the luck of seeds over 8 runs")
    gains = np.array([one.gain for one in many.readings]).reshape(4, 2)
    assert own.size == pytest.approx(math.sqrt(gains.var(axis=1, ddof=1).mean()))


def test_two_seeds_that_differ_by_more_are_believed() -> None:
    table = changed(planted(SHARES[:1], seeds=2), lambda one: replace(one, gain=0.2 + 0.1 * (one.seed or 0)))
    assert luck_of_gain(table).size == pytest.approx(0.1 / math.sqrt(2))


def test_gain_in_nats_has_a_luck_of_its_own() -> None:
    assert luck_of_gain(replace(planted(SHARES), gain_unit="nats/token")).size == ELSEWHERE["nats/token"]


def test_a_gain_of_0_everywhere_has_no_law() -> None:
    laws = Laws(changed(planted(SHARES), lambda one: replace(one, gain=0.0)))
    assert laws.untold[GAIN] == "Cannot tell: gain on the domain is 0 for every run."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drift": [0.1, math.nan, 0.3, 0.4]}, "Row 2 of the table holds no finite number under 'drift'."),
        ({"rate": [1e-4, math.nan, 2e-4, 4e-4]}, "Row 2 of the table holds no finite number under 'rate'."),
        ({"drift": [0.1, 0.2, 0.3]}, "Columns of the table have different lengths: rate 4, drift 3."),
        ({"drift": None}, "No column of the table is called 'drift'; needed are drift, rate."),
    ],
)
def test_a_wrong_table_is_told_by_its_row(change: dict[str, list[float] | None], said: str) -> None:
    table = {"rate": [1e-4, 2e-4, 3e-4, 4e-4], "drift": [0.1, 0.2, 0.3, 0.4]} | change
    with refused(said, UsageError):
        judge("drift", {name: column for name, column in table.items() if column is not None}, {"rate"})


def test_a_gain_of_0_is_a_sentence() -> None:
    with refused("gain is 0 in every row, so it has no noise to be in parts of; leave gain out.", UsageError):
        judge("gain", {"tokens": [1.0, 2.0, 3.0], "gain": [0.0, 0.0, 0.0]}, {"tokens"})


def test_usual_noise_is_of_two_outcomes() -> None:
    with refused("Noise is known of drift or gain; 'drit' is neither. Did you mean 'drift'?", UsageError):
        usual_noise("drit", np.ones(2))


def test_the_page_says_what_counts_beside_its_runs() -> None:
    def said(points: list[tuple[float, float, float]]) -> list[str]:
        return [note for note in Plan(Advice(Laws(planted(points)), 0.1, 20_000)).page.notes if "lie off" in note]

    assert said(SHARES) == [
        "How far runs lie off their laws is told by these runs, and by earlier ones of SmolLM2-135M. Those count as 4 "
        "degrees of freedom: 9.7 % of drift, a KL; 1.06 % of the largest gain."
    ]
    (over_rates,) = said(settings())
    assert "11.3 % of drift" in over_rates  # a factor of 4 in the rate


@pytest.mark.parametrize(
    ("points", "change", "keep", "tokens", "word"),
    [
        (ROW, lambda one: one, 0.1, 20_000, "Within the limit"),
        (settings(shares=(0.5,)), lambda one: one, 0.2, 20_000, "Within the limit"),
        (settings()[:3], lambda one: one, 0.1, 20_000, "Too little to tell"),
        (ROW, lambda one: one, 0.1, 1e12, "Too little to tell"),
        (ROW, lambda one: one, 1e-6, 20_000, "Nothing keeps the limit beyond doubt"),
        (settings(shares=(0.5,)), lambda one: one, 1e-6, 20_000, "Nothing keeps the limit beyond doubt"),
        (ROW, lambda one: replace(one, drift=0.0), 0.1, 20_000, "What is forgotten cannot be told"),
        (ROW, lambda one: replace(one, gain=-one.gain), 0.1, 20_000, "Nothing is learned"),
    ],
)
def test_only_a_setting_within_the_limit_is_shown_as_advice(
    points: list[tuple[float, float, float]], change: Change, keep: float, tokens: float, word: str
) -> None:
    page = Plan(Advice(Laws(changed(planted(points), change)), keep, tokens)).page
    assert page.word == word
    assert page.kind == ("kept" if word == "Within the limit" else "unclear")
    assert "inf" not in page.answer
