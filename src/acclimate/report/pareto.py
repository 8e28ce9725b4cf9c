"""Gain against cost: runs in a plane, and which of them another one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from acclimate.report.folder import Measure
from acclimate.report.palette import BASE, Slot
from acclimate.report.picture import Picture, plain, short, whole
from acclimate.report.svg import INK, MUTED, PAPER, colour, draw

HEIGHT = 310
CLEARINGS = ((0.97, 0.04), (0.6, 0.4), (0.35, 0.4), (0.35, 0.75), (0.97, 0.8))  # where "better" may be written


@dataclass(frozen=True)
class Point:
    """One run: what it gained (more is better), what that cost (less is better), and each seed as (seed, x, y)."""

    label: str
    slot: Slot
    x: Measure
    y: Measure
    seeds: Sequence[tuple[int, float, float]] = ()


def dominated(points: Sequence[Point]) -> list[bool]:
    """Of each point, whether another has gained as much or more at the same cost or less, and is not its equal.

    By the values alone: whether two runs can be told apart is what their intervals say.
    """
    values = [(point.x.value, -point.y.value) for point in points]
    return [any(a >= x and b >= y and (a, b) != (x, y) for a, b in values) for x, y in values]


def pareto(slug: str, title: str, points: Sequence[Point], x_axis: str, y_axis: str) -> Picture:
    """Gain to the right, cost upwards, the base in the origin; runs that another one beats are hollow.

    Args:
        slug: names the picture and its CSV; unique in the page.
        points: of runs that were measured on the same documents, so that the base is one.
        x_axis, y_axis: what is gained and what it costs, with units.
    """
    beaten = dominated(points)
    every = [(point.x.value, point.y.value) for point in points]
    every += [(x, y) for point in points for _, x, y in point.seeds]
    xs = [0.0, *(x for x, _ in every), *(bound for point in points for bound in _bounds(point.x))]
    ys = [0.0, *(y for _, y in every), *(bound for point in points for bound in _bounds(point.y))]
    (left, right), (bottom, top) = _padded(xs, 0.04, 0.12), _padded(ys, 0.0 if min(ys) == 0 else 0.08, 0.12)

    def paint(axes: Axes) -> None:
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        if bottom < 0:
            axes.axhline(0, color=MUTED, lw=0.8, ls=(0, (3, 3)), zorder=1)
        axes.scatter([0], [0], s=46, fc=PAPER, ec=colour(BASE), lw=1.4, zorder=3, clip_on=False)
        axes.annotate("base", (0, 0), xytext=(8, 8), textcoords="offset points", color=MUTED, fontsize=10)
        for point, hollow in zip(points, beaten, strict=True):
            _mark(axes, point, hollow)
        _name(axes, points, right - left, top - bottom)
        axes.set_xlabel(x_axis, fontsize=10)
        axes.set_ylabel(y_axis, fontsize=10)
        axes.locator_params(nbins=6)
        marks = [((x - left) / (right - left), (y - bottom) / (top - bottom)) for x, y in [*every, (0.0, 0.0)]]
        _point_to_better(axes, marks)

    rows: list[tuple[str, ...]] = []
    for point, hollow in zip(points, beaten, strict=True):
        bounds = [plain(bound) for axis in (point.x, point.y) for bound in (axis.value, axis.low, axis.high)]
        rows.append((point.label, whole(point.seeds), *bounds, "yes" if hollow else "no"))
        if len(point.seeds) > 1:
            rows += [(point.label, str(seed), plain(x), "", "", plain(y), "", "", "") for seed, x, y in point.seeds]
    spoken = "; ".join(f"{point.label} {plain(point.x.value)}, {plain(point.y.value)}" for point in points)
    cost = " ".join(y_axis.split())
    limits = ("low (95 %)", "high (95 %)")
    columns = ("run", "seed", x_axis, *limits, cost, *limits, "another run is better at both")
    caption = "Lines are 95 % intervals." + " Hollow: another run gained more for less, by the values." * any(beaten)
    return Picture(slug, columns, tuple(rows), title, draw(slug, f"{title} {spoken}", HEIGHT, paint), caption)


def _mark(axes: Axes, point: Point, hollow: bool) -> None:
    ink = colour(point.slot)
    line: dict[str, Any] = {"color": ink, "lw": 1.6, "alpha": 0.5, "solid_capstyle": "butt"}
    if bounds := _bounds(point.x):
        axes.plot(bounds, [point.y.value] * 2, **line)
    if bounds := _bounds(point.y):
        axes.plot([point.x.value] * 2, bounds, **line)
    if len(point.seeds) > 1:
        xs, ys = [x for _, x, _ in point.seeds], [y for *_, y in point.seeds]
        axes.scatter(xs, ys, s=14, color=ink, alpha=0.7, lw=0)
    face, edge = (PAPER, ink) if hollow else (ink, PAPER)
    where = ([point.x.value], [point.y.value])
    axes.scatter(*where, s=74, fc=face, ec=edge, marker=point.slot.marker, zorder=3, lw=1.6 if hollow else 1.2)


def _name(axes: Axes, points: Sequence[Point], width: float, height: float) -> None:
    """Names of neighbours are pushed down until they can be read; the marks stay where they are."""
    right, placed = axes.get_xlim()[1], list[tuple[float, float]]()
    for point in sorted(points, key=lambda point: -point.y.value):
        x, y = point.x.value, point.y.value
        aside, align = (-9, "right") if right - x < 0.35 * width else (9, "left")
        while any(abs(x - other) < 0.4 * width and abs(y - taken) < 0.075 * height for other, taken in placed):
            y -= 0.02 * height
        placed.append((x, y))
        place: dict[str, Any] = {"xytext": (aside, 9), "textcoords": "offset points", "va": "center", "ha": align}
        place["bbox"] = {"fc": PAPER, "ec": "none", "pad": 0.8}
        axes.annotate(short(point.label), (x, y), color=INK, fontsize=10.5, **place)


def _point_to_better(axes: Axes, taken: Sequence[tuple[float, float]]) -> None:
    """An arrow to the lower right, in the clearing that is furthest from every mark."""
    free = max(CLEARINGS, key=lambda spot: min(math.dist((spot[0] - 0.08, spot[1] + 0.06), mark) for mark in taken))
    arrow = {"arrowstyle": "->", "color": MUTED, "lw": 1}
    place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (-34, 24), "textcoords": "offset points"}
    axes.annotate("better", free, color=MUTED, fontsize=10, ha="center", arrowprops=arrow, **place)


def _bounds(measure: Measure) -> list[float]:
    return [] if measure.low is None or measure.high is None else [measure.low, measure.high]


def _padded(values: Sequence[float], before: float, after: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    span = high - low or 1.0
    return low - before * span, high + after * span
