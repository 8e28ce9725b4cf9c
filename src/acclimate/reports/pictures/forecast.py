"""Drift on text that no run learned from, against drift on the domain: what the one foretells of the other.

Where a run learns from the domain alone, drift elsewhere is proportional to KL on the domain, by a constant of the
set-up. The line does not hold for runs that saw other text [ours: benchmarks/2026-11-30-forecast.md]. So it goes
through the former, and how far the latter lie below it is what the other text spared.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from acclimate.reports.pictures.palette import Slot
from acclimate.reports.pictures.picture import Picture, plain, short
from acclimate.reports.pictures.svg import MUTED, colour, draw
from acclimate.reports.words.names import joined, named

FEWEST, FEWEST_ALONE = 6, 3
"""Runs that a picture needs, and those of them that learned from the domain alone, through which the line goes."""
SPREAD = 1.5
"""Factor that nine of ten runs on the domain alone stay within, when their methods are left out of the fit [ours]."""
HEIGHT, MOST_TICKS = 330, 6


@dataclass(frozen=True)
class Distances:
    """How far one training moved, in nats per token: KL(base || tuned) by set.

    Args:
        domain: on held-out documents of the domain.
        elsewhere: set -> the same of every other set.
        learned: sources that it learned from.
        alone: whether these are the domain and nothing else.
    """

    label: str
    slot: Slot
    seed: int
    domain: float
    elsewhere: Mapping[str, float]
    learned: frozenset[str]
    alone: bool


def forecast(runs: Sequence[Distances]) -> list[Picture]:
    """One picture, or none: too few runs, too few on the domain alone, or no set that all of them left alone.

    The sets are those that none of the runs learned from and that ``FEWEST`` of them were measured on; a run that lacks
    one of them is left out.
    """
    learned = frozenset[str]().union(*(run.learned for run in runs))
    names = dict.fromkeys(name for run in runs for name in run.elsewhere if name not in learned)
    sets = [name for name in names if sum(name in run.elsewhere for run in runs) >= FEWEST]
    drawn = [run for run in runs if all(run.elsewhere.get(name, 0.0) > 0 for name in sets) and run.domain > 0]
    alone = [run for run in drawn if run.alone]
    if not sets or len(drawn) < FEWEST or len(alone) < FEWEST_ALONE:
        return []
    drifts = [statistics.fmean(run.elsewhere[name] for name in sets) for run in drawn]
    part = proportion([run.domain for run in alone], [d for run, d in zip(drawn, drifts, strict=True) if run.alone])
    return [_picture(drawn, drifts, part, joined(named(name) for name in sets))]


def proportion(domain: Sequence[float], elsewhere: Sequence[float]) -> float:
    """c of ``elsewhere = c domain`` that fits best in logarithms: the geometric mean of the ratios.

    >>> round(proportion([1.0, 4.0], [0.2, 1.8]), 6)
    0.3
    """
    ratios = [math.log(y / x) for x, y in zip(domain, elsewhere, strict=True)]
    return math.exp(statistics.fmean(ratios))


def _picture(runs: Sequence[Distances], drifts: Sequence[float], part: float, where: str) -> Picture:
    title = "Does drift on the domain foretell drift elsewhere?"
    slots = {run.label: run.slot for run in runs}
    ends = np.array([min(run.domain for run in runs) / 1.2, 1.2 * max(run.domain for run in runs)])

    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.fill_between(ends, part * ends / SPREAD, part * ends * SPREAD, color=MUTED, alpha=0.12, lw=0)
        axes.plot(ends, part * ends, color=MUTED, lw=1, ls=(0, (4, 3)))
        marks = []
        for label, slot in slots.items():
            own = [(run.domain, drift) for run, drift in zip(runs, drifts, strict=True) if run.label == label]
            xs, ys = zip(*own, strict=True)
            marks.append(axes.scatter(xs, ys, s=34, color=colour(slot), marker=slot.marker, lw=0, alpha=0.8))
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = _ticks(*limits)
            axis.set_minor_locator(NullLocator())
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        # given one by one: a label that begins with an underscore has no entry otherwise
        axes.legend(
            marks,
            [short(label) for label in slots],
            frameon=False,
            fontsize=10,
            handletextpad=0.2,
            borderpad=0,
            loc="best",
            ncols=1 + len(slots) // 9,
        )
        axes.set_xlabel("KL(base‖tuned) on the domain, nats/token", fontsize=10)
        axes.set_ylabel("KL(base‖tuned) elsewhere, nats/token\n(lower is better)", fontsize=10)

    rows = []
    for run, drift in zip(runs, drifts, strict=True):
        numbers = (plain(run.domain), plain(drift), plain(part * run.domain))
        rows.append((run.label, str(run.seed), *numbers, "yes" if run.alone else "no"))
    columns = ("run", "seed", "KL on the domain, nats/token", "KL elsewhere, nats/token", "foretold",
               "learned from the domain alone")  # fmt: skip
    spoken = "; ".join(f"{run.label} {plain(run.domain)}, {plain(d)}" for run, d in zip(runs, drifts, strict=True))
    alone = sum(run.alone for run in runs)
    caption = (
        f"Elsewhere: {where}, which none of these runs learned from. The line: {part:.2f} of the drift on the domain, "
        f"through the {alone} runs that learned from the domain alone. Shaded: a factor of {SPREAD:g} up and down."
    )
    if beside := [(run, d) for run, d in zip(runs, drifts, strict=True) if not run.alone]:
        below = sum(drift < part * run.domain / SPREAD for run, drift in beside)
        caption += (
            f" Of the {len(beside)} that saw other text {below} lie below the shade: so much did that text spare."
        )
    return Picture(
        "forecast", columns, tuple(rows), title, draw("forecast", f"{title} {spoken}", HEIGHT, paint), caption
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic scale: the finest of three series that gives at most six.

    >>> _ticks(0.7, 2.2), _ticks(0.03, 4.0), _ticks(0.001, 50.0)
    ([0.7, 1.0, 1.5, 2.0], [0.05, 0.1, 0.2, 0.5, 1.0, 2.0], [0.001, 0.01, 0.1, 1.0, 10.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for series in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5)):
        ticks = [tick for power in powers for step in series if low <= (tick := float(f"{step}e{power}")) <= high]
        if len(ticks) <= MOST_TICKS:
            return ticks
    return [float(f"1e{power}") for power in powers if low <= 10.0**power <= high]
