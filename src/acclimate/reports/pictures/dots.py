"""Dots with intervals on one axis, one row a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes

from acclimate.paired.estimate import Estimate
from acclimate.reports.pictures.palette import BASE, Slot
from acclimate.reports.pictures.picture import Picture, plain, short, whole
from acclimate.reports.pictures.svg import INK, MUTED, PAPER, colour, draw
from acclimate.reports.words import number

ROW = 38  # pixels per row


@dataclass(frozen=True)
class Dot:
    """One row: a run, or one of its sets, with interval, and the value of each seed."""

    label: str
    slot: Slot
    measure: Estimate
    seeds: Mapping[int, float]
    note: str = ""
    row: str = ""  # what the row is called where it is not the run

    @property
    def name(self) -> str:
        return self.row or self.label


def dots(
    slug: str, title: str, items: Sequence[Dot], axis: str, spell: number.Spelling, from_zero: bool = False,
    at_zero: bool = False, caption: str = "",
) -> Picture:  # fmt: skip
    """One row each: interval, mean, and a small dot per seed. ``at_zero`` draws the line of no change.

    Neighbours of one ``row`` stand below its name, each labelled by its run; of one run alone, rows name themselves.
    """

    heights, headings = _rows(items)

    def paint(axes: Axes) -> None:
        for y, dot in zip(heights, items, strict=True):
            ink, measure = colour(dot.slot), dot.measure
            if measure.bounded:
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
        if at_zero:
            axes.axvline(0, color=MUTED, lw=0.8, ls=(0, (3, 3)), zorder=1)
        names = [(y, dot.label if headings else dot.name) for y, dot in zip(heights, items, strict=True)]
        ticks = sorted([*names, *headings])
        axes.set_yticks([y for y, _ in ticks], [short(name) for _, name in ticks])
        axes.tick_params(axis="y", labelcolor=INK)
        for label, tick in zip(axes.get_yticklabels(), ticks, strict=True):
            if tick in headings:
                label.set_fontweight("bold")
        axes.set_ylim(len(ticks) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(axis, fontsize=10)
        axes.locator_params(axis="x", nbins=5)
        if from_zero:
            axes.set_xlim(left=0)

    rows: list[tuple[str, ...]] = []
    for dot in items:
        who = (dot.row, dot.label) if dot.row else (dot.label,)
        bounds = [plain(dot.measure.low), plain(dot.measure.high), str(dot.measure.n or "")]
        rows.append((*who, whole(dot.seeds), plain(dot.measure.value), *bounds))
        if len(dot.seeds) > 1:
            rows += [(*who, str(seed), plain(value), "", "", "") for seed, value in dot.seeds.items()]
    spoken = "; ".join(f"{' '.join(filter(None, (dot.row, dot.label)))} {spell(dot.measure.value)}" for dot in items)
    row = ("row", "run") if any(dot.row for dot in items) else ("run",)
    columns = (*row, "seed", axis, "low (95 %)", "high (95 %)", "n")
    svg = draw(slug, f"{title} {spoken}", 62 + ROW * (len(items) + len(headings)), paint)
    return Picture(slug, columns, tuple(rows), title, svg, caption)


def _rows(items: Sequence[Dot]) -> tuple[list[int], list[tuple[int, str]]]:
    """The height of each dot, and (height, name) of what stands above a group.

    >>> dot = lambda label, row: Dot(label, BASE, Estimate(0.0), {}, row=row)
    >>> _rows([dot("sft", "chat"), dot("mol", "chat"), dot("sft", "news")])
    ([1, 2, 4], [(0, 'chat'), (3, 'news')])
    >>> _rows([dot("sft", "chat"), dot("sft", "news")])
    ([0, 1], [])
    """
    groups = [[*group] for _, group in groupby(items, key=lambda dot: dot.row)]
    if not items or not items[0].row or len({dot.label for dot in items}) == 1:
        return list(range(len(items))), []
    heights: list[int] = []
    headings: list[tuple[int, str]] = []
    for group in groups:
        at = len(heights) + len(headings)
        headings.append((at, group[0].row))
        heights += range(at + 1, at + 1 + len(group))
    return heights, headings
