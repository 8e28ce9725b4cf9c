"""A forgetting budget over steps: what held-out text spends of it, the training rows' signal, and the dial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes

from acclimate.paired.metrics import BITS
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.curves import Curve, curves
from acclimate.reports.pictures.palette import Slot, slots
from acclimate.reports.pictures.picture import Picture
from acclimate.reports.pictures.svg import colour
from acclimate.reports.words.names import named
from acclimate.runs.folder import RunFolder

MEAN = "mean"
MARKS = "A ring is what the chosen weights spend, a cross a measurement from which the run went back."


def budget(data: ReportData) -> list[Picture]:
    """Of each set with a limit, or of each and their mean, then signal and dial; nothing where no run has a budget."""
    if not any(folder.retain for folder in data.folders):
        return []
    pictures = [_held(data, name, f"budget-{index}") for index, name in enumerate(_sets(data))]
    if signal := _curves(data, "retain/signal"):
        title = "Did the training rows come to their target?"
        caption = "Drift of the rows that hold the model; dashed its target, which held-out text moves."
        beside = _lines(data, lambda folder: folder.series("retain/target"))
        unit = "part of the budget"
        pictures.append(curves("budget-signal", title, signal, unit, _end(data), True, caption, beside))
    if dials := _curves(data, "dial/strength"):
        title = "How hard did the run have to hold?"
        caption = "Factor on the strength that the method declares; logarithmic."
        unit = "strength"
        pictures.append(curves("budget-dial", title, dials, unit, _end(data), False, caption, log=True))
    return pictures


def _sets(data: ReportData) -> list[str]:
    """Names under which a limit or what it is a mean of was measured, the mean first."""
    names: dict[str, None] = {}
    for folder in data.folders:
        for name in (*(folder.retain or {}).get("limits", {}), *(folder.retain or {}).get("sets", {})):
            names.setdefault(name)
    return sorted(names, key=lambda name: name != MEAN)


def _held(data: ReportData, name: str, slug: str) -> Picture:
    marks, items = slots(data.runs), []
    for run in data.runs:
        found = {seed.seed: line for seed in run.seeds if (line := _measured(seed, name))}
        if found:
            items.append(Curve(run.label, marks[run.label], found))
    metric = next(str(folder.retain["metric"]) for folder in data.folders if folder.retain)
    unit = "bits per byte above the base, %" if metric == BITS else "KL(base‖tuned), nats per token"
    of = "the mean over sets" if name == MEAN else named(name)
    limited = any(name in (folder.retain or {}).get("limits", {}) for folder in data.folders)
    dashed = "Dashed: the budget." if limited else "Dashed: the budget, which is for the mean over sets."
    title = f"Did {of} stay inside of the budget?" if limited else f"How far did {of} move?"
    return curves(slug, title, items, unit, _end(data), metric != BITS, f"{dashed} {MARKS}", _marks(data, name))


def _measured(folder: RunFolder, name: str) -> list[tuple[int, float]]:
    """(step, value) of a set, or of the mean of all that the budget is of."""
    record = folder.retain or {}
    key = "change_percent" if record.get("metric") == BITS else record.get("metric", "")
    if name != MEAN:
        return folder.series(f"eval/{name}/{key}")
    limit = (record.get("limits") or {}).get(MEAN)
    part = 100 if record.get("metric") == BITS else 1
    return [] if limit is None else [(step, spent * limit * part) for step, spent in folder.series("retain/spent")]


def _marks(data: ReportData, name: str) -> Callable[[Axes], None]:
    """The budget's line of each run, in its colour; rings and crosses on the curve."""
    ink = slots(data.runs)

    def paint(axes: Axes) -> None:
        for run, folder in _budgeted(data):
            record, line = folder.retain or {}, dict(_measured(folder, name))
            limit = record["limits"].get(name, record["limits"].get(MEAN))
            if limit is not None:
                height = 100 * limit if record["metric"] == BITS else limit
                axes.axhline(height, color=colour(ink[run.label]), lw=1.1, ls=(0, (4, 3)), zorder=1)
            chosen = (record.get("sets") or {}).get(name)
            if chosen is not None and "step" in record:
                height = 100 * chosen["value"] if record["metric"] == BITS else chosen["value"]
                ring: dict[str, Any] = {"fc": "none", "ec": colour(ink[run.label]), "zorder": 4, "clip_on": False}
                axes.scatter([record["step"]], [height], s=70, lw=1.6, **ring)
            back = [step for step in record.get("rolled_back", ()) if step in line]
            axes.scatter(back, [line[step] for step in back], s=46, marker="x", c=colour(ink[run.label]), zorder=4)

    return paint


def _lines(data: ReportData, series: Callable[[RunFolder], list[tuple[int, float]]]) -> Callable[[Axes], None]:
    ink = slots(data.runs)

    def paint(axes: Axes) -> None:
        for run, folder in _budgeted(data):
            if _steered(folder) and (line := series(folder)):
                axes.plot(*zip(*line, strict=True), color=colour(ink[run.label]), lw=1.1, ls=(0, (4, 3)))

    return paint


def _budgeted(data: ReportData) -> list[tuple[Run, RunFolder]]:
    return [(run, seed) for run in data.runs for seed in run.seeds if seed.retain]


def _curves(data: ReportData, key: str) -> list[Curve]:
    """Of the runs that a budget steers."""
    marks: Mapping[str, Slot] = slots(data.runs)
    found = []
    for run in data.runs:
        own = {seed.seed: line for seed in run.seeds if _steered(seed) and (line := seed.series(key))}
        if own:
            found.append(Curve(run.label, marks[run.label], own))
    return found


def _steered(folder: RunFolder) -> bool:
    return bool((folder.retain or {}).get("strength"))


def _end(data: ReportData) -> int:
    return max(int(folder.steps[-1]["step"]) for folder in data.folders if folder.steps)
