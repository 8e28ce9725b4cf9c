"""Shares of the sources over steps, as asked and as trained; of runs whose shares are not the same throughout."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from matplotlib.axes import Axes

from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.curves import Curve, Line, curves
from acclimate.reports.pictures.palette import slots
from acclimate.reports.pictures.picture import Picture
from acclimate.reports.pictures.svg import colour
from acclimate.reports.words.names import named
from acclimate.runs.folder import RunFolder

ASKED, TRAINED = "asked_tokens/", "trained_tokens/"
WINDOWS = 20
"""Of steps, over which shares are counted: single steps hold whole rows."""


def shares(data: ReportData) -> list[Picture]:
    """A picture a source; none where no run's shares move."""
    return [_of_source(data, name, f"shares-{index}") for index, name in enumerate(moving_sources(data))]


def moving_sources(data: ReportData) -> list[str]:
    """Sources of the runs whose shares move."""
    names: dict[str, None] = {}
    for folder in data.folders:
        for key in folder.steps[-1] if folder.steps else ():
            if key.startswith(ASKED):
                names.setdefault(key.removeprefix(ASKED))
    return list(names)


def share_of(folder: RunFolder, kind: str, source: str) -> Line:
    """(step, part of the tokens since the point before) of a source: realised, or asked for."""
    lines = [line for line in folder.steps if f"{ASKED}{source}" in line]
    size = max(1, -(-len(lines) // WINDOWS))
    ends = [*lines[size - 1 :: size], *([lines[-1]] if len(lines) % size else [])]
    found: list[tuple[int, float]] = []
    for before, now in pairwise([{}, *ends]):
        gained = {key: now[key] - before.get(key, 0.0) for key in now if key.startswith(kind)}
        if (total := sum(gained.values())) > 0:
            found.append((int(now["step"]), gained[f"{kind}{source}"] / total))
    return found


def _of_source(data: ReportData, source: str, slug: str) -> Picture:
    marks, items = slots(data.runs), []
    for run in data.runs:
        if own := {seed.seed: line for seed in run.seeds if (line := share_of(seed, TRAINED, source))}:
            items.append(Curve(run.label, marks[run.label], own))
    end = max(int(folder.steps[-1]["step"]) for folder in data.folders if folder.steps)
    title = f"Which part of the tokens did {named(source)} give?"
    caption = "Dashed: as asked. A source is within a row of it, so short stretches differ by rows."
    return curves(slug, title, items, "share of trained tokens", end, True, caption, _asked(data, source))


def _asked(data: ReportData, source: str) -> Callable[[Axes], None]:
    ink = slots(data.runs)

    def paint(axes: Axes) -> None:
        for run, line in _lines(data, source):
            axes.plot(*zip(*line, strict=True), color=colour(ink[run.label]), lw=1.1, ls=(0, (4, 3)))

    return paint


def _lines(data: ReportData, source: str) -> list[tuple[Run, Line]]:
    """Of each run's first seed: a schedule is the same in all."""
    return [(run, line) for run in data.runs if (line := share_of(run.seeds[0], ASKED, source))]
