"""Curves over steps: how training went, one line a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from acclimate.reports.pictures.palette import Slot
from acclimate.reports.pictures.picture import Picture, plain
from acclimate.reports.pictures.svg import MUTED, colour, draw

CURVE_POINTS = 120
FEW_POINTS = 24  # so few are drawn as they are, with marks

Line = Sequence[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class Curve:
    """One run over steps: seed -> line."""

    label: str
    slot: Slot
    seeds: Mapping[int, Line]


def curves(
    slug: str, title: str, items: Sequence[Curve], unit: str, end: int, from_zero: bool, caption: str,
    beside: Callable[[Axes], None] | None = None, log: bool = False, level: float | None = None,
) -> Picture:  # fmt: skip
    """Thin lines are single seeds as logged; the thick line is their mean, smoothed where there are many points.

    Args:
        beside: draws more on the same axes.
        log: heights are factors.
        level: where the base stands; the axis holds it, and is at least a twentieth of it high.
    """
    thinned = [Curve(item.label, item.slot, {seed: _thin(line) for seed, line in item.seeds.items()}) for item in items]

    def paint(axes: Axes) -> None:
        for item in thinned:
            own, ink = list(item.seeds.values()), colour(item.slot)
            few = max(len(line) for line in own) < FEW_POINTS
            for line in own if len(own) > 1 or not few else ():
                axes.plot(*zip(*line, strict=True), color=ink, lw=0.7, alpha=0.35)
            thick = _mean(own) if few else _smooth(_mean(own))
            marker = item.slot.marker if few else None
            axes.plot(*zip(*thick, strict=True), color=ink, lw=1.9, ls=item.slot.dash, marker=marker, ms=4, mew=0)
        axes.set_xlim(0, end)
        if beside is not None:
            beside(axes)
        if level is not None:
            axes.axhline(level, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            bottom, top = axes.get_ylim()
            room = max(0.0, level / 20 - (top - bottom)) / 2
            axes.set_ylim(bottom - room, top + room)
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step", fontsize=10)
        axes.set_ylabel(unit, fontsize=10)
        axes.locator_params(axis="x" if log else "both", nbins=5)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())

    lines = [(item.label, seed, line) for item in thinned for seed, line in item.seeds.items()]
    rows = tuple((label, str(seed), str(step), plain(value)) for label, seed, line in lines for step, value in line)
    spoken = "; ".join(f"{label} seed {seed} {line[0][1]:.3f} to {line[-1][1]:.3f}" for label, seed, line in lines)
    columns = ("run", "seed", "step", unit)
    return Picture(slug, columns, rows, title, draw(slug, f"{title} {spoken}", 230, paint), caption)


def _mean(lines: Sequence[Line]) -> Line:
    """The mean over seeds at the steps that all of them logged; of seeds that share none, the first."""
    values = [dict(line) for line in lines]
    common = sorted(set.intersection(*(set(value) for value in values)))
    return [(step, statistics.fmean(value[step] for value in values)) for step in common] or lines[0]


def _smooth(line: Line) -> Line:
    """A running mean over a twentieth of the points on either side, narrower at the ends."""
    reach = max(1, len(line) // 20)
    smooth = []
    for index, (step, _) in enumerate(line):
        width = min(reach, index, len(line) - 1 - index)
        smooth.append((step, statistics.fmean(value for _, value in line[index - width : index + width + 1])))
    return smooth


def _thin(line: Line) -> Line:
    """At most CURVE_POINTS points, each the mean of its neighbours, at the last step it covers."""
    size = max(1, -(-len(line) // CURVE_POINTS))
    blocks = [line[start : start + size] for start in range(0, len(line), size)]
    return [(block[-1][0], statistics.fmean(value for _, value in block)) for block in blocks]
