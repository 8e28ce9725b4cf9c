"""What is said of a budget, and which weights are chosen; without a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.config.load import parse_config
from acclimate.measurement.measure import Scores
from acclimate.paired.estimate import Estimate
from acclimate.training.callbacks.save import InsideBudget
from acclimate.training.control.budget import Budget
from acclimate.training.control.candidate import MOST, Candidate, best_of, candidate, furthest_inside
from acclimate.training.control.outcome import Outcome, outcome
from acclimate.training.control.retention import Followed
from tests.fixtures.runs import settings
from tests.fixtures.sentences import says

BUDGET = Budget("kl_base_tuned", {"mean": 0.05}, ("chat", "general"))


def weights(
    spent: float, domain: float = -10.0, step: int = 100, alpha: float = 1.0, half: float = 0.2, of: Budget = BUDGET
) -> Candidate:
    value = 0.05 * spent
    found = {"mean": Estimate(value, value - 0.05 * half, value + 0.05 * half, n=30)}
    return Candidate(step, alpha, spent, found, found, domain)


def ended(
    chosen: Candidate, last: Candidate | None = None, at_bound: int = 0, strength: float = 1.0, spent: float = 1.0,
    **changes: Any,
) -> Outcome:  # fmt: skip
    data = settings(
        Path("m"), Path("c"), Path("o"), evaluation={"validation_documents": 30}, training={"eval_steps": 10},
        **({"retain": {"kl": 0.05}} | changes),
    )  # fmt: skip
    state = Followed(at_bound=at_bound, checks=[[90, 1.5 * spent, strength], [100, spent, strength]])
    return outcome(parse_config(data), BUDGET, state, chosen, last or chosen)


def test_the_word() -> None:
    assert ended(weights(0.97)).word == "met"
    assert ended(weights(0.5), strength=0.03, spent=0.5).word == "slack"
    assert ended(weights(1.1)).word == "met within noise"
    assert ended(weights(1.5), spent=1.5).word == "too short"
    assert ended(weights(0.98, alpha=0.4), last=weights(6.0), at_bound=3).word == "infeasible"
    assert ended(weights(0.98), at_bound=2).word == "met"
    assert ended(weights(1.5), retain={"kl": 0.05, "steer": False}).word == "infeasible"


def test_noise_of_one_set_says_nothing_of_another() -> None:
    """Chat is outside beyond doubt, and general, of which little is known, inside."""
    budget = Budget("kl_base_tuned", {"chat": 0.05, "general": 0.05})
    sets = {"chat": Estimate(0.15, 0.145, 0.155, n=30), "general": Estimate(0.005, 0.001, 0.009, n=30)}
    data = settings(Path("m"), Path("c"), Path("o"), evaluation={"validation_documents": 30}, retain={"kl": 0.05})
    state = Followed(checks=[[90, 3.0, 1.0], [100, 3.0, 1.0]])

    def word(chosen: Candidate) -> str:
        return outcome(parse_config(data), budget, state, chosen, chosen).word

    assert word(Candidate(100, 1.0, 3.0, sets, sets, -10.0)) == "too short"
    near = sets | {"chat": Estimate(0.055, 0.045, 0.065, n=30)}
    assert word(Candidate(100, 1.0, 1.1, near, near, -10.0)) == "met within noise"


def test_documents_of_one_group_are_one_draw() -> None:
    """As they are in reports: what is known of a budget is no better than so many groups tell."""
    ones, kl = np.ones(12), np.repeat([0.01, 0.03, 0.05, 0.07], 3)
    base = Scores(np.arange(12), ones, ones, ones)
    measured = {"general": ("general", replace(base, kl_base_tuned=kl), base)}
    budget = Budget("kl_base_tuned", {"mean": 0.05}, ("general",))
    alone = candidate(budget, measured, 1).values["mean"]
    together = candidate(budget, measured, 1, groups={"general": lambda ids: ids // 3}).values["mean"]
    assert together.value == pytest.approx(alone.value) == pytest.approx(0.04)
    assert together.independent == 4
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_what_is_said() -> None:
    found = ended(weights(0.98, alpha=0.4), last=weights(6.25), at_bound=3, lora={"rank": 8})
    assert says(
        found.says,
        "retain: infeasible. The model is that of the last step, 0.4 of the way from the start: drift of held-out text "
        "is 0.049 (0.039 to 0.059) of 0.05 nats a token. The domain's bits per byte change by -10.0 %. At the largest "
        "strength, 10, the last step spends 625 % of the budget.",
    )
    assert [sentence.split(":")[0] for sentence in found.helps] == [
        "optimizer.learning_rate", "more general text", "lora.rank",
    ]  # fmt: skip
    assert says(found.helps[0], "optimizer.learning_rate: about 0.0012 instead of 0.003; drift grows … its square.")
    short = ended(weights(1.5, step=60), last=weights(1.6), spent=1.6)
    assert says(short.says, "retain: too short. The model is that of step 60 of 100: drift … of 0.05 nats a token. …")
    assert any(says(sentence, "about 12 more steps, …") for sentence in short.helps if "more steps" in sentence)
    assert any("more steps" in sentence for sentence in short.helps)
    assert ended(weights(0.97)).helps == ()
    (noisy,) = ended(weights(0.97, half=1.5)).helps
    assert says(
        noisy, "evaluation.validation_documents: what is spent of 0.05 (mean) is known no better than to 0.075; …"
    )


def test_the_best_inside() -> None:
    inside, better, outside = weights(0.5, -8.0, step=40), weights(0.99, -9.0, alpha=0.7), weights(1.2, -20.0)
    assert best_of([outside, better, inside]) is better
    assert best_of([outside, weights(3.0)]) is outside
    later = weights(0.5, -8.0, step=60)
    assert best_of([inside, later]) is later
    assert best_of([weights(0.9, math.nan, step=40), weights(0.4, math.nan)]).step == 100  # the last inside


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("spent", [1.01, 1.5, 9.0, 400.0])
def test_the_furthest_inside(spent: float, power: float) -> None:
    """Near the budget after a few measurements, whatever the way's curve, and never outside."""
    asked: list[float] = []

    def at(alpha: float) -> Candidate:
        asked.append(alpha)
        return weights(spent * alpha**power, alpha=alpha)

    found = furthest_inside(at, weights(spent))
    assert len(asked) <= MOST
    assert found is not None
    assert 0.9 < found.spent <= 1 or len(asked) == MOST
    assert found.spent > 0.5


@pytest.mark.parametrize("spent", [-0.2, 0.0, 0.05, 0.3, 0.6, 0.9])
def test_what_is_left_of_the_budget_is_used(spent: float) -> None:
    """Beyond the last weights, half as far as the way to them at most."""

    def at(alpha: float) -> Candidate:
        return weights(spent * alpha**2, alpha=alpha)

    found = furthest_inside(at, weights(spent))
    assert found is not None
    assert found.inside
    assert found.spent >= 0.97 or found.alpha == pytest.approx(1.5, abs=0.02)


def test_at_the_budget_nothing_else_is_measured() -> None:
    assert furthest_inside(lambda alpha: pytest.fail("measured"), weights(0.98)) is None


def test_a_way_that_is_outside_everywhere() -> None:
    assert furthest_inside(lambda alpha: weights(2.0, alpha=alpha), weights(3.0)) is None


def test_checks_are_ranked_as_the_end_is_chosen() -> None:
    rule = InsideBudget(("a", "b"))
    ranks = [
        rule.rank({"retain/spent": spent, "eval/a/change_percent": domain, "eval/b/change_percent": 0.0})
        for spent, domain in ((3.0, -30.0), (1.1, -20.0), (0.9, -4.0), (0.2, -2.0))
    ]
    assert sorted(ranks, key=lambda rank: rank or []) == [ranks[2], ranks[3], ranks[1], ranks[0]]
    assert rule.rank({"loss": 1.0}) is None
