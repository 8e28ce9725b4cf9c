"""Plants that answer a strength as a model does, for the controller of a forgetting budget. Plain numbers, no torch.

    x_{t+1} = x_t + rho g(t) (f + (c - f) / (1 + strength)^2 - x_t)          x_0 = 0, held-out drift = ratio x

.4 at strength 0 and .1 at strength 1 are the measured drifts of sft and mol. ``g`` is the learning rate over its peak.
What is measured is ``x (1 + anneals g)``: the part of drift that a falling rate takes back.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from acclimate.training.control.budget import Budget
from acclimate.training.control.nupi import Pace, pace
from acclimate.training.control.retention import Retention
from acclimate.types.dials import Dial

LOSS, HELD_OUT = "loss/general/reverse_kl", "eval/general/kl_base_tuned"
ROWS = {LOSS: ("general", 1.0)}


@dataclass
class Plant:
    """``changes`` are step -> attributes that are other ones from there on."""

    budget: float = 0.05
    steps: int = 1500
    every: int = 50
    c: float = 0.4
    floor: float = 0.0
    rho: float = 0.05
    ratio: float = 1.2
    noise: float = 0.0
    heldout_noise: float = 0.0
    late: int = 0
    anneals: float = 0.0
    start: float = 1.0
    seed: int = 0
    rate: Callable[[int], float] = lambda step: 1.0
    changes: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    spent: list[float]  # [steps] held-out drift over the budget, without noise
    strength: list[float]  # [steps] after each step
    kept: Retention

    def inside_from(self, first: int = 0) -> int:
        """The step from which on the drift stays within 20 % of the budget; the number of steps where it never does."""
        last = next((t for t in range(len(self.spent) - 1, first - 1, -1) if abs(self.spent[t] - 1) > 0.2), first - 1)
        return last + 1

    def mean(self, steps: int = 500) -> float:
        return sum(self.spent[-steps:]) / steps


def run(
    plant: Plant,
    at: Pace | None = None,
    rows: bool = True,
    resumed_at: tuple[int, ...] = (),
    ahead: Callable[[int], float] = lambda step: 0.0,
) -> Course:
    """The plant under the controller.

    Args:
        at: its pace; default: that of a run of so many steps.
        rows: whether training rows say how far it has drifted.
        resumed_at: steps after which controller and dial are saved and made anew.
        ahead: what the rate still falls by.
    """
    draw, dial = random.Random(plant.seed), Dial("strength", plant.start, 0.03, 30.0)
    at = pace(rows, plant.steps) if at is None else at
    kept = made(plant, at, rows, ahead)
    x, spent, strength = 0.0, [], []
    acted = [plant.start] * (plant.late + 1)
    for step in range(plant.steps):
        for name, value in plant.changes.get(step, {}).items():
            setattr(plant, name, value)
        settles = plant.floor + (plant.c - plant.floor) / (1 + acted[-1 - plant.late]) ** 2
        x += plant.rho * plant.rate(step) * (settles - x)
        drift = x * (1 + plant.anneals * plant.rate(step))
        measured = {LOSS: drift * noisy(draw, plant.noise)} if rows else {}
        if (step + 1) % plant.every == 0:
            measured[HELD_OUT] = plant.ratio * drift * noisy(draw, plant.heldout_noise)
        kept.on_measured(measured, {"strength": dial})
        acted.append(float(dial))
        spent.append(plant.ratio * drift / plant.budget)
        strength.append(float(dial))
        if step + 1 in resumed_at:
            state = json.loads(json.dumps(kept.state_dict()))
            kept, dial = made(plant, at, rows, ahead), Dial("strength", json.loads(json.dumps(float(dial))), 0.03, 30.0)
            kept.load_state_dict(state)
    return Course(spent, strength, kept)


def made(plant: Plant, at: Pace, rows: bool, ahead: Callable[[int], float] = lambda step: 0.0) -> Retention:
    budget = Budget("kl_base_tuned", {"mean": plant.budget}, ("general",))
    return Retention(budget, at, ROWS if rows else {}, ahead=ahead)


def noisy(draw: random.Random, sigma: float) -> float:
    """Of mean 1."""
    return math.exp(sigma * draw.gauss(0, 1) - sigma**2 / 2) if sigma else 1.0
