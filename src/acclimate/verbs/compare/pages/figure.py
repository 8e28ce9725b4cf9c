"""Gain against drift and loss elsewhere, and drift elsewhere against drift on the domain, in a report's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from acclimate.methods.registry import METHODS
from acclimate.paired.metrics import DRIFT
from acclimate.reports.pictures.forecast import Distances, forecast
from acclimate.reports.pictures.palette import Slot, slots_of
from acclimate.reports.pictures.pareto import Point, pareto
from acclimate.reports.pictures.picture import Picture
from acclimate.runs.cells import Row, TextScores
from acclimate.stores.store import required_statistics
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.standing import Standing

GAIN = "domain gain, % fewer bits per byte (right is better)"
COSTS = {
    "drift": ("gain-drift", "KL(base‖tuned) elsewhere, nats/token\n(lower is better)", 1.0),
    "loss": ("gain-loss", "more bits per byte elsewhere, %\n(lower is better)", 100.0),
}
TITLES = {"drift": "What was gained, and how far did each move?", "loss": "What was gained, and what was lost?"}


def figures(found: Sequence[Standing], methods: Mapping[str, str]) -> list[Picture]:
    """Of a comparison that measured nothing but its domain, none.

    Args:
        methods: name in the comparison -> registered method.
    """
    drawn, slots = [], slots_of({one.method: methods[one.method] for one in found})
    for cost, (slug, axis, scale) in COSTS.items():
        points = [
            Point(standing.method, slots[standing.method], *axes, seeds)
            for standing in found
            if (gain := standing.gain) is not None and (other := getattr(standing, cost)) is not None
            for axes in [(gain.estimate.scaled(100.0), other.estimate.scaled(scale))]
            for seeds in [[(s, 100 * x, scale * y) for (s, x), (_, y) in zip(gain.seeds, other.seeds, strict=True)]]
        ]
        if points:
            drawn.append(pareto(slug, TITLES[cost], points, GAIN, axis))
    return drawn


def foretold(outcome: Outcome, methods: Mapping[str, str]) -> list[Picture]:
    """Drift on sets that no run learned from, against drift on the domain; each run with its panels.

    Runs under a budget, and of methods whose stores hold general text, are left out: such text steered them, or they
    read it before.

    Args:
        methods: name in the comparison -> registered method.
    """
    slots, found = slots_of(methods), list[Distances]()
    for method, kind in methods.items():
        if kind in METHODS and required_statistics(METHODS[kind]):
            continue
        measured = outcome.measured(method)
        for row in measured:
            if row.kind == "run" and "retain" not in row.made:
                texts = {n: scores for one in measured if one.key == row.key for n, scores in one.texts.items()}
                found += _distances(row, texts, slots[method])
    return forecast(found)


def _distances(row: Row, texts: Mapping[str, TextScores], slot: Slot) -> list[Distances]:
    """One, or none where drift on the domain was not measured."""
    domain = [_drift(scores) for scores in texts.values() if scores.role == "domain"]
    if not domain:
        return []
    own = {name for name, scores in texts.items() if scores.role == "domain"}
    elsewhere = {name: _drift(scores) for name, scores in texts.items() if name not in own}
    learned = frozenset(row.tokens)
    return [Distances(row.method, slot, row.seed, fmean(domain), elsewhere, learned, learned <= own)]


def _drift(scores: TextScores) -> float:
    """KL(base || tuned), nats per token."""
    return float(scores.column(DRIFT).sum() / scores.column("tokens").sum())
