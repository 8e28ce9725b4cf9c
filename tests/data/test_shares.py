from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import Delayed, Shares, constant, linear, stages
from acclimate.types.errors import ConfigError
from tests.data.test_loader import COMPARES, same
from tests.data.test_mix import packed

share_strategy = st.lists(st.just(0.0) | st.floats(1e-6, 1), min_size=4, max_size=4)
"""A share of a billionth is nothing that a quota of tokens could be told by."""
knot_strategy = st.dictionaries(st.integers(1, 900), share_strategy.filter(any), max_size=5)


def named(shares: list[float]) -> dict[str, float]:
    return dict(zip("abcd", shares, strict=True))


forms = st.sampled_from([linear, stages])


@settings(max_examples=50, deadline=None)
@given(share_strategy.filter(any), knot_strategy, st.lists(st.integers(1, 16), min_size=4, max_size=4), forms)
def test_every_source_stays_within_one_row_of_a_moving_quota(
    first: list[float], later: dict[int, list[float]], lengths: list[int], form: Any
) -> None:
    shares = form({0: named(first)} | {place: named(given) for place, given in later.items()})
    mix = Mixer({name: packed(name, [n, 16]) for name, n in zip("abcd", lengths, strict=True)}, shares)
    for _ in range(80):
        mix.next_row()
        total = sum(mix.trained.values())
        assert sum(shares.quota(total, name) for name in "abcd") == pytest.approx(total)
        for name in "abcd":
            assert abs(mix.trained[name] - shares.quota(total, name)) <= 16 + 1e-5


@settings(max_examples=40, deadline=None)
@given(share_strategy.filter(any), knot_strategy, st.floats(0, 1200), forms)
def test_a_quota_is_the_integral_of_its_share_and_is_reached_where_it_is(
    first: list[float], later: dict[int, list[float]], tokens: float, form: Any
) -> None:
    shares = form({0: named(first)} | {place: named(given) for place, given in later.items()})
    places = (np.arange(1000) + 0.5) * tokens / 1000
    for names in ("a", "ad"):
        mean = np.mean([sum(shares(place)[name] for name in names) for place in places])
        assert shares.quota(tokens, *names) == pytest.approx(mean * tokens, abs=3)
        quota = shares.quota(tokens, *names)
        assert (
            shares.reached(quota, *names) <= tokens + 1e-4 * (1 + tokens) or shares.reached(quota, *names) == math.inf
        )
        if shares.reached(quota, *names) < math.inf:
            assert shares.quota(shares.reached(quota, *names), *names) == pytest.approx(quota, abs=1e-6)


@given(st.floats(0.001, 1), st.integers(0, 10**9))
def test_a_constant_share_is_bitwise_a_product(share: float, tokens: int) -> None:
    shares = constant({"a": share, "b": 0.7})
    part = share / (share + 0.7)
    for same_shares in (shares, linear({0: {"a": share, "b": 0.7}}), Delayed(shares(0))):
        assert same_shares.quota(tokens, "a") == part * tokens
        assert same_shares.reached(tokens, "a") == tokens / part


def test_a_source_without_share_waits() -> None:
    shares = linear({0: {"a": 1, "b": 0}, 100: {"a": 1, "b": 0}, 101: {"a": 0, "b": 1}})
    mix = Mixer({"a": packed("a", [10]), "b": packed("b", [10])}, shares)
    drawn = [mix.next_row()[0] for _ in range(30)]
    assert drawn[:10] == ["a"] * 10
    assert drawn[12:] == ["b"] * 18
    assert shares.reached(102, "a") == math.inf


@pytest.mark.parametrize(
    ("knots", "says"),
    [
        ({}, "the knots are at no tokens; give one at 0"),
        ({5: {"a": 1}}, "the knots are at 5 tokens; give one at 0"),
        ({0: {"a": 1}, 7: {"b": 1}}, "the knot at 7 is for b, the first for a"),
        ({0: {"a": -1}}, "that of 'a' is -1; accepted: finite numbers of 0 or more"),
        ({0: {"a": 0, "b": 0}}, "those of a, b are all 0"),
    ],
)
def test_knots_that_share_nothing(knots: dict[float, dict[str, float]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        linear(knots)


def loader(shares: Shares, count: str = "all", **settings: Any) -> Loader:
    random = np.random.default_rng(1)
    sources = {name: packed(name, random.integers(1, 40, 20).tolist()) for name in shares(0)}
    return Loader(Mixer(sources, shares), count, 64, 2, COMPARES, **settings)


def test_a_budget_does_not_count_a_source_that_ends() -> None:
    ending = linear({0: {"a": 1, "b": 1}, 900: {"a": 0, "b": 1}})
    with pytest.raises(ConfigError, match=r"count is 'a', but its share .* 0 before 640\b"):
        loader(ending, "a", last_step=10)
    data = loader(ending, "a", last_step=3, goal=192)
    for _ in range(3):
        data.next_step()
    assert data.counted >= 192
    assert abs(data.mixer.trained["b"] - ending.quota(ending.reached(data.counted, "a"), "b")) <= 16


def moving(step: int) -> dict[str, float]:
    return {"a": 1.0, "b": 1.0 + step % 3 * 4, "c": 2.0}


def steps_of(data: Any, shares: Delayed, first: int, last: int) -> list[Any]:
    found = []
    for step in range(first, last):
        found.append(data.next_step())
        if step % 4 != 3:
            shares.push(step, moving(step))
    return found


def test_pushed_shares_act_two_steps_later_however_far_ahead_the_loader_is() -> None:
    shares = [Delayed(moving(0)) for _ in range(3)]
    plain, ahead = loader(shares[0]), Prefetch(loader(shares[1]))
    expected, found = steps_of(plain, shares[0], 1, 20), steps_of(ahead, shares[1], 1, 20)
    assert all(same(*steps) for steps in zip(expected, found, strict=True))
    assert ahead.state_dict() == plain.state_dict()
    ahead.close()
    alone = loader(shares[2])
    unmoved = [alone.next_step() for _ in range(19)]
    changed = [not same(*steps) for steps in zip(expected, unmoved, strict=True)]
    assert not any(changed[:2])  # moved after step 1, the third is the first to differ
    assert changed[2]


@pytest.mark.parametrize("taken", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("prefetch", [False, True])
def test_pushed_shares_are_saved_while_they_wait(taken: int, prefetch: bool) -> None:
    shares = Delayed(moving(0))
    data: Any = Prefetch(loader(shares)) if prefetch else loader(shares)
    steps_of(data, shares, 1, taken + 1)
    state = json.loads(json.dumps(data.state_dict()))
    after = steps_of(data, shares, taken + 1, 16)
    data.close()
    again = Delayed(moving(1))
    resumed: Any = Prefetch(loader(again)) if prefetch else loader(again)
    resumed.load_state_dict(state)
    found = steps_of(resumed, again, taken + 1, 16)
    assert all(same(*steps) for steps in zip(after, found, strict=True))
    resumed.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 0.95), min_size=12, max_size=12))
def test_two_sources_stay_within_one_row_of_what_was_pushed(parts: list[float]) -> None:
    shares = Delayed({"a": 0.5, "b": 0.5})
    data = loader(shares)
    for step, part in enumerate(parts, 1):
        data.next_step()
        shares.push(step, {"a": part, "b": 1 - part})
        for name in "ab":
            assert abs(data.mixer.trained[name] - shares.quota(data.counted, name)) <= 16 + 1e-6


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"a": 1.0, "b": 0.0}, "The share of 'b' is pushed to 0; accepted: numbers above 0"),
        ({"a": 1.0, "b": math.nan}, "The share of 'b' is pushed to nan"),
        ({"a": 1.0}, "Shares are pushed for a; the run has a, b"),
    ],
)
def test_shares_that_would_starve_a_source_are_not_pushed(shares: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Delayed({"a": 0.5, "b": 0.5}).push(1, shares)
