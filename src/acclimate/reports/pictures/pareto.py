"""Gain against cost: runs in a plane, and which of them another one beats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from acclimate.paired.estimate import Estimate
from acclimate.reports.pictures.palette import BASE, Slot
from acclimate.reports.pictures.picture import Picture, plain, short, whole
from acclimate.reports.pictures.svg import INK, MUTED, PAPER, colour, draw

HEIGHT = 310
FEW = 8  # runs whose names find room beside their marks
LINE = 17  # pixels of a name in a column
OUTLYING = 4  # times the median cost: beyond that, equal steps would hide the differences between the other runs
FAR = 0.5  # of the largest gain: where the least lies above it, the picture does not begin at the base
CLEARINGS = ((0.97, 0.04), (0.6, 0.4), (0.35, 0.4), (0.35, 0.75), (0.97, 0.8))  # where "better" may be written


Place = tuple[float, float]
"""Parts of the width and of the height of the axes."""


@dataclass(frozen=True)
class Point:
    """One run: what it gained (more is better), what that cost (less is better), and each seed as (seed, x, y)."""

    label: str
    slot: Slot
    x: Estimate
    y: Estimate
    seeds: Sequence[tuple[int, float, float]] = ()


def dominated(points: Sequence[Point]) -> list[bool]:
    """Of each point, whether another has gained as much or more at the same cost or less, and is not its equal.

    By the values alone: whether two runs can be told apart is what a paired comparison says.
    """
    values = [(point.x.value, -point.y.value) for point in points]
    return [any(a >= x and b >= y and (a, b) != (x, y) for a, b in values) for x, y in values]


def pareto(slug: str, title: str, points: Sequence[Point], x_axis: str, y_axis: str) -> Picture:
    """Gain to the right, cost upwards, the base in the origin; runs that another one beats are hollow.

    Where every run gained much, the picture begins near the least gain: the way there from the base would be empty.
    Many runs are named in a column. Where one cost is far above the others, its scale is logarithmic, linear near 0. A
    run that lost more than half of the best gain stands at the left edge, with an arrow before its name.

    Args:
        slug: names the picture and its CSV; unique in the page.
        points: of runs that were measured on the same documents, so that the base is one.
        x_axis, y_axis: what is gained and what it costs, with units.
    """
    beaten = dominated(points)
    every = [(point.x.value, point.y.value) for point in points]
    every += [(x, y) for point in points for _, x, y in point.seeds]
    gains = [x for x, _ in every]
    far = min(gains) > FAR * max(gains)
    xs = [0.0] * (not far) + gains + [bound for point in points for bound in _bounds(point.x)]
    ys = [0.0, *(y for _, y in every), *(bound for point in points for bound in _bounds(point.y))]
    edge = -0.5 * max(xs)
    aside = [point for point in points if point.x.value < edge < 0]
    xs = [max(x, edge) for x in xs] if aside else xs
    column = len(points) > FEW
    (left, right), (bottom, top) = _padded(xs, 0.04, 0.5 if column else 0.12), _padded(ys, 0.08 * (min(ys) < 0), 0.12)
    near_zero = _near_zero([point.y.value for point in points])
    if near_zero:
        bottom, top = min(0.0, 1.3 * min(ys)), 1.2 * max(ys)

    def paint(axes: Axes) -> None:
        axes.set_xlim(left, right)
        axes.locator_params(nbins=6)
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= max(xs)])
        if near_zero:
            axes.set_yscale("symlog", linthresh=near_zero, linscale=0.4)
            axes.set_yticks(_ticks(bottom, top, near_zero))
            axes.minorticks_off()
            axes.yaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}".replace("-", "\u2212")))
        axes.set_ylim(bottom, top)
        if bottom < 0:
            axes.axhline(0, color=MUTED, lw=0.8, ls=(0, (3, 3)), zorder=1)
        if far:
            style: dict[str, Any] = {"textcoords": "offset points", "color": MUTED, "fontsize": 10}
            axes.annotate("← base, at 0 and 0", (left, 0), xytext=(6, 6), **style)
        else:
            axes.scatter([0], [0], s=46, fc=PAPER, ec=colour(BASE), lw=1.4, zorder=3, clip_on=False)
            axes.annotate("base", (0, 0), xytext=(8, 8), textcoords="offset points", color=MUTED, fontsize=10)
        for point, hollow in zip(points, beaten, strict=True):
            _mark(axes, point, hollow, max(point.x.value, edge) if point in aside else point.x.value)
        places = [_part(axes, (max(x, left), y)) for x, y in every[: len(points)]]
        names = [f"← {short(point.label)}" if point in aside else short(point.label) for point in points]
        (_name_in_column if column else _name_beside)(axes, names, places)
        axes.set_xlabel(x_axis, fontsize=10)
        axes.set_ylabel(y_axis, fontsize=10)
        if not column:
            _point_to_better(axes, [_part(axes, mark) for mark in [*every, *([] if far else [(0.0, 0.0)])]])

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
    caption = (
        "Lines are 95 % intervals of single runs; whether two differ, their paired difference says."
        + " Hollow: another run gained more for less, by the values." * any(beaten)
    )
    if aside:
        further = ", ".join(f"{point.label} at {plain(point.x.value)}" for point in aside)
        caption += f" Further to the left than the picture: {further}."
    height = max(HEIGHT, LINE * len(points) + 60) if column else HEIGHT
    return Picture(slug, columns, tuple(rows), title, draw(slug, f"{title} {spoken}", height, paint), caption)


def _near_zero(costs: Sequence[float]) -> float:
    """Below which a logarithmic scale of the costs becomes linear; 0 where equal steps show them well."""
    sizes = [abs(cost) for cost in costs]
    middle = statistics.median(sizes)
    return middle / 4 if max(sizes) > OUTLYING * middle > 0 else 0.0


def _ticks(bottom: float, top: float, near_zero: float) -> list[float]:
    """0, and 1, 2 and 5 times the powers of ten where the scale is logarithmic.

    >>> _ticks(-0.3, 1.0, 0.15)
    [-0.2, 0.0, 0.2, 0.5, 1.0]
    """
    powers = range(math.floor(math.log10(near_zero)), math.floor(math.log10(max(-bottom, top))) + 1)
    sizes = [float(f"{step}e{power}") for power in powers for step in (1, 2, 5)]
    ticks = [0.0, *sizes, *(-size for size in sizes)]
    return sorted(tick for tick in ticks if bottom <= tick <= top and (not tick or abs(tick) >= near_zero))


def _mark(axes: Axes, point: Point, hollow: bool, x: float) -> None:
    ink = colour(point.slot)
    line: dict[str, Any] = {"color": ink, "lw": 1.6, "alpha": 0.5, "solid_capstyle": "butt"}
    if (bounds := _bounds(point.x)) and x == point.x.value:
        axes.plot(bounds, [point.y.value] * 2, **line)
    if bounds := _bounds(point.y):
        axes.plot([x] * 2, bounds, **line)
    if len(point.seeds) > 1:
        xs, ys = [x for _, x, _ in point.seeds], [y for *_, y in point.seeds]
        axes.scatter(xs, ys, s=14, color=ink, alpha=0.7, lw=0)
    face, edge = (PAPER, ink) if hollow else (ink, PAPER)
    where = ([x], [point.y.value])
    axes.scatter(*where, s=74, fc=face, ec=edge, marker=point.slot.marker, zorder=3, lw=1.6 if hollow else 1.2)


def _part(axes: Axes, place: tuple[float, float]) -> Place:
    """A place in the units of the axes as parts of their width and height."""
    x, y = (axes.transData + axes.transAxes.inverted()).transform(place)
    return float(x), float(y)


def _name_beside(axes: Axes, names: Sequence[str], places: Sequence[Place]) -> None:
    """Names of neighbours are pushed down until they can be read; the marks stay where they are."""
    placed = list[Place]()
    for name, (x, y) in sorted(zip(names, places, strict=True), key=lambda named: -named[1][1]):
        aside, align = (-9, "right") if x > 0.65 else (9, "left")
        height = y
        while any(abs(x - other) < 0.4 and abs(height - taken) < 0.075 for other, taken in placed):
            height -= 0.02
        placed.append((x, height))
        style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        style["bbox"] = {"fc": PAPER, "ec": "none", "pad": 0.8}
        axes.annotate(name, (x, height), xytext=(aside, 9), ha=align, color=INK, fontsize=10.5, **style)


def _name_in_column(axes: Axes, names: Sequence[str], places: Sequence[Place]) -> None:
    """Names at the right, in the order of their marks' heights, each with a line to its mark."""
    step = 0.98 / len(names)
    ordered = sorted(zip(places, names, strict=True), key=lambda named: (named[0][1], named[0][0]))
    heights = _spread([y for (_, y), _ in ordered], step)
    for (place, name), height in zip(ordered, heights, strict=True):
        axes.annotate(
            name,
            place,
            xytext=(0.74, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=INK,
            fontsize=10.5,
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.6, "relpos": (0, 0.5), "shrinkB": 5},
            zorder=2,
        )


def _spread(heights: Sequence[float], step: float) -> list[float]:
    """Rising heights, moved as little as makes them ``step`` apart and keeps them between 0 and 1.

    >>> [round(height, 2) for height in _spread([0.0, 0.1, 0.12, 0.98], 0.2)]
    [0.1, 0.3, 0.5, 0.9]
    """
    lowest = [step * (0.5 + index) for index in range(len(heights))]
    placed = list[float]()
    for height, least in zip(heights, lowest, strict=True):
        placed.append(max(height, least, placed[-1] + step if placed else 0.0))
    for index in reversed(range(len(placed))):
        most = placed[index + 1] - step if index + 1 < len(placed) else 1 - step / 2
        placed[index] = min(placed[index], most)
    return placed


def _point_to_better(axes: Axes, taken: Sequence[Place]) -> None:
    """An arrow to the lower right, in the clearing that is furthest from every mark."""
    free = max(CLEARINGS, key=lambda spot: min(math.dist((spot[0] - 0.08, spot[1] + 0.06), mark) for mark in taken))
    arrow = {"arrowstyle": "->", "color": MUTED, "lw": 1}
    place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (-34, 24), "textcoords": "offset points"}
    axes.annotate("better", free, color=MUTED, fontsize=10, ha="center", arrowprops=arrow, **place)


def _bounds(measure: Estimate) -> list[float]:
    return [measure.low, measure.high] if measure.bounded else []


def _padded(values: Sequence[float], before: float, after: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    span = high - low or 1.0
    return low - before * span, high + after * span
