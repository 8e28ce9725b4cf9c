"""One picture with the numbers it was drawn from: dots with intervals, a plane of two measures, curves over steps."""

from __future__ import annotations

import csv
import io
import math
import statistics
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from acclimate.report import number
from acclimate.report.folder import Measure
from acclimate.report.palette import BASE, Slot
from acclimate.report.svg import INK, MUTED, PAPER, colour, draw

CURVE_POINTS = 120
FEW_POINTS = 24  # so few are drawn as they are, with marks
ROW = 38  # pixels per run in a picture of dots
CLEARINGS = ((0.97, 0.04), (0.6, 0.4), (0.35, 0.4), (0.35, 0.75), (0.97, 0.8))  # where "better" may be written

Line = Sequence[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class Panel:
    """A picture, its numbers as a table, and a caption where it needs one."""

    slug: str
    title: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    @property
    def csv(self) -> str:
        """The numbers as a data: address. Text that a spreadsheet would take for a formula is quoted."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(self.columns)
        writer.writerows([_inert(cell) for cell in row] for row in self.rows)
        return "data:text/csv;charset=utf-8," + urllib.parse.quote(buffer.getvalue(), errors="replace")


@dataclass(frozen=True)
class Dot:
    """One run on a line: its mean with interval, and the value of each seed."""

    label: str
    slot: Slot
    measure: Measure
    seeds: Mapping[int, float]
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One run in a plane: its mean, and each seed as (seed, x, y)."""

    label: str
    slot: Slot
    x: float
    y: float
    seeds: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Curve:
    """One run over steps: seed -> line."""

    label: str
    slot: Slot
    seeds: Mapping[int, Line]


def dots(
    slug: str, title: str, items: Sequence[Dot], axis: str, spell: number.Spelling, from_zero: bool = False
) -> Panel:
    """One line per run: interval, mean, and a small dot per seed."""

    def paint(axes: Axes) -> None:
        for y, dot in enumerate(items):
            ink, measure = colour(dot.slot), dot.measure
            if measure.low is not None and measure.high is not None:
                axes.plot([measure.low, measure.high], [y, y], color=ink, lw=2.2, alpha=0.55)
            if len(dot.seeds) > 1:
                axes.scatter(list(dot.seeds.values()), [y + 0.26] * len(dot.seeds), s=13, color=ink, alpha=0.8, lw=0)
            face, edge = (PAPER, ink) if dot.slot == BASE else (ink, PAPER)
            axes.scatter([measure.value], [y], s=62, fc=face, ec=edge, marker=dot.slot.marker, zorder=3, lw=1.4)
            words = spell(measure.value) + (f"\u2003{dot.note}" if dot.note else "")
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
            axes.annotate(words, (1.03, y), color=INK, **place)
            if dot.slot == BASE:
                axes.axvline(measure.value, color=MUTED, lw=0.8, ls=(0, (3, 3)), zorder=1)
        axes.set_yticks(range(len(items)), [_short(dot.label) for dot in items])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(items) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(axis, fontsize=10)
        axes.locator_params(axis="x", nbins=5)
        if from_zero:
            axes.set_xlim(left=0)

    rows: list[tuple[str, ...]] = []
    for dot in items:
        bounds = [_plain(dot.measure.low), _plain(dot.measure.high), str(dot.measure.n or "")]
        rows.append((dot.label, _whole(dot.seeds), _plain(dot.measure.value), *bounds))
        if len(dot.seeds) > 1:
            rows += [(dot.label, str(seed), _plain(value), "", "", "") for seed, value in dot.seeds.items()]
    spoken = "; ".join(f"{dot.label} {spell(dot.measure.value)}" for dot in items)
    columns = ("run", "seed", axis, "low (95 %)", "high (95 %)", "documents")
    return Panel(slug, title, draw(slug, f"{title} {spoken}", 62 + ROW * len(items), paint), columns, tuple(rows))


def plane(slug: str, title: str, points: Sequence[Point], x_axis: str, y_axis: str) -> Panel:
    """Gain to the right, drift upwards, the base in the origin: the lower right is best."""
    every = [(point.x, point.y) for point in points] + [(x, y) for point in points for _, x, y in point.seeds]
    left = min(0.0, *(x for x, _ in every))
    right = max(0.0, *(x for x, _ in every)) or 1.0
    top = max(y for _, y in every) or 1.0

    def paint(axes: Axes) -> None:
        axes.scatter([0], [0], s=46, fc=PAPER, ec=colour(BASE), lw=1.4, zorder=3, clip_on=False)
        axes.annotate("base", (0, 0), xytext=(8, 8), textcoords="offset points", color=MUTED, fontsize=10)
        placed: list[tuple[float, float]] = []
        for point in sorted(points, key=lambda point: -point.y):
            ink = colour(point.slot)
            if len(point.seeds) > 1:
                xs, ys = [x for _, x, _ in point.seeds], [y for *_, y in point.seeds]
                axes.scatter(xs, ys, s=14, color=ink, alpha=0.7, lw=0)
            axes.scatter([point.x], [point.y], s=74, color=ink, marker=point.slot.marker, zorder=3, ec=PAPER, lw=1.2)
            # Names of neighbours are pushed down until they can be read; the marks stay where they are.
            y = point.y
            while any(abs(point.x - x) < 0.35 * right and abs(y - other) < 0.08 * top for x, other in placed):
                y -= 0.02 * top
            placed.append((point.x, y))
            reach = [point.x, *(x for _, x, _ in point.seeds)]
            aside, align, edge = (-11, "right", min(reach)) if point.x > right * 0.72 else (11, "left", max(reach))
            place: dict[str, Any] = {"xytext": (aside, 0), "textcoords": "offset points", "va": "center", "ha": align}
            axes.annotate(_short(point.label), (edge, y), fontsize=10.5, **place)
        axes.set_xlabel(x_axis, fontsize=10)
        axes.set_ylabel(y_axis, fontsize=10)
        axes.set_xlim(left - right * 0.04, right * 1.12)
        axes.set_ylim(0, top * 1.15)
        axes.locator_params(nbins=6)
        _point_to_better(
            axes, [((x - left) / (right * 1.12 - left), y / (top * 1.15)) for x, y in [*every, (0.0, 0.0)]]
        )

    rows: list[tuple[str, ...]] = []
    for point in points:
        rows.append((point.label, _whole(point.seeds), _plain(point.x), _plain(point.y)))
        if len(point.seeds) > 1:
            rows += [(point.label, str(seed), _plain(x), _plain(y)) for seed, x, y in point.seeds]
    spoken = "; ".join(f"{point.label} {number.change(point.x)} gain, KL {number.nats(point.y)}" for point in points)
    columns = ("run", "seed", x_axis, " ".join(y_axis.split()))
    return Panel(slug, title, draw(slug, f"{title} {spoken}", 290, paint), columns, tuple(rows))


def curves(slug: str, title: str, items: Sequence[Curve], unit: str, end: int, from_zero: bool, caption: str) -> Panel:
    """Thin lines are single seeds as logged; the thick line is their mean, smoothed where there are many points."""
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
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step", fontsize=10)
        axes.set_ylabel(unit, fontsize=10)
        axes.locator_params(nbins=5)

    lines = [(item.label, seed, line) for item in thinned for seed, line in item.seeds.items()]
    rows = tuple((label, str(seed), str(step), _plain(value)) for label, seed, line in lines for step, value in line)
    spoken = "; ".join(f"{label} seed {seed} {line[0][1]:.3f} to {line[-1][1]:.3f}" for label, seed, line in lines)
    columns = ("run", "seed", "step", unit)
    return Panel(slug, title, draw(slug, f"{title} {spoken}", 230, paint), columns, rows, caption)


def _point_to_better(axes: Axes, taken: Sequence[tuple[float, float]]) -> None:
    """An arrow to the lower right, in the clearing that is furthest from every mark."""
    free = max(CLEARINGS, key=lambda spot: min(math.dist((spot[0] - 0.08, spot[1] + 0.06), mark) for mark in taken))
    arrow = {"arrowstyle": "->", "color": MUTED, "lw": 1}
    place: dict[str, Any] = {
        "xycoords": "axes fraction",
        "xytext": (-34, 24),
        "textcoords": "offset points",
        "ha": "center",
    }
    axes.annotate("better", free, color=MUTED, fontsize=10, arrowprops=arrow, **place)


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


def _whole(seeds: Mapping[int, float] | Sequence[tuple[int, float, float]]) -> str:
    """The seed column of a run's own row."""
    return "mean" if len(seeds) > 1 else "".join(str(seed if isinstance(seed, int) else seed[0]) for seed in seeds)


def _short(label: str) -> str:
    text, left = number.clip(" ".join(label.split()), 18)
    return text + ("…" if left else "")


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _inert(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "@", "-") and not cell[1:2].isdigit() else cell
