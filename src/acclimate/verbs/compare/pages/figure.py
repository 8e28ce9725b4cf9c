"""Gain against drift, and against loss elsewhere, in the colours that a report gives the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acclimate.reports.pictures.palette import slots_of
from acclimate.reports.pictures.pareto import Point, pareto
from acclimate.reports.pictures.picture import Picture
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
