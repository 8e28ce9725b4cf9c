"""The race of priorities: its planted numbers, the random race that it stands for, and every row once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.shares import Race
from tests.data.test_loader import COMPARES, same
from tests.data.test_mix import packed

TWO = Race({"a": 100, "b": 100}, {"a": 16, "b": 1})


@pytest.mark.parametrize(("drawn", "expected"), [(50, 46.20), (100, 87.72), (150, 99.998)])
def test_planted_expectations(drawn: int, expected: float) -> None:
    assert TWO.quota(drawn, "a") == pytest.approx(expected, abs=0.005)
    assert TWO.quota(drawn, "a", "b") == pytest.approx(drawn)


@pytest.mark.parametrize("drawn", [20, 50, 100, 150, 190])
def test_it_is_what_a_race_of_clocks_gives_on_average(drawn: int) -> None:
    """Each item has a clock of Exp(1) / pi, and the first so many are drawn."""
    priorities, trials = np.repeat([16.0, 1.0], 100), 3000
    clocks = np.random.default_rng(0).exponential(size=(trials, 200)) / priorities
    counts = (np.argsort(clocks, axis=1)[:, :drawn] < 100).sum(1)
    error = counts.std() / np.sqrt(trials) + 0.1  # the mean of a race of 200 is a tenth of an item off its limit
    assert abs(counts.mean() - TWO.quota(drawn, "a")) <= 4 * error


sizes = st.lists(st.integers(1, 10**9), min_size=1, max_size=4)
ratios = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4)


@settings(max_examples=100, deadline=None)
@given(sizes, ratios, st.floats(0, 1))
def test_a_quota_is_reached_where_it_is(counts: list[int], priorities: list[float], part: float) -> None:
    names = [f"s{i}" for i in range(len(counts))]
    race = Race(dict(zip(names, counts, strict=True)), dict(zip(names, priorities, strict=False)))
    tokens = part * sum(counts)
    assert sum(race.quota(tokens, name) for name in names) == pytest.approx(tokens, rel=1e-12)
    assert sum(race(tokens).values()) == pytest.approx(1)
    for name, count in zip(names, counts, strict=True):
        if 0 < (quota := race.quota(tokens, name)) < count * (1 - 1e-6):  # nearer to its end a float cannot tell when
            assert race.reached(quota, name) == pytest.approx(tokens, rel=1e-6)
    assert race.quota(sum(counts), *names) == race.reached(sum(counts), *names) == sum(counts)


rows = st.lists(st.integers(1, 16), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), ratios)
def test_every_row_is_drawn_once_and_within_a_row_of_its_time(
    sources: list[list[int]], priorities: list[float]
) -> None:
    made = {f"s{i}": packed(f"s{i}", lengths) for i, lengths in enumerate(sources)}
    whole = {name: source.packed.trained_tokens for name, source in made.items()}
    race = Race(whole, dict(zip(made, priorities, strict=False)))
    mixer = Mixer(made, race)
    longest = max(source.longest for source in made.values())
    while sum(mixer.trained.values()) < sum(whole.values()):
        mixer.next_row()
        total = sum(mixer.trained.values())
        assert all(abs(mixer.trained[name] - race.quota(total, name)) <= longest + 1e-6 for name in made)
    assert mixer.trained == whole
    assert mixer.epochs == dict.fromkeys(made, 1.0)


@pytest.mark.parametrize("count", ["all", "b"])
def test_a_run_of_one_pass_ends_with_every_row_and_resumes(count: str) -> None:
    def loader() -> Loader:
        random = np.random.default_rng(1)
        made = {name: packed(name, random.integers(1, 40, 20).tolist()) for name in "abc"}
        whole = {name: source.packed.trained_tokens for name, source in made.items()}
        goal = sum(whole.values()) if count == "all" else whole[count]
        race = Race(whole, {"a": 16.0, "b": 1.0, "c": 4.0})
        return Loader(Mixer(made, race), count, 96, 2, COMPARES, last_step=6, goal=goal)

    straight, states = loader(), []
    steps = []
    for _ in range(6):
        states.append(json.loads(json.dumps(straight.state_dict())))
        steps.append(straight.next_step())
    assert straight.mixer.epochs == dict.fromkeys("abc", 1.0)
    for at, state in enumerate(states):
        again = loader()
        again.load_state_dict(state)
        assert all(same(step, again.next_step()) for step in steps[at:])
