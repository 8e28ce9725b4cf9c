"""The pictures: what was gained, what was kept, where it hurts, gain against cost, and how training went."""

from __future__ import annotations

import statistics
from dataclasses import replace

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.curves import Curve, curves
from acclimate.reports.pictures.dots import Dot, dots
from acclimate.reports.pictures.forecast import Distances, forecast
from acclimate.reports.pictures.palette import BASE, Slot, slots
from acclimate.reports.pictures.pareto import Point, pareto
from acclimate.reports.pictures.picture import Picture
from acclimate.reports.words import number
from acclimate.reports.words.names import joined, named, phrase
from acclimate.reports.words.outcome import outcome
from acclimate.reports.words.pairs import against
from acclimate.runs.folder import RunFolder, TextSet

MOST_ROWS = 24  # of a picture that ranks
TRAINED = "trained_tokens/"  # how the keys of a step begin that count a source's tokens


def gained(data: ReportData) -> list[Picture]:
    """Bits per byte of the base and of each run, one picture for each domain set."""
    pictures = []
    for index, item in enumerate(data.role("domain")):
        items = [Dot("base", BASE, data.base[item.name], {})] if item.name in data.base else []
        items += _measured(data, item, BITS)
        title = gained_finding(data, item)
        pictures.append(dots(f"gained-{index}", title, items, "bits per byte (lower is better)", number.bits))
    return pictures


def kept(data: ReportData) -> list[Picture]:
    """KL(base || tuned) of each run, one picture for each chat or general set."""
    pictures = []
    for index, item in enumerate(data.role("chat", "general")):
        if items := _measured(data, item, DRIFT):
            axis = "KL(base‖tuned), nats per token (lower is better)"
            pictures.append(dots(f"kept-{index}", kept_finding(data, item), items, axis, number.nats, from_zero=True))
    return pictures


def hurts(data: ReportData) -> list[Picture]:
    """The change of every set under every run: sets by their worst change, runs within a set likewise."""
    marks = slots(data.runs)
    ranked: list[tuple[Estimate, TextSet, Run]] = []
    for run in data.runs:
        ranked += [(change, item, run) for item in data.sets if (change := run.paired_change(item.name))]
    worst: dict[str, float] = {}
    for change, item, _ in ranked:
        worst[item.name] = max(change.value, worst.get(item.name, change.value))
    ranked.sort(key=lambda entry: (-worst[entry[1].name], entry[1].name, -entry[0].value))
    items = [
        Dot(run.label, marks[run.label], change, run.changes_by_seed(item.name), _percent(data, run, item), item.name)
        for change, item, run in ranked[:MOST_ROWS]
    ]
    axis = "change in bits per byte (to the right: worse)"
    left = len(ranked) - len(items)
    caption = f"The {MOST_ROWS} worst; {left} more in the table." if left else ""
    if not items:
        return []
    return [dots("hurts-0", _hurts_finding(data), items, axis, number.signed, at_zero=True, caption=caption)]


def tradeoff(data: ReportData) -> list[Picture]:
    """Domain gain against drift and against lost bits per byte, for each chat or general set; none of a single run.

    The first is about the set that the headline speaks of; the page shows it large and the others small.
    """
    pictures: list[Picture] = []
    if len(data.runs) == 1:
        return pictures
    x_axis = "domain gain, % fewer bits per byte (right is better)"
    items = sorted(data.role("chat", "general"), key=lambda item: item != data.kept)
    for index, item in enumerate(items):
        if points := _points(data, item, DRIFT):
            title = f"Which run learns most for the least drift on {phrase(item)}?"
            y_axis = "KL(base‖tuned), nats/token\n(lower is better)"
            pictures.append(pareto(f"tradeoff-{index}", title, points, x_axis, y_axis))
        if points := _points(data, item, BITS):
            title = f"Which run learns most and still predicts {phrase(item)}?"
            y_axis = "change in bits per byte, %\n(lower is better)"
            pictures.append(pareto(f"tradeoff-bits-{index}", title, points, x_axis, y_axis))
    return pictures


def foretold(data: ReportData) -> list[Picture]:
    """Drift on sets that no run learned from, against drift on the domain.

    A run under a budget or with a store of general text is left out: it was steered by such text, or read it before.
    """
    marks = slots(data.runs)
    free = [
        (run, folder)
        for run in data.runs
        for folder in run.seeds
        if folder.retain is None and not folder.provenance.get("statistics")
    ]
    return forecast([d for run, folder in free if (d := _distances(data, run.label, marks[run.label], folder))])


def _distances(data: ReportData, label: str, slot: Slot, folder: RunFolder) -> Distances | None:
    """Of one training; None where its drift on the domain was not measured."""
    found = {
        item: folder.measures[item.name, DRIFT].value for item in data.sets if (item.name, DRIFT) in folder.measures
    }
    domain = [value for item, value in found.items() if item.role == "domain"]
    if not domain:
        return None
    learned = {key.removeprefix(TRAINED) for line in folder.steps for key in line if key.startswith(TRAINED)}
    alone = learned <= {item.name for item in found if item.role == "domain"}
    elsewhere = {item.name: value for item, value in found.items() if item.role != "domain"}
    return Distances(label, slot, folder.seed, statistics.fmean(domain), elsewhere, frozenset(learned), alone)


BOOST = {
    "cosine": ("Does the stored gradient still agree with the step's own?", "cosine of the two"),
    "gamma": ("How much of each step is the stored gradient?", "gamma"),
}
"""Title and unit of what dba logs."""


def learning(data: ReportData) -> list[Picture]:
    """Loss of each source and term, held-out bits per byte, and what a method logs, over steps; runs share axes."""
    keys = dict.fromkeys(key for folder in data.folders for line in folder.steps for key in line)
    losses = [key for key in keys if key.startswith("loss/")]
    scores = [key for key in keys if key.startswith("eval/") and key.endswith("/bits_per_byte")]
    own = [key for key in keys if key.startswith(("boost/", "penalty/")) and "alpha" not in key]
    return [_learning(data, key, f"curve-{index}") for index, key in enumerate([*losses, *scores, *own])]


def throughput(data: ReportData) -> list[Picture]:
    """Median tokens per second of each run; of one alone there is nothing to draw."""
    if len(data.runs) == 1:
        return []
    marks = slots(data.runs)
    items = [
        Dot(run.label, marks[run.label], Estimate(statistics.fmean(run.rates.values())), run.rates)
        for run in data.runs
        if run.rates
    ]
    title = "How fast did each run train?"
    axis = "tokens per second, median over steps"
    return [dots("throughput", title, items, axis, number.count, from_zero=True)] if items else []


def gained_finding(data: ReportData, text_set: TextSet) -> str:
    """The title of the picture of bits per byte."""
    better = [run for run in data.runs if outcome(run, text_set) == "learned"]
    names = joined(run.label for run in better)
    if not better:
        return f"No run clearly predicts unseen {named(text_set.name)} text better than the base"
    if len(data.runs) > 1 and len(better) == len(data.runs):
        every = "Both" if len(better) == 2 else f"All {len(better)}"
        return f"{every} runs predict unseen {named(text_set.name)} text better than the base"
    only = "Only " if len(better) == 1 and len(data.runs) > 1 else ""
    verb = "predicts" if len(better) == 1 else "predict"
    return f"{only}{names} {verb} unseen {named(text_set.name)} text better than the base"


def kept_finding(data: ReportData, text_set: TextSet) -> str:
    """The title of the picture of drift."""
    drifts = [(drift, run) for run in data.runs if (drift := data.drift(run, text_set))]
    drifts.sort(key=lambda pair: pair[0].value)
    found = against(data, drifts[0][1], text_set, DRIFT) if len(drifts) > 1 else {}
    if found and all(run.label in found and found[run.label].below for _, run in drifts[1:]):
        than = "the other" if len(drifts) == 2 else "the others"
        return f"{named(drifts[0][1].label)} stays closer to the base than {than} on {phrase(text_set)}"
    who = "the run" if len(data.runs) == 1 else "each run"
    return f"How far did {who} move from the base on {phrase(text_set)}?"


def _measured(data: ReportData, item: TextSet, metric: str) -> list[Dot]:
    marks = slots(data.runs)
    found = []
    for run in data.runs:
        if measure := run.measure(item.name, metric):
            change = data.change(run, item) if metric == BITS else None
            note = "" if change is None else number.change(change)
            found.append(Dot(run.label, marks[run.label], measure, run.by_seed(item.name, metric), note))
    return found


def _hurts_finding(data: ReportData) -> str:
    """The title of the picture that ranks."""
    lost = {
        item.name: [run.label for run in data.runs if run.paired_change(item.name) and outcome(run, item) == "worse"]
        for item in data.sets
    }
    if len(data.runs) == 1:
        words = [named(name) for name, runs in lost.items() if runs]
    else:
        words = [f"{named(name)} ({joined(runs)})" for name, runs in lost.items() if runs]
    return f"Clearly worse than before: {', '.join(words)}" if words else "No held-out set got clearly worse"


def _percent(data: ReportData, run: Run, item: TextSet) -> str:
    return number.change(data.change(run, item) or 0.0)


def _points(data: ReportData, item: TextSet, metric: str) -> list[Point]:
    """Each run as (gain in percent, cost); a run without either measure is left out."""
    domain, marks = data.domain, slots(data.runs)
    points = []
    for run in data.runs:
        change = data.relative_change(run, domain) if domain else None
        cost = data.drift(run, item) if metric == DRIFT else data.relative_change(run, item)
        if domain and change and cost:
            seeds = []
            for seed in (one.seed for one in run.seeds):
                gained = data.change(run, domain, seed)
                paid = run.by_seed(item.name, metric)[seed] if metric == DRIFT else data.change(run, item, seed)
                if gained is not None and paid is not None:
                    seeds.append((seed, -gained, paid))
            points.append(Point(run.label, marks[run.label], change.scaled(-1), cost, seeds))
    return points


def _learning(data: ReportData, key: str, slug: str) -> Picture:
    marks = slots(data.runs)
    kind, *middle, last = key.split("/")
    name = named("/".join(middle))
    anchor = kind == "loss" and "kl" in last
    if kind == "eval":
        trained = any(item.name == "/".join(middle) for item in data.role("domain"))
        question = "get easier to predict" if trained else "stay as predictable as it was"
        title, unit = f"Does unseen {name} text {question}?", "bits per byte"
    elif kind == "boost":
        title, unit = BOOST[last]
    elif kind == "penalty":
        title, unit = f"How hard does the penalty of {last} pull?", "weighted penalty, nats"
    elif anchor:
        title, unit = f"Is {name} held close to the base? ({named(last)})", "loss, nats per token"
    else:
        title, unit = f"Does the loss on {name} keep falling? ({named(last)})", "loss, nats per token"
    items = []
    for run in data.runs:
        if own := {seed.seed: line for seed in run.seeds if (line := seed.series(key))}:
            items.append(Curve(run.label, marks[run.label], own))
    base = _base_of(data, key) if kind == "eval" else None
    if base is not None:  # before the first step a run is the base
        items = [replace(item, seeds={seed: [(0, base), *line] for seed, line in item.seeds.items()}) for item in items]
    end = max(int(folder.steps[-1]["step"]) for folder in data.folders if folder.steps)
    who = ", ".join(named(item.label) for item in items)
    caption = "" if len(items) == len(data.runs) else f"Logged by {who} only."
    if base is not None:
        caption = f"Dashed: the base. Measured while training, without an interval. {caption}".rstrip()
    return curves(slug, title, items, unit, end, anchor, caption, level=base)


def _base_of(data: ReportData, key: str) -> float | None:
    """The base's score on the documents of a curve, from a score and its change in percent of the base's."""
    change = key.removesuffix(BITS) + "change_percent"
    for folder in data.folders:
        for line in folder.steps:
            if key in line and change in line:
                return line[key] / (1 + line[change] / 100)
    return None
