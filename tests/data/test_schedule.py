"""Schedules over a run: planted shares, stages on the budget's tokens, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.build.schedule import Asked, Planned, over_run, schedule_of, temperature
from acclimate.config.load import RunConfig, dump_config, load_config, parse_config
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import Shares, constant, linear, stages
from acclimate.types.errors import ConfigError
from acclimate.verbs.record import _chosen
from tests.data.test_loader import COMPARES, same, trained
from tests.data.test_mix import packed

ROW = 16
STEPS, BATCH = 20, 64


def run(sources: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    own = {name: {"path": name} for name in ("domain", "general")}
    own = own if sources is None else {name: {"path": name} | given for name, given in sources.items()}
    return parse_config(
        {"model": {"path": "m"}, "sources": own, "budget": {"steps": STEPS, "batch_tokens": BATCH}} | changes
    )


def planned(config: RunConfig, sizes: dict[str, int | None] | None = None, counted: float = STEPS * BATCH) -> Planned:
    return schedule_of(config, list(config.sources), sizes or dict.fromkeys(config.sources, 5000), counted)


def loader(shares: Shares, count: str = "domain", **settings: Any) -> Loader:
    random = np.random.default_rng(1)
    sources = {name: packed(name, random.integers(1, 40, 20).tolist(), ROW) for name in shares(0)}
    return Loader(Mixer(sources, shares), count, BATCH, 2, COMPARES, last_step=STEPS, **settings)


@pytest.mark.parametrize(("tau", "large", "small"), [(1, 0.9901, 0.0099), (5, 0.7153, 0.2847)])
def test_planted_temperatures(tau: float, large: float, small: float) -> None:
    found = temperature({"en": 1000, "cs": 10}, tau)
    assert found == pytest.approx({"en": large, "cs": small}, abs=5e-5)
    schedule = planned(run({"en": {"route": "domain"}, "cs": {"route": "domain"}}, mixture={"temperature": tau},
                           budget={"steps": 9, "count": "all"}), {"en": 1000, "cs": 10})  # fmt: skip
    assert schedule.shares(0) == pytest.approx(found)
    assert not schedule.shares.moving


def test_dealing_by_temperature_is_weighting_in_expectation() -> None:
    """Gradients of the tokens that are dealt at tau 5, weighted by p_1 / p_5, have the mean of tau 1."""
    sizes, gradient = {"en": 1000, "cs": 10}, {"en": np.array([1.0, -2.0]), "cs": np.array([-3.0, 5.0])}
    one, five = temperature(sizes, 1), temperature(sizes, 5)
    mixer = Mixer({name: packed(name, [ROW, 5]) for name in sizes}, constant(five))
    for _ in range(4000):
        mixer.next_row()
    total = sum(mixer.trained.values())
    mean = sum(mixer.trained[name] / total * one[name] / five[name] * gradient[name] for name in sizes)
    wanted = sum(one[name] * gradient[name] for name in sizes)
    assert (
        np.abs(mean - wanted).max() <= 6 * 2 * ROW / total
    )  # a row too many or too few, by the largest weighted length
    unweighted = sum(mixer.trained[name] / total * gradient[name] for name in sizes)
    assert np.abs(unweighted - wanted).max() > 0.5


def test_cooldown_is_temperature_in_stages() -> None:
    config = run({"domain": {}, "cs": {"route": "domain"}}, mixture={"temperature": {0: 5, 0.5: 1}})
    found = planned(config, {"domain": 1000, "cs": 10})
    half = STEPS * BATCH / 2 / 0.71527  # of all tokens, where half of the domain's are trained on
    assert found.shares(half - 1) == pytest.approx({"domain": 0.7153, "cs": 0.2847}, abs=5e-5)
    assert found.shares(half + 1) == pytest.approx({"domain": 0.9901, "cs": 0.0099}, abs=5e-5)
    assert found.parts == [0.0, 0.5]
    assert found.came_to == {}  # a rule stays a rule in config.yaml


@pytest.mark.parametrize("count", ["domain", "all"])
def test_late_upsampling_is_met_in_the_last_fifth(count: str) -> None:
    web = {"route": "general", "share": {0: 0.34, 0.8: 0}}
    budget = {"steps": STEPS, "batch_tokens": BATCH, "count": count}
    config = run({"domain": {"share": {0: 0.1, 0.8: 0.35}}, "general": {}, "web": web}, budget=budget)
    shares = planned(config).shares
    asked, data, told = Asked(shares, count, BATCH), loader(shares, count), []
    for _ in range(STEPS):
        data.next_step()
        told.append(data.progress())
    late = {key: told[-1][key] - told[15][key] for key in told[-1]}
    for name in config.sources:
        assert abs(late[f"trained_tokens/{name}"] - late[f"asked_tokens/{name}"]) <= 2 * ROW
    wanted = {name: asked.until(20)[name] - asked.until(16)[name] for name in config.sources}
    total = sum(wanted.values())
    assert wanted == pytest.approx({"domain": 0.35 * total, "general": 0.65 * total, "web": 0}, abs=1e-6)
    assert asked.until(16)["domain"] / asked.total(16) == pytest.approx(0.1)


def test_a_budget_of_domain_tokens_integrates_the_schedule() -> None:
    config = run({"domain": {"share": {0: 0.2, 0.8: 0.5}}, "general": {}})
    found, counted = planned(config), STEPS * BATCH
    asked = Asked(found.shares, "domain", BATCH)
    assert asked.total(STEPS) == pytest.approx(0.8 * counted / 0.2 + 0.2 * counted / 0.5)
    assert asked.until(STEPS)["domain"] == pytest.approx(counted)
    stays = [
        {name: n / sum(stage.values()) for name, n in stage.items()} for stage in asked.between(found.parts, STEPS)
    ]
    assert stays == [pytest.approx({"domain": 0.2, "general": 0.8}), pytest.approx({"domain": 0.5, "general": 0.5})]
    assert found.came_to["general"] == pytest.approx({0.0: 0.8, 0.8: 0.5})


def test_a_ramp_grows_in_a_straight_line_to_the_whole_shares() -> None:
    config = run({"domain": {"share": 0.5}, "general": {"share": 0.3}, "chat": {"route": "general", "share": 0.2}},
                 mixture={"ramp": {"start": 0.2, "until": 0.5}})  # fmt: skip
    shares, counted = planned(config).shares, STEPS * BATCH
    assert shares(0) == pytest.approx({"domain": 0.9, "general": 0.06, "chat": 0.04})
    end = 0.5 * counted / 0.7  # of all tokens: the domain's share is 0.7 on average up to there
    assert shares(end / 2) == pytest.approx({"domain": 0.7, "general": 0.18, "chat": 0.12})
    assert shares(end) == pytest.approx({"domain": 0.5, "general": 0.3, "chat": 0.2})
    assert shares.quota(end, "domain") == pytest.approx(counted / 2)


taus = st.dictionaries(st.floats(0.01, 0.99), st.floats(0.5, 20), max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.booleans(), st.integers(0, 19),
       st.sampled_from(["domain", "all"]))  # fmt: skip
def test_any_stage_is_met_within_a_row_and_resumes_anywhere(
    first: float, then: float, at: float, straight: bool, stop: int, count: str
) -> None:
    knots = {part: {"domain": share, "general": 1 - share} for part, share in ((0.0, first), (at, then))}
    shares = (linear if straight else stages)(over_run(knots, STEPS * BATCH, count, straight))
    data, states, steps = loader(shares, count), [], []
    for _ in range(STEPS):
        states.append(json.loads(json.dumps(data.state_dict())))
        steps.append(data.next_step())
        told = data.progress()
        for name in ("domain", "general"):
            assert abs(told[f"trained_tokens/{name}"] - told[f"asked_tokens/{name}"]) <= ROW + 1e-6
    assert data.counted - STEPS * BATCH < ROW
    again = Prefetch(loader(shares, count))
    again.load_state_dict(states[stop])
    assert all(same(step, again.next_step()) for step in steps[stop:])
    again.close()
    ranks = [loader(shares, count, rank=rank, world_size=2) for rank in range(2)]
    for step in steps[: stop + 1]:
        parts = [rank.next_step() for rank in ranks]
        assert sum(trained(part) for part in parts) == trained(step)
    assert ranks[0].state_dict() == ranks[1].state_dict()


def test_a_schedule_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    config = run({"domain": {"share": {0: 0.2, 0.8: 0.5}}, "general": {}})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert again.sources["domain"].share_at(0.79) == 0.2
    assert again.sources["domain"].share_at(0.8) == 0.5
    assert again.sources["domain"].mean_share == pytest.approx(0.26)
    found = load_config(tmp_path / "config.yaml", ["sources.domain.share={0: 0.3, 0.5: 0.6}"])
    assert found.sources["domain"].share == {0.0: 0.3, 0.5: 0.6}


def test_a_statistic_is_taken_at_the_mean_of_stages() -> None:
    """Of general text alone, a stage of 0 would hold nothing."""
    config = run({"domain": {}, "general": {"share": {0: 0, 0.5: 0.4}}}, mixture=None)
    found = _chosen(config, None)
    assert found["general"].share == pytest.approx(0.2)
    assert list(found) == ["general"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sources": {"domain": {"share": {0.5: 0.2}}}}, r"domain\.share: no stage begins at 0"),
    ({"sources": {"domain": {"share": {0: 0.2, 1: 0.5}}}}, r"domain\.share: 1 is no part of the run; .* below 1"),
    ({"sources": {"domain": {"share": {0: 0.2, "0.0": 0.5}}}}, r"domain\.share: two stages begin at 0; keep one"),
    ({"sources": {"domain": {"share": {0: 2}}}}, r"domain\.share: 2 is not accepted; accepted: a part from 0 to 1"),
    ({"sources": {"domain": {"share": {0: 0}}}}, r"domain\.share: every stage is 0; share: 0 measures"),
    ({"sources": {"domain": {"share": "hlaf"}}}, r"domain\.share: 'hlaf' is not accepted; .* stages as \{0: 0\.2"),
    ({"mixture": {}}, r"mixture: needs exactly one of temperature, .* ramp, doremi, doge, odm or dids, got none"),
    ({"mixture": {"temprature": 5}}, r"mixture\.temprature: .* Did you mean 'temperature'"),
    ({"mixture": {"temperature": "warm"}},
     r"mixture\.temperature: 'warm' is not accepted; accepted: a tau of 0\.1 or more"),
    ({"mixture": {"temperature": 5}, "sources": {"domain": {}, "general": {"share": 0.5}}},
     r"sources\.general\.share: has no effect with mixture\.temperature"),
    ({"mixture": {"priorities": {"domain": 1, "general": 2}},
      "sources": {"domain": {}, "general": {"streaming": True}}},
     r"mixture\.priorities: .* nobody knows that of 'general', which is streamed"),
    ({"mixture": {"priorities": {"domain": 1, "generl": 2}}}, r"priorities\.generl: .* Did you mean 'general'"),
    ({"mixture": {"priorities": {"domain": 1}}}, r"mixture\.priorities: 'general' has none; give it one"),
    ({"mixture": {"priorities": {"domain": 1, "general": 0}}}, r"general: 0 is no priority; accepted: above 0"),
    ({"mixture": {"priorities": {"domain": 1, "general": 2}}, "budget": {"epochs": 2}},
     r"budget\.epochs: 2 passes would repeat rows"),
    ({"mixture": {"ramp": {}}}, r"mixture\.ramp: needs exactly one of until .* and drift .*, got none"),
    ({"mixture": {"ramp": {"drift": 0.1}}}, r"mixture\.ramp\.drift: nothing measures drift .* training\.eval_steps"),
    ({"mixture": {"ramp": {"until": 0.5}}, "sources": {"domain": {"share": {0: 0.5, 0.5: 0.2}}, "general": {}}},
     r"sources\.domain\.share: stages and mixture\.ramp would both move"),
    ({"mixture": {"temperature": 5}, "method": "auto", "retain": {"kl": 0.05},
      "evaluation": {"validation_documents": 32}}, r"mixture: method: auto chooses one share for the whole run"),
    ({"sources": {"domain": {"share": {0: 0.5, 0.5: 0.2}}, "general": {}}, "method": "auto", "retain": {"kl": 0.05},
      "evaluation": {"validation_documents": 32}}, r"sources\.domain\.share: method: auto chooses one share"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_what_a_configuration_must_not_say(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(**changes)


NEVER: list[tuple[dict[str, Any], str]] = [
    ({"sources": {"domain": {"share": {0: 0, 0.5: 0.5}}, "general": {}}},
     r"sources\.domain\.share: is 0 from 0 of the run on, and budget\.count is 'domain'"),
    ({"sources": {"domain": {"share": {0: 1, 0.5: 0}}, "general": {"share": {0: 0.5, 0.5: 0}}}},
     r"from 0\.5 of the run on every share is 0"),
    ({"sources": {"domain": {"share": {0: 0.5, 0.5: 1}}, "general": {}}},
     r"leaves nothing for sources\.general\.share; .* \(from 0\.5 of the run on\)"),
    ({"mixture": {"priorities": {"domain": 1, "general": 2}}, "budget": {"steps": 100, "batch_tokens": 64}},
     r"budget: 6,400 trained tokens of 'domain' are more than the 5,000 that there are"),
    ({"mixture": {"ramp": {"until": 0.5}}, "sources": {"domain": {}, "law": {"route": "domain"}}},
     r"mixture\.ramp: has no effect, since no source but the domain's is trained on"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), NEVER)
def test_schedules_that_cannot_be_met(changes: dict[str, Any], says: str) -> None:
    config = run(**changes)
    with pytest.raises(ConfigError, match=says):
        planned(config, counted=config.budget.steps * config.budget.batch_tokens)  # type: ignore[operator]
