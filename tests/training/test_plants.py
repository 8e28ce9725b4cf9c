"""The controller of a forgetting budget on plants: every row of its specification, and runs as short as ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from acclimate.training.control.budget import Budget
from acclimate.training.control.nupi import EACH_CHECK, EACH_STEP, Pace, Rule, error, pace
from acclimate.training.control.retention import Retention
from acclimate.types.dials import Dial
from tests.training.plants import ROWS, Plant, made, run

LONG = pace(True, 1500)
NEVER = 1500


def test_one_step_of_the_rule() -> None:
    """nuPI as documented, and the optimistic method; each u is rounded where the specification is."""
    for rule, expected in (
        (Rule(0.1, 1.0, 2.0, 0.5), [0.1, 0.1, -0.075]),
        (Rule(0.1, 1.0, 1.0, 0.0), [0.1, 0.1, -0.05]),
        (Rule(0.1, 1.0, 0.0, 0.5), [0.1, 0.15, 0.1]),  # gradient ascent
    ):
        u, past, found = 0.0, None, []
        for e in (1.0, 0.5, -0.5):
            change, past = rule.change(e, past)
            u += change
            found.append(u)
        assert found == pytest.approx(expected, abs=1e-12)


def test_errors_are_clipped() -> None:
    assert [error(m, 0.05) for m in (0.0, -1.0, 0.05, 0.1, 9.0)] == pytest.approx([-1, -1, 0, 1, 2])


def test_adaptive_kl_is_a_proportional_controller_in_the_logarithm() -> None:
    """``beta *= 1 + clip(KL / target - 1, -.2, .2) n / horizon``: 1.02 and .98; ours moves on by the change of it."""
    for kl, expected in ((0.08, 1.02), (0.0, 0.98)):
        assert 1 + min(max(error(kl, 0.05), -0.2), 0.2) * 0.1 == pytest.approx(expected)
    assert Rule(0.1, 1.0, 0.0, 0.0).change(0.2, None)[0] == pytest.approx(math.log(1.02), abs=2e-4)


def test_the_plant_without_noise() -> None:
    found = run(Plant())
    assert max(found.spent) == pytest.approx(1.71, abs=0.01)
    assert found.inside_from() == 63
    assert found.spent[-1] == pytest.approx(1.0, abs=1e-3)
    assert found.strength[-1] == pytest.approx(math.sqrt(1.2 * 0.4 / 0.05) - 1, abs=5e-3)


@pytest.mark.parametrize(
    ("budgets", "ends", "within", "inside"),
    [
        ((0.02, 0.06, 0.18), (3.90, 1.83, 0.63), 0.002, None),
        ((0.03, 0.1, 0.3), (3.0, 1.19, 0.27), 0.003, (75, 179, 298)),
    ],
)
def test_budgets(
    budgets: tuple[float, ...], ends: tuple[float, ...], within: float, inside: tuple[int, ...] | None
) -> None:
    """Strengths that differ as their budgets do, so the gain is monotone in the budget."""
    found = [run(Plant(budget=budget)) for budget in budgets]
    assert [one.spent[-1] for one in found] == pytest.approx([1, 1, 1], abs=within)
    assert [one.strength[-1] for one in found] == pytest.approx(ends, abs=0.01)
    assert inside is None or tuple(one.inside_from() for one in found) == inside


def test_noise() -> None:
    found = [run(Plant(noise=0.3, heldout_noise=0.1, seed=seed)) for seed in range(20)]
    assert all(0.87 <= one.spent[-1] <= 1.15 for one in found)
    assert all(0.92 <= one.mean() <= 1.08 for one in found)


def test_three_times_the_noise() -> None:
    found = [run(Plant(noise=0.9, heldout_noise=0.3, seed=seed)) for seed in range(5)]
    assert all(min(one.strength) > 0.03 and max(one.strength) < 30 for one in found)
    assert all(0.85 <= one.mean() <= 1.15 for one in found)


@pytest.mark.parametrize(
    ("changed", "extreme", "after", "strength"),
    [({"c": 0.8}, 1.44, 45, 3.38), ({"c": 0.2}, 0.68, 64, 1.19), ({"ratio": 2.4}, None, 360, None)],
    ids=["stream forgets twice as much", "half as much", "held-out text twice as far"],
)
def test_something_changes(
    changed: dict[str, float], extreme: float | None, after: int, strength: float | None
) -> None:
    found = run(Plant(changes={600: changed}))
    assert found.inside_from(600) - 600 == pytest.approx(after, abs=2)
    if extreme is not None:
        assert (max if extreme > 1 else min)(found.spent[600:]) == pytest.approx(extreme, abs=0.01)
        assert found.strength[-1] == pytest.approx(strength, abs=0.01)


INFEASIBLE = Plant(floor=0.08, steps=2500, changes={800: {"floor": 0.0}})


def test_infeasible_for_a_while() -> None:
    """The bound holds no hidden integral: the strength leaves it as soon as it may."""
    found = run(replace(INFEASIBLE))
    bound = next(t for t, strength in enumerate(found.strength) if strength == 30)
    assert bound == pytest.approx(95, abs=2)
    assert 0.05 * found.spent[799] == pytest.approx(0.0964, abs=1e-4)
    assert next(t for t in range(800, 2500) if found.strength[t] < 30) - 800 == pytest.approx(6, abs=1)
    assert min(found.spent[800:]) == pytest.approx(0.13, abs=0.01)
    assert found.inside_from() == pytest.approx(954, abs=4)


def test_infeasible_is_said() -> None:
    plant = Plant(floor=0.08, steps=600)
    kept = run(plant).kept
    assert kept.infeasible is not None
    assert "at the largest strength, held-out text spends 193 % of the budget" in kept.infeasible
    assert kept.state.at_bound >= 3


@dataclass
class Positional:
    """The form that is not used: u = integral + proportional part, with nothing that limits the integral."""

    rule: Rule = EACH_STEP
    total: float = 0.0
    first: float | None = None
    u: float = 0.0

    def change(self, e: float, before: float | None) -> tuple[float, float]:
        before = e if before is None else before
        now = self.rule.nu * before + (1 - self.rule.nu) * e
        self.first = e if self.first is None else self.first
        self.total += self.rule.k_i * e
        place = self.rule.eta * (self.total + self.rule.k_p * (now - self.first))
        moved = min(max(place, math.log(0.03)), math.log(30.0)) - self.u
        self.u += moved
        return moved, now


def test_the_positional_form_winds_up() -> None:
    course = run(replace(INFEASIBLE), Pace(Positional()))  # type: ignore[arg-type]
    assert next(t for t in range(800, 2500) if course.strength[t] < 30) - 800 == pytest.approx(708, abs=20)
    assert min(course.spent[800:]) == pytest.approx(0.01, abs=0.01)
    assert course.inside_from() > 1500


@pytest.mark.parametrize(("k_i", "inside"), [(0.5, 176), (2.0, 1144), (3.0, NEVER)])
def test_without_a_proportional_part_it_is_worse(k_i: float, inside: int) -> None:
    found = run(Plant(), replace(LONG, rule=Rule(0.05, k_i, 0.0, 0.5)))
    assert found.inside_from() == pytest.approx(inside, abs=2)
    assert found.inside_from() > run(Plant()).inside_from()


@pytest.mark.parametrize(("rho", "inside"), [(0.1, 71), (0.02, 243)])
def test_faster_and_slower_plants(rho: float, inside: int) -> None:
    assert run(Plant(rho=rho)).inside_from() == pytest.approx(inside, abs=1)


@pytest.mark.parametrize(("every", "inside"), [(10, 54), (25, 95), (50, 177)])
def test_the_slow_loop_alone(every: int, inside: int) -> None:
    """The fast loop's constants do not settle there."""
    found = run(Plant(every=every), replace(LONG, rule=EACH_CHECK), rows=False)
    assert found.inside_from() == pytest.approx(inside, abs=1)
    fast = run(Plant(every=every), LONG, rows=False).inside_from()
    assert 500 < fast < 560 if every == 10 else fast == NEVER


@pytest.mark.parametrize(("late", "inside", "without"), [(2, 64, 182), (10, 131, 360), (20, 281, 898)])
def test_a_strength_that_acts_late(late: int, inside: int, without: int) -> None:
    assert run(Plant(late=late)).inside_from() == pytest.approx(inside, abs=1)
    alone = replace(LONG, rule=Rule(0.05, 0.5, 0.0, 0.5))
    assert run(Plant(late=late), alone).inside_from() == pytest.approx(without, rel=0.02)


def test_a_strength_that_acts_too_late() -> None:
    assert run(Plant(late=40)).inside_from() == NEVER


@pytest.mark.parametrize(("start", "inside", "peak"), [(0.1, 212, 4.54), (10.0, 355, 1.00)])
def test_no_hysteresis(start: float, inside: int, peak: float) -> None:
    found = run(Plant(start=start))
    assert found.spent[-1] == pytest.approx(1, abs=0.003)
    assert found.inside_from() == pytest.approx(inside, abs=1)
    assert max(found.spent) == pytest.approx(peak, abs=0.01)


@pytest.mark.parametrize("rows", [True, False])
def test_resumed_twice(rows: bool) -> None:
    plant = Plant(noise=0.3, heldout_noise=0.1)
    straight, resumed = run(plant, rows=rows), run(plant, rows=rows, resumed_at=(37, 611))
    assert straight.strength == resumed.strength
    assert straight.kept.state == resumed.kept.state


def cosine(steps: int) -> Callable[[int], float]:
    """The schedule's default: 5 % of warm-up, then half a cosine."""
    warm = round(0.05 * steps)
    return lambda t: (t + 1) / (warm + 1) if t < warm else (1 + math.cos(math.pi * (t - warm) / (steps - warm))) / 2


@pytest.mark.parametrize("rows", [True, False], ids=["each step", "each check"])
def test_short_runs(rows: bool) -> None:
    """60 to 300 steps with ten checks, noise of small batches, a learning rate that falls to 0.

    Nine of ten end within 20 % of the budget; with the constants of a long run it is fewer.
    """

    def ends(at: Pace | None) -> list[float]:
        return [
            run(
                Plant(
                    budget=budget, steps=steps, every=max(1, steps // 10), c=0.7, rho=rho, ratio=ratio, noise=noise,
                    heldout_noise=0.05, rate=cosine(steps), seed=seed,
                ),
                at, rows,
            ).spent[-1]
            for steps in (60, 100, 200, 300)
            for budget in (0.03, 0.1, 0.3)
            for rho, ratio, noise in ((0.04, 1.2, 0.3), (0.08, 2.0, 0.5), (0.2, 1.2, 0.5))
            for seed in range(2)
        ]  # fmt: skip

    def good(found: list[float]) -> float:
        return sum(0.8 <= end <= 1.2 for end in found) / len(found)

    own, documented = ends(None), ends(replace(LONG, rule=EACH_STEP if rows else EACH_CHECK))
    assert good(own) >= 0.9 if rows else good(own) >= 0.8
    assert good(own) > good(documented)


def test_the_strength_waits_for_a_signal() -> None:
    """While nothing has drifted nothing is let go, for a quarter of a short run and 100 steps of a long one."""
    for steps, waits in ((60, 15), (1500, 100), (9000, 100)):
        kept, dial = made(Plant(), pace(True, steps), True), Dial("strength", 1.0, 0.03, 30.0)
        moves = 0
        while float(dial) == 1.0:
            told = kept.on_measured({"loss/general/reverse_kl": 0.0}, {"strength": dial})
            moves += 1
        assert moves == waits
        assert told == {"retain/signal": 0.0, "retain/target": 1.0, "retain/error": -1.0}


def test_more_is_allowed_while_the_learning_rate_is_to_fall() -> None:
    """What is aimed at, and what counts as outside; nothing of it is left at the end, or without a schedule."""
    rate = cosine(100)
    kept = Retention(Budget("kl_base_tuned", {"mean": 0.1}, ("general",)), LONG, ROWS, ahead=rate)
    dials, held = {"strength": Dial("strength", 1.0, 0.03, 30.0)}, {"eval/general/kl_base_tuned": 0.12}
    told = [kept.on_measured({"loss/general/reverse_kl": 0.12} | held, dials) for _ in range(100)]
    assert max(one["retain/allowed"] for one in told) == told[4]["retain/allowed"] == 1.35
    assert told[-1]["retain/allowed"] == pytest.approx(1.0, abs=1e-3)
    assert told[4]["retain/target"] == pytest.approx(1.35)
    watching = Retention(Budget("kl_base_tuned", {"mean": 0.1}, ("general",)), LONG, ROWS, steered=False, ahead=rate)
    assert watching.on_measured(held, {})["retain/allowed"] == 1


def test_a_falling_rate_leaves_nothing_unspent() -> None:
    """A plant of which a falling rate takes back as much as is allowed for."""

    plant = Plant(steps=300, every=30, rho=0.1, rate=cosine(300), anneals=0.35)
    known, unknown = run(replace(plant), ahead=plant.rate).spent[-1], run(replace(plant)).spent[-1]
    assert abs(known - 1) < 0.5 * abs(unknown - 1)
