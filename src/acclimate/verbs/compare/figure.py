"""Gain against drift, and against loss elsewhere, as pictures to commit."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.reports.pictures.palette import SLOTS, Slot
from acclimate.reports.pictures.pareto import Point, pareto
from acclimate.reports.pictures.svg import standalone
from acclimate.verbs.compare.standing import Standing

GAIN = "domain gain, % fewer bits per byte (right is better)"
COSTS = {
    "drift": ("gain-drift", "KL(base‖tuned) elsewhere, nats/token\n(lower is better)", 1.0),
    "loss": ("gain-loss", "more bits per byte elsewhere, %\n(lower is better)", 100.0),
}


def figures(found: Sequence[Standing]) -> dict[str, str]:
    """File name -> SVG; of a comparison that measured nothing but its domain, none."""
    drawn = {}
    for cost, (slug, axis, scale) in COSTS.items():
        points = [
            Point(standing.method, Slot(1 + index % SLOTS), *axes, seeds)
            for index, standing in enumerate(found)
            if (gain := standing.gain) is not None and (other := getattr(standing, cost)) is not None
            for axes in [(gain.estimate.scaled(100.0), other.estimate.scaled(scale))]
            for seeds in [[(s, 100 * x, scale * y) for (s, x), (_, y) in zip(gain.seeds, other.seeds, strict=True)]]
        ]
        if points:
            drawn[f"{slug}.svg"] = standalone(
                pareto(slug, "What was gained, and at what cost?", points, GAIN, axis).svg
            )
    return drawn
