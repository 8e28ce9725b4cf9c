"""How many probes of which length: what they cost is known beforehand, and never more than that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.config.load import parse_config
from acclimate.types.errors import ConfigError, RunError
from acclimate.verbs.search.candidate import Candidate, candidates
from acclimate.verbs.search.rule import Found, choose, go_on, probe_rate
from acclimate.verbs.search.rungs import KEPT, SHORTEST, going_on, ladder
from tests.fixtures.runs import settings as plain
from tests.fixtures.sentences import refused

SFT = [Candidate("sft", rate, None, None) for rate in (2e-4, 1e-4, 4e-4)]
MOL = [Candidate("mol", rate, 0.5, None) for rate in (2e-4, 1e-4, 4e-4)]
MORE = [Candidate("mol", rate, share, None) for share in (0.67, 0.8) for rate in (2e-4, 1e-4, 4e-4)]
EVERY = [*SFT, *MOL, *MORE]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("moll", "search.methods: there is no method 'moll'; …Did you mean 'mol'?"),
        ({"name": "mol", "kl_wieght": 2}, "search.methods.kl_wieght: there is no such key. Did you mean 'kl_weight'?"),
        ("wise", "search.methods: 'wise' chooses its weights after training, as the budget does …; leave it out."),
    ],
)
def test_a_method_that_cannot_be_tried(method: Any, sentence: str) -> None:
    rates = {"learning_rates": [1e-3, 2e-3, 4e-3], "lora": [False]}
    data = plain(
        Path("m"), Path("c"), Path("o"), method="auto", retain={"kl": 0.1}, search={"methods": [method], **rates},
        evaluation={"validation_documents": 2}, optimizer={"learning_rate": 5e-5},
    )  # fmt: skip
    with refused(sentence, ConfigError):
        candidates(parse_config(data))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"methods": [3]}, "configuration: search.methods: 3 is no method; accepted: a name, or a section …"),
        ({"learning_rates": "1e-4"}, "configuration: search.learning_rates: '1e-4' lists no …; accepted: [1e-4, …"),
        ({"learning_rates": {"ful": [1e-4]}}, "configuration: search.learning_rates: {'ful': …} lists no … full and …"),
        ({"learning_rates": {}}, "configuration: search.learning_rates: {} lists no learning rates; …"),
    ],
)
def test_one_sentence_for_a_wrong_setting(section: dict[str, Any], sentence: str) -> None:
    with refused(sentence, ConfigError) as error:
        parse_config(plain(Path("m"), Path("c"), Path("o"), method="auto", search=section))
    assert len(str(error.value).splitlines()) == 1


def cost(one: Candidate, steps: int) -> float:
    return steps * (3.0 if one.share is None else 3 + 6 * (1 - one.share) / 0.5)


def test_one_rung_where_all_can_be_paid_for() -> None:
    made = ladder(EVERY, 6, 6, 1000, cost)
    assert [(rung.steps, rung.probes) for rung in made.rungs] == [(6, 12)]
    assert made.cost == sum(cost(one, 6) for one in EVERY)


def test_shorter_rungs_first_where_not_all_can() -> None:
    made = ladder(EVERY, 6, 27, 1700, cost)
    assert [rung.steps for rung in made.rungs] == [9, 27]
    assert [rung.probes for rung in made.rungs] == [12, 5]  # a third, and the best of sft
    assert not made.untried


def test_what_comes_last_is_left_out_and_said() -> None:
    made = ladder(EVERY, 6, 6, 300, cost)
    assert (*made.tried, *made.untried) == tuple(EVERY)
    assert 6 <= len(made.tried) < 12
    assert made.cost <= 300 < made.cost + cost(made.untried[0], 6)


def test_the_required_are_tried_in_shorter_probes() -> None:
    made = ladder(EVERY, 6, 6, 150, cost)
    assert len(made.tried) == 6
    assert [rung.steps for rung in made.rungs] == [4]


def test_too_little_to_tell_anything() -> None:
    with refused("search.length: a probe may have 2 steps…; raise the budget or search.length…", ConfigError):
        ladder(EVERY, 6, 2, 1e9, cost)
    with refused("search.cost: 6 probes of 3 steps cost 108 forwards, more than the 100…raise…", ConfigError):
        ladder(EVERY, 6, 6, 100, cost)


@given(
    st.integers(SHORTEST, 200),
    st.floats(1, 50),
    st.integers(0, 2**31),
    st.lists(st.tuples(st.floats(-5, 40), st.floats(0.01, 9)), min_size=12, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_no_way_through_the_rungs_costs_more_than_was_promised(
    longest: int, times: float, seed: int, shown: list[tuple[float, float]]
) -> None:
    limit = times * 100 * longest / 10
    try:
        made = ladder(EVERY, 6, longest, limit, cost)
    except ConfigError:
        return
    going, count, spent = list(made.tried), len(made.tried), 0.0
    assert made.rungs[-1].steps <= longest
    for number, rung in enumerate(made.rungs, 1):
        assert len(going) <= rung.probes
        spent += sum(cost(one, rung.steps) for one in going)
        found = [Found("a", one, rung.steps, "finished", *shown[EVERY.index(one)]) for one in going]
        if number < len(made.rungs):
            count = going_on(count)
            going = go_on(found, count, 0.5)
            assert any(one.label == "sft" for one in going)
    assert spent <= made.cost + 1e-6 <= limit + 2e-6


FOUND = Found("a", MOL[0], 6, "finished", 19.0, 1.0)
CHEAP = replace(FOUND, candidate=SFT[0], gain=20.0, spent=2.0)


def test_gain_beyond_the_budget_counts_as_far_as_it_would_be_left_within() -> None:
    assert FOUND.held(0.5) == 19.0
    assert CHEAP.held(0.5) == pytest.approx(20 / 2**0.5)
    assert CHEAP.held(1.0) == 10.0
    assert replace(CHEAP, steered=True).held(1.0) == 20.0  # a strength can still halve it
    assert replace(CHEAP, spent=4.0, steered=True).held(1.0) == 10.0
    assert replace(CHEAP, gain=-3.0).held(0.5) == -3.0
    chosen, why = choose([FOUND, CHEAP], 0.5)
    assert chosen is FOUND
    assert why == (
        "Of 2 probes of 6 steps, mol, all weights, learning rate 0.0002, 50% domain gained most within the budget."
    )


def test_of_equal_gains_the_one_that_forgot_less() -> None:
    least = replace(FOUND, candidate=MOL[1], gain=18.7, spent=0.4)
    chosen, why = choose([FOUND, least, CHEAP], 0.5)
    assert chosen is least
    assert "spent least of the budget among those with 98% of the largest gain" in why
    assert choose([FOUND, replace(least, gain=18.5)], 0.5)[0] is FOUND


def test_a_probe_that_diverged_is_not_chosen_and_all_are_a_sentence() -> None:
    lost = Found("a", MOL[2], 6, "diverged")
    assert choose([lost, FOUND], 0.5)[0] is FOUND
    low = replace(lost, candidate=replace(MOL[2], learning_rate=1e-3))
    high = replace(lost, candidate=replace(MOL[2], learning_rate=3e-2))
    sentence = "All 2 probes of 6 steps diverged (…), at learning rates from 0.001 to 0.03. … [1e-04, 3e-04]. …"
    with refused(sentence, RunError):
        choose([high, low], 0.5)
    with refused("The only probe of 6 steps diverged …, at learning rates of 0.001. …", RunError):
        choose([low], 0.5)
    assert "No probe gained anything" in choose([replace(FOUND, gain=-1.0), replace(CHEAP, gain=-2.0)], 0.5)[1]


def test_a_short_run_has_a_higher_learning_rate() -> None:
    assert probe_rate(2e-4, 41, 41) == 2e-4
    assert probe_rate(2e-4, 6, 41) == pytest.approx(2e-4 * (41 / 6) ** 0.32)
    assert probe_rate(2e-4, 1, 10**6) == pytest.approx(4e-4)
    assert probe_rate(0.9, 1, 10**6) == 1.0
    assert KEPT == 3
