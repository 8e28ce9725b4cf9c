"""Answers of planted tables: what is told lies where it was planted, and what cannot be told says so."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from acclimate.laws.anchored import DRIFT, GAIN, drift_forms
from acclimate.types.errors import UsageError
from acclimate.verbs.planning.advice import CONTROL, DOUBLE, PLAN, Advice
from acclimate.verbs.planning.answers import QUESTIONS, Answer, answers, repeating, share, turning, twice
from acclimate.verbs.planning.design import choose_runs
from acclimate.verbs.planning.predictions import Laws, Setting
from acclimate.verbs.planning.reading.readings import Reading, Readings, check, chosen
from tests.fixtures.sentences import refused
from tests.planning.tables import planted, planted_drift, planted_gain, settings

KEEP = 0.1


def advice(table: Readings, keep: float = KEEP, tokens: float = 20_000) -> Advice:
    return Advice(Laws(table), keep, tokens)


def by_key(found: Advice) -> dict[str, Answer]:
    return {one.key: one for one in answers(found)}


@pytest.fixture(scope="module")
def told() -> Advice:
    return advice(planted())


def test_predictions_are_what_was_planted(told: Advice) -> None:
    unseen = [Setting(0.6, 2e-4, 10_000), Setting(0.35, 3e-4, 40_000)]
    for one in told.laws.predict(unseen):
        drift = planted_drift(one.setting.share, one.setting.learning_rate, one.setting.tokens)
        assert one.drift.low < drift < one.drift.high
        assert one.drift.value == pytest.approx(drift, rel=0.1)
        gain = planted_gain(one.setting.learning_rate, one.setting.tokens)
        assert one.gain.value == pytest.approx(gain, abs=0.02)


def test_the_largest_share_keeps_the_limit_and_one_more_does_not(told: Advice) -> None:
    one = told.best
    assert by_key(told)["share"].value == one.setting.share
    assert planted_drift(one.setting.share, one.setting.learning_rate, 20_000) < KEEP
    beyond = planted_drift(min(1.0, one.setting.share + 0.2), one.setting.learning_rate, 20_000)
    assert one.setting.share == 0.9 or beyond > 0.95 * KEEP
    assert all(one.setting.share >= other.setting.share for other in told.by_share if told.keeps(other))


def test_the_rate_is_the_one_of_most_gain_within_the_limit(told: Advice) -> None:
    rate = by_key(told)["learning_rate"].value
    assert rate is not None
    inside = [one for one in told.tried if told.keeps(one)]
    assert max(inside, key=lambda one: one.gain.value).setting.learning_rate == rate


def test_each_prediction_stands_beside_the_nearest_run_and_the_control(told: Advice) -> None:
    assert list(told.beside) == [PLAN, DOUBLE, CONTROL]
    assert told.beside[CONTROL].setting.share == 0.5
    near = told.laws.nearest(Setting(0.26, 1.1e-4, 19_000))
    assert (near.share, near.learning_rate, near.tokens) == (0.25, 1e-4, 20_000)


def test_returns_vanish_where_a_doubling_gains_less_than_noise(told: Advice) -> None:
    found = by_key(told)["returns"]
    assert found.value is not None
    rate = told.best.setting.learning_rate

    def more(tokens: float) -> float:
        return planted_gain(rate, 2 * tokens) - planted_gain(rate, tokens)

    noise, _ = told.noise
    assert more(found.value * 1.5) < noise + 0.01
    assert more(found.value / 2) > noise - 0.01


def test_luck_of_seeds_is_the_noise_where_there_are_seeds() -> None:
    noise, what = advice(planted(settings(rates=(1e-4,)), seeds=3)).noise
    assert what == "the luck of seeds over 18 runs"
    assert 0.001 < noise < 0.004


def test_drift_never_turns_and_repeating_is_counted(told: Advice) -> None:
    found = by_key(told)
    assert found["turning"].value == math.inf
    assert re.search(
        r"rises to .*\. A law that falls again has [\d.]+ % of the weight beside rising ones\.$", found["turning"].says
    )
    assert found["repeating"].value == pytest.approx(1.968, abs=1e-3)
    assert "2 passes over 10,000 tokens are worth 1.97" in found["repeating"].says


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        (None, "Cannot tell: nothing says how many tokens one pass"),
        (40_000, "Nothing is repeated"),
        (2_500, "by 16 next to nothing is left"),
        (1_000, "From 16 passes on another one brings next to nothing"),
        (150, "100 passes over a small part halved"),
    ],
)
def test_the_band_of_repeated_text_is_said(corpus: float | None, says: str, told: Advice) -> None:
    assert says in repeating(advice(replace(told.laws.table, corpus=corpus))).says


def test_a_drift_that_turns_is_told() -> None:
    """Four lengths on both sides of the turn, at 20,000 tokens, with the luck of a few per cent."""

    def falling(one: Reading) -> Reading:
        length = one.tokens / 1e4
        return replace(one, drift=one.drift / length**0.4 * length * math.exp(-length / 2))

    table = planted(settings(shares=(0.5, 0.9), rates=(1e-4,), lengths=(5_000, 20_000, 60_000, 120_000)))
    found = turning(advice(replace(table, readings=tuple(map(falling, table.readings))), tokens=60_000))
    assert found.says.startswith("At ")
    assert found.value == pytest.approx(20_000, rel=0.35)


def test_a_turn_is_told_where_no_form_that_rises_fits() -> None:
    """One share, five lengths, a clean hump: the forms that rise are worse than the mean."""
    points = [(0.5, 1e-4, tokens) for tokens in (2_500.0, 5_000.0, 10_000.0, 20_000.0, 40_000.0, 80_000.0)]
    table = planted(points)
    hump = [replace(one, drift=0.1 * one.tokens / 1e4 * math.exp(-one.tokens / 1e4)) for one in table.readings]
    found = advice(replace(table, readings=tuple(hump)), tokens=40_000)
    assert found.laws.turning == pytest.approx(1, abs=0.05)
    assert turning(found).value == pytest.approx(10_000, rel=0.2)


def test_weights_that_tie_are_not_advised_away() -> None:
    table = planted()
    weighed = [replace(one, weight=float(number % 3)) for number, one in enumerate(table.readings)]
    assert Laws(replace(table, readings=tuple(weighed))).usual("weight") == 2


def test_a_turn_that_is_not_beyond_doubt_is_not_told() -> None:
    table = planted(settings(shares=(0.5, 0.9), rates=(1e-4,), lengths=(5_000, 10_000, 20_000)))
    bent = {5_000: 1.0, 10_000: 1.0, 20_000: 0.72}
    flat = [replace(one, drift=one.drift * bent[int(one.tokens)]) for one in table.readings]
    found = turning(advice(replace(table, readings=tuple(flat))))
    assert found.value is None
    assert "but no measured length is beyond doubt below it" in found.says
    assert found.run == "one at several lengths, at the advised setting"


def test_few_runs_without_steps_say_nothing_of_a_turn() -> None:
    table = planted([(0.5, 1e-4, 5_000.0), (0.5, 1e-4, 10_000.0), (0.5, 1e-4, 20_000.0)])
    found = turning(advice(table))
    assert found.value is None
    assert "too few to try a law that falls again, and none was measured at several steps" in found.says


def test_a_drift_that_fell_is_no_never() -> None:
    steps = [Reading("long", "mol", 5_000 * step, 0.5, 1e-4, gain=0.1, drift=0.1 / step, step=step) for step in (1, 2)]
    table = replace(planted(), readings=(*planted().readings, *steps))
    found = turning(advice(table))
    assert found.value is None
    assert "drift fell between two steps of long" in found.says


@pytest.mark.parametrize(
    ("points", "key", "says", "run"),
    [
        (
            settings(shares=(0.5,)),
            "share",
            "Cannot tell: every run has a share of 50 %. The learning rate and what more tokens bring can be told. "
            "At 50 % domain, learning rate 0.000224, 20,000 domain tokens drift is 0.074 (0.058 to 0.095), which is "
            "within 0.1 nats a token.",
            "one at 25 % domain",
        ),
        (
            settings(rates=(1e-4,)),
            "learning_rate",
            "Cannot tell: every run has a learning rate of 0.0001. "
            "How much domain and what more tokens bring can be told.",
            "one at a learning rate of 0.0002, and one at 5e-05",
        ),
        (
            settings(lengths=(5_000,)),
            "returns",
            "Cannot tell: every run has 5,000 tokens of the domain. How much domain and the learning rate can be told.",
            "one of 10,000 tokens of the domain",
        ),
    ],
)
def test_what_no_run_varies_cannot_be_told_and_the_rest_can(
    points: list[tuple[float, float, float]], key: str, says: str, run: str
) -> None:
    found = by_key(advice(planted(points), tokens=points[-1][2]))
    assert found[key].value is None
    assert found[key].says == says
    assert found[key].run == run
    assert sum(one.told for one in found.values()) >= 3


def test_a_limit_that_nothing_keeps(told: Advice) -> None:
    found = share(Advice(told.laws, 0.001, 20_000))
    assert found.value is None
    assert found.says.startswith("No measured share keeps drift within 0.001 nats a token beyond doubt. The least is ")
    assert found.run.startswith("one at 12.5 % domain")


def test_a_limit_that_all_keep_names_the_edge(told: Advice) -> None:
    found = share(Advice(told.laws, 10.0, 20_000))
    assert found.value == 0.9
    assert found.edge == "90 % is the largest share that was measured; more may do"
    assert found.run == "one at 95 % domain"


def test_far_lengths_are_not_told(told: Advice) -> None:
    found = twice(Advice(told.laws, KEEP, 60_000))
    assert found.value is None
    assert "more than 4 times the most that was measured" in found.says
    assert found.run == "one of 60,000 tokens of the domain"


def test_no_drift_no_share() -> None:
    table = planted()
    table = replace(table, readings=tuple(replace(one, drift=math.nan) for one in table.readings))
    found = by_key(advice(table))
    assert found["share"].says == "Cannot tell: no run measured KL(base‖tuned)."
    assert found["learning_rate"].told


def test_other_text_that_got_easier_has_no_law_of_drift() -> None:
    table = planted()
    table = replace(table, readings=(replace(table.readings[0], drift=-0.01), *table.readings[1:]))
    assert "other text got no harder there" in Laws(table).untold[DRIFT]
    assert GAIN not in Laws(table).untold


def test_every_question_has_an_answer(told: Advice) -> None:
    assert list(by_key(told)) == list(QUESTIONS)


def test_one_method_is_planned_for() -> None:
    mol = planted()
    plain = tuple(replace(one, run=f"s{one.run}", method="sft", share=1.0, drift=2 * one.drift) for one in mol.readings)
    found = chosen(replace(mol, readings=(*mol.readings, *plain)))
    assert {one.method for one in found.control} == {"sft"}
    assert max(one.share for one in found.readings) == 1.0  # sft is mol at share 1
    ewc = tuple(replace(one, run=f"e{one.run}", method="ewc") for one in mol.readings)
    with refused("…these runs are of 2: mol, ewc. Name one with --only…", UsageError):
        chosen(replace(mol, readings=(*mol.readings, *ewc)))
    with refused("--only: no run is of 'mool'; accepted: mol. Did you mean 'mol'?", UsageError):
        chosen(mol, ["mool"])


def test_seeds_and_lengths_that_differ_by_a_row_are_one_setting() -> None:
    points = [(0.5, 1e-4, 20_000), (0.505, 1e-4, 20_100), (0.9, 1e-4, 20_000)]
    table = planted(points)
    assert table.settings == 2
    with refused("Nothing can be planned from 2 settings…", UsageError):
        check(table)


def test_the_design_tells_more_than_neighbours_do() -> None:
    """Its slopes leave smaller errors of the parameters than the first rows would."""
    points = settings(shares=(0.25, 0.5, 0.75, 0.9), rates=(1e-4, 2e-4, 4e-4))
    columns = dict(zip(("share", "rate", "tokens"), np.array(points).T, strict=True)) | {"weight": np.ones(len(points))}
    form = drift_forms({"share", "rate", "tokens"})[0]
    rows = choose_runs(columns, [form], 6)
    assert rows == sorted(set(rows))
    assert len(rows) == 6
    for name in ("share", "rate", "tokens"):
        assert np.ptp(columns[name][rows]) == np.ptp(columns[name])
    assert rows == choose_runs(columns, [form], 6)
