"""The pictures: what was gained, what was kept, the two against each other, and how training went."""

from __future__ import annotations

import statistics

from acclimate.report import number
from acclimate.report.collect import ReportData
from acclimate.report.folder import Measure, TextSet
from acclimate.report.palette import BASE, slots
from acclimate.report.panel import Curve, Dot, Panel, Point, curves, dots, plane
from acclimate.report.verdict import gained_finding, kept_finding, named, phrase


def gained(data: ReportData) -> list[Panel]:
    """Bits per byte of the base and of each run, one panel for each domain set."""
    panels = []
    for index, item in enumerate(data.role("domain")):
        items = [Dot("base", BASE, data.base[item.name], {})] if item.name in data.base else []
        items += _measured(data, item, "bits_per_byte")
        title = gained_finding(data, item)
        panels.append(dots(f"gained-{index}", title, items, "bits per byte (lower is better)", number.bits))
    return panels


def kept(data: ReportData) -> list[Panel]:
    """KL(base || tuned) of each run, one panel for each chat or general set."""
    panels = []
    for index, item in enumerate(data.role("chat", "general")):
        if items := _measured(data, item, "kl_base_tuned"):
            axis = "KL(base‖tuned), nats per token (lower is better)"
            panels.append(dots(f"kept-{index}", kept_finding(data, item), items, axis, number.nats, from_zero=True))
    return panels


def tradeoff(data: ReportData) -> list[Panel]:
    """Domain gain against drift, one panel for each chat or general set; of a single run there is none."""
    panels: list[Panel] = []
    if len(data.runs) == 1:
        return panels
    for index, item in enumerate(data.role("chat", "general")):
        if points := _points(data, item):
            title = f"Which run learns most for the least drift on {phrase(item)}?"
            x_axis = "domain gain, % fewer bits per byte (right is better)"
            y_axis = "KL(base‖tuned), nats/token\n(lower is better)"
            panels.append(plane(f"tradeoff-{index}", title, points, x_axis, y_axis))
    return panels


def learning(data: ReportData) -> list[Panel]:
    """Loss of each source and term, and held-out bits per byte, over steps; runs share the axes."""
    keys = dict.fromkeys(key for folder in data.folders for line in folder.steps for key in line)
    losses = [key for key in keys if key.startswith("loss/")]
    scores = [key for key in keys if key.startswith("eval/") and key.endswith("/bits_per_byte")]
    return [_learning(data, key, f"curve-{index}") for index, key in enumerate([*losses, *scores])]


def throughput(data: ReportData) -> list[Panel]:
    """Median tokens per second of each run."""
    marks = slots(data.runs)
    items = [
        Dot(run.label, marks[run.label], Measure(statistics.fmean(run.rates.values()), None, None, 0), run.rates)
        for run in data.runs
        if run.rates
    ]
    title = f"How fast did {'the run' if len(data.runs) == 1 else 'each run'} train?"
    axis = "tokens per second, median over steps"
    return [dots("throughput", title, items, axis, number.count, from_zero=True)] if items else []


def _measured(data: ReportData, item: TextSet, metric: str) -> list[Dot]:
    marks = slots(data.runs)
    found = []
    for run in data.runs:
        if measure := run.measure(item.name, metric):
            change = data.change(run, item) if metric == "bits_per_byte" else None
            note = "" if change is None else number.change(change)
            found.append(Dot(run.label, marks[run.label], measure, run.by_seed(item.name, metric), note))
    return found


def _points(data: ReportData, item: TextSet) -> list[Point]:
    """Each run as (gain in percent, drift); a run without either measure is left out."""
    domain, marks = data.domain, slots(data.runs)
    points = []
    for run in data.runs:
        drift, change = data.drift(run, item), data.change(run, domain) if domain else None
        if domain and drift and change is not None:
            seeds = [
                (seed, -(data.change(run, domain, seed) or 0.0), value)
                for seed, value in run.by_seed(item.name, "kl_base_tuned").items()
            ]
            points.append(Point(run.label, marks[run.label], -change, drift.value, seeds))
    return points


def _learning(data: ReportData, key: str, slug: str) -> Panel:
    marks = slots(data.runs)
    kind, *middle, last = key.split("/")
    name = named("/".join(middle))
    anchor = kind == "loss" and "kl" in last
    if kind == "eval":
        trained = any(item.name == "/".join(middle) for item in data.role("domain"))
        question = "get easier to predict" if trained else "stay as predictable as it was"
        title, unit = f"Does unseen {name} text {question}?", "bits per byte"
    elif anchor:
        title, unit = f"Is {name} held close to the base? ({named(last)})", "loss, nats per token"
    else:
        title, unit = f"Does the loss on {name} keep falling? ({named(last)})", "loss, nats per token"
    items = []
    for run in data.runs:
        if own := {seed.seed: line for seed in run.seeds if (line := seed.series(key))}:
            items.append(Curve(run.label, marks[run.label], own))
    end = max(int(folder.steps[-1]["step"]) for folder in data.folders if folder.steps)
    who = ", ".join(named(item.label) for item in items)
    caption = "" if len(items) == len(data.runs) else f"Logged by {who} only."
    return curves(slug, title, items, unit, end, anchor, caption)
