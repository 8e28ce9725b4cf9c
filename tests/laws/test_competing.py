"""Competing laws: what they weigh, when they do not answer, and that their intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acclimate.laws.anchored import drift_forms, gain_forms
from acclimate.laws.competing import Judged, compete
from acclimate.types.errors import UsageError

VARIED = {"share", "tokens"}


def table(noise: float = 0.0, seed: int = 0, runs: int = 6) -> dict[str, np.ndarray]:
    """Drift by the form ``root``."""
    columns = {
        "share": np.array([1.0, 0.95, 0.9, 0.75, 0.5, 1.0, 0.5])[:runs],
        "weight": np.ones(runs),
        "tokens": np.array([4e3, 32e3, 8e3, 16e3, 4e3, 16e3, 32e3])[:runs],
    }
    return {**columns, "drift": truth(columns) * np.exp(noise * np.random.default_rng(seed).standard_normal(runs))}


def truth(columns: dict[str, np.ndarray]) -> np.ndarray:
    return 0.4 * (columns["tokens"] / 1e4) ** 0.3 / np.sqrt(1 + 15 * columns["weight"] * (1 - columns["share"]))


def points(**columns: list[float]) -> dict[str, np.ndarray]:
    whole = {"share": [0.8], "weight": [1.0], "tokens": [1e4], **columns}
    return dict(zip(whole, np.broadcast_arrays(*(np.array(one) for one in whole.values())), strict=True))


def test_intervals_cover_new_runs_and_are_narrower_than_the_spread() -> None:
    """25 tables of six runs with 8 % noise: 90 % are to be covered. 82 of 100 is three standard errors below that, the
    points of a table being alike; benchmarks/law_coverage.py counts more.
    """
    inside, widths, half = [], [], []
    for seed in range(25):
        runs = table(0.08, seed)
        judged = compete(drift_forms(VARIED), runs, unit="nats/token")
        asked = points(share=[0.8, 0.95, 0.6, 1.0], tokens=[6e3, 12e3, 24e3, 10e3])
        new = truth(asked) * np.exp(0.08 * np.random.default_rng([seed, 1]).standard_normal(4))
        for outcome, wide, narrow in zip(new, judged.predict(asked), judged.predict(asked, level=0.5), strict=True):
            inside.append(wide.low <= outcome <= wide.high)
            half.append(narrow.low <= outcome <= narrow.high)
            widths.append((wide.high - wide.low) / np.ptp(runs["drift"]))
    assert 0.82 <= np.mean(inside) <= 1
    assert np.mean(half) < 0.85
    assert np.mean(np.array(widths) < 1) >= 0.8


def test_the_form_that_made_the_runs_is_not_outvoted() -> None:
    judged = compete(drift_forms(VARIED), table(runs=7))
    assert judged.weights["root"] > judged.weights["floor"]
    assert sum(judged.weights.values()) == pytest.approx(1)
    assert judged.error < 0.1 * judged.none
    (found,) = judged.predict(points())
    assert found.value == pytest.approx(truth(points())[0], rel=0.05)
    assert found.n == found.independent == 7


def test_the_same_seed_gives_the_same_interval() -> None:
    judged = compete(drift_forms(VARIED), table(0.05))
    assert judged.predict(points()) == judged.predict(points())
    assert judged.predict(points(), seed=1) != judged.predict(points())


def test_noise_and_distance_widen() -> None:
    def width(judged: Judged, **asked: list[float]) -> float:
        (found,) = judged.predict(points(**asked))
        return math.log(found.high / found.low)

    calm, loud = compete(drift_forms(VARIED), table(0.02)), compete(drift_forms(VARIED), table(0.2))
    assert width(loud) > 2 * width(calm)
    assert width(calm, tokens=[128e3]) > 2 * width(calm, tokens=[32e3]) > 0


def test_seeds_of_one_setting_are_left_out_together() -> None:
    runs = table(0.1)
    once = compete(drift_forms(VARIED), runs)
    twice = compete(drift_forms(VARIED), {name: np.concatenate([column, column]) for name, column in runs.items()})
    assert twice.error == pytest.approx(once.error, rel=0.05)


def test_steps_of_a_run_are_no_runs() -> None:
    """Four runs of six checkpoints whose offsets are all the noise: counted as 24 runs the interval is too narrow."""
    run = np.repeat(np.arange(4), 6)
    offsets = np.array([0.15, -0.1, 0.12, -0.14])[run]
    columns = {
        "share": np.array([1.0, 0.9, 0.75, 0.5])[run],
        "weight": np.ones(24),
        "tokens": np.tile(2e3 * 2.0 ** np.arange(6), 4),
    }
    runs = {**columns, "drift": truth(columns) * np.exp(offsets)}
    grouped, loose = compete(drift_forms(VARIED), runs, groups=list(run)), compete(drift_forms(VARIED), runs)
    (wide,), (narrow,) = grouped.predict(points()), loose.predict(points())
    assert wide.independent == 4
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
    assert wide.low <= truth(points())[0] <= wide.high


def test_an_effect_that_is_not_there_is_not_found() -> None:
    """Gain that hardly varies: the flat form competes, and the interval is that of one more run."""
    gain = 0.26 + 0.003 * np.random.default_rng(0).standard_normal(6)
    runs = {"share": np.array([1, 0.95, 0.9, 0.75, 0.5, 0.6]), "weight": np.ones(6), "gain": gain}
    judged = compete(gain_forms({"share"}), runs)
    (found,) = judged.predict({"share": np.array([0.8]), "weight": np.ones(1)})
    assert found.low < 0.26 < found.high
    assert found.high - found.low < 0.03


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tokens": [200e3]}, "tokens 200000 is more than 4 times the most that was measured (32000)"),
        ({"tokens": [500.0]}, "tokens 500 is less than the least that was measured (4000) by 4 times"),
        ({"share": [0.1]}, "share 0.1 is too far outside of what was measured (0.5 to 1)"),
        ({"weight": [3.0]}, "every run has weight 1, so nothing shows what 3 does"),
    ],
)
def test_far_away_there_is_no_interval(asked: dict[str, list[float]], said: str) -> None:
    judged = compete(drift_forms(VARIED), table(0.05))
    assert judged.reason is None
    assert judged.refusals(points(**asked)) == [f"cannot tell: {said}"]
    (found,) = judged.predict(points(**asked))
    assert not found.bounded
    assert math.isfinite(found.value)


def test_what_no_form_reads_says_how_far_a_point_is() -> None:
    judged = compete(drift_forms(VARIED), {**table(0.05), "rate": np.full(6, 2e-4)})
    assert judged.refusals({**points(), "rate": np.array([5e-4])}) == [
        "cannot tell: every run has rate 0.0002, so nothing shows what 0.0005 does"
    ]


def test_a_rate_may_not_lie_as_far_outside_as_tokens() -> None:
    runs = {"rate": np.array([1e-4, 1.5e-4, 2e-4, 3e-4, 4e-4]), "drift": np.array([0.12, 0.2, 0.27, 0.38, 0.45])}
    judged = compete(drift_forms({"rate"}), runs)
    inside, low = judged.refusals({"rate": np.array([6e-4, 4e-5])})
    assert inside is None
    assert low == "cannot tell: rate 4e-05 is less than the least that was measured (0.0001) by 2 times"


def test_too_few_runs_are_a_sentence() -> None:
    few = compete(drift_forms(VARIED), table(runs=3))
    assert few.reason == (
        "cannot tell: 3 runs at 3 settings; the smallest form has 3 parameters, "
        "and needs one setting and one run more than that"
    )
    (found,) = few.predict(points())
    assert not found.bounded
    one = {name: np.repeat(column[:1], 3) for name, column in table().items()}
    assert "all 3 rows are of one setting" in str(compete(drift_forms(VARIED), one).reason)


def test_runs_that_no_form_describes_are_a_sentence() -> None:
    runs = table(runs=7) | {"drift": np.array([0.1, 0.1, 3.0, 0.1, 2.0, 2.5, 0.1])}
    judged = compete(drift_forms(VARIED), runs)
    assert "by the mean of the others, so no form describes these runs" in str(judged.reason)
    assert [found.bounded for found in judged.predict(points(share=[0.8, 0.9]))] == [False, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drift": np.array([0.1, 0, 0.1, 0.1, 0.1, 0.1])}, "Row 2 of the table has drift 0; the form 'root'"),
        ({"tokens": np.array([1, 2, 3, math.nan, 5, 6])}, "Row 4 of the table holds no finite number under 'tokens'"),
        ({"tokens": np.ones(5)}, "different lengths: share 6"),
    ],
)
def test_wrong_tables_are_sentences(change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compete(drift_forms(VARIED), table() | change)


def test_wrong_arguments_are_sentences() -> None:
    runs = table()
    with pytest.raises(UsageError, match="table is called 'tokens'; needed are drift, share"):
        compete(
            drift_forms(VARIED),
            {name: column for name, column in runs.items() if name != "tokens"} | {"drift": runs["drift"]},
        )
    with pytest.raises(UsageError, match="groups names the run of each row: 6 are needed, 2 are given"):
        compete(drift_forms(VARIED), runs, groups=["a", "b"])
    with pytest.raises(UsageError, match="one outcome; these predict drift, gain"):
        compete([*drift_forms(VARIED), *gain_forms(VARIED)], runs)
    with pytest.raises(UsageError, match="No column of the points is called 'weight'"):
        compete(drift_forms(VARIED), runs).predict({"share": np.array([0.5]), "tokens": np.array([1e4])})
