"""A plan as one page: in the terminal, as Markdown and as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Group
from rich.text import Text

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.judgement import USUAL, USUAL_FREEDOM, usual_noise
from acclimate.paired.estimate import Estimate
from acclimate.reports.page import Block, Grid, Page
from acclimate.reports.pictures.bands import Mark, band
from acclimate.reports.pictures.palette import FIXED, Slot
from acclimate.reports.pictures.picture import Numbers, Picture, plain
from acclimate.verbs.planning.advice import Advice
from acclimate.verbs.planning.answers import Answer, count, drift, gain, percent, sentence
from acclimate.verbs.planning.predictions import LEVEL, Prediction, Setting
from acclimate.verbs.planning.reading.readings import ALIKE, Reading, alike

STYLES = {"kept": "bold green", "unclear": "bold yellow"}
NOT_TOLD = "not told"
RUNS_TELL = ("share", "learning_rate", "returns", "twice")
"""Answers without all of which a page has no advice: the others say little of how to train."""
STATIC = (
    "No way of mixing beats even shares in every setting (arXiv 2411.05735 [second-hand]), so compare the plan with "
    "that control before you trust it."
)
AFTER = (
    f"Intervals: {percent(LEVEL)} of one new run, over the luck of runs, the parameters, and which form is right. They "
    "hold where the laws do. Train one run at an unseen setting before you rely on one."
)


def page_of(advice: Advice, answers: Sequence[Answer]) -> Page:
    """Answers, predictions beside their nearest runs, curves, what was measured, and the laws."""
    table = advice.laws.table
    blocks = [
        Block("Answers", before=[f"**{one.question}** {_whole(one)}" for one in answers]),
        Block("Predictions, each beside the nearest run", grid=_predictions(advice), after=(AFTER, STATIC)),
        Block("Curves", pictures=_pictures(advice)),
        Block("What was measured", grid=_measured(advice), numbers=[_numbers(table.readings)]),
        Block("Laws", before=_lost(advice), grid=_laws(advice), after=LAWS),
    ]
    kind, word, answer = _headline(advice, answers)
    method = ", ".join(dict.fromkeys(one.method for one in table.readings))
    return Page(
        eyebrow="acclimate plan",
        title=f"A plan from {len(table.ends)} runs of {method}",
        kind=kind,
        word=word,
        answer=answer,
        notes=_notes(advice),
        blocks=[block for block in blocks if block.before or block.grid or block.pictures],
    )


def _headline(advice: Advice, answers: Sequence[Answer]) -> tuple[str, str, str]:
    """Kind, word and answer: the setting within the limit, with what it brings, or why there is none."""
    first = answers[0]
    told = DRIFT in advice.laws.judged and advice.best.drift.bounded
    if not advice.laws.judged or not (told or DRIFT in advice.laws.untold):
        return "unclear", "Too little to tell", first.says
    if DRIFT in advice.laws.untold:
        return "unclear", "What is forgotten cannot be told", advice.laws.untold[DRIFT]
    if not advice.keeps(advice.best):
        return "unclear", "Nothing keeps the limit beyond doubt", first.says
    one = advice.best
    if GAIN in advice.laws.judged and one.gain.value <= 0:
        return "unclear", "Nothing is learned", f"The gain on the domain is {gain(advice, one)} at the best."
    if not any(answer.told and answer.key in RUNS_TELL for answer in answers):
        return "unclear", "Too little to tell", first.says
    brings = f"{one.setting}: gain {gain(advice, one)}, drift {drift(one)}; {advice.keep:g} nats a token are allowed."
    return "kept", "Within the limit", brings


def _notes(advice: Advice) -> list[str]:
    table, longest = advice.laws.table, advice.laws.range("tokens")[1]
    notes = [f"The limit is {advice.keep:g} nats a token of {table.drift_of} on other text."]
    if advice.tokens > ALIKE * longest:
        notes.append(
            f"The plan is {advice.tokens / longest:.2g} times as long as the longest measured run, so every number of "
            "it lies outside of what was measured."
        )
    least, most = advice.laws.range("learning_rate") if "learning_rate" in advice.laws.varied else (1.0, 1.0)
    off = usual_noise(DRIFT, np.ones(1), most / least).scale
    sizes = {DRIFT: f"{percent(off)} of drift, a KL", GAIN: f"{percent(USUAL[GAIN])} of the largest gain"}
    if known := [sizes[name] for name in advice.laws.judged]:
        notes.append(
            f"How far runs lie off their laws is told by these runs, and by earlier ones of SmolLM2-135M. Those count "
            f"as {USUAL_FREEDOM:g} degrees of freedom: {'; '.join(known)}."
        )
    return [*notes, *table.notes]


def terminal(advice: Advice, page: Page, answers: Sequence[Answer]) -> Group:
    """The same without pictures and measured runs, which the files have."""
    parts = [Text(page.sentence, style=STYLES[page.kind])]
    for answer in answers:
        said = Text(f"\n{answer.question} ", style="bold")
        said.append("As above." if answer.says == page.answer else answer.says, style="" if answer.told else "yellow")
        said.append(f" But {answer.edge}." if answer.edge else "", style="yellow")
        said.append(f" A run that would tell more: {answer.run}." if answer.run else "", style="dim")
        parts.append(said)
    unit = advice.laws.table.gain_unit
    parts.append(Text("\nPredictions, each beside the nearest run", style="bold"))
    for name, one in advice.beside.items():
        said = Text(f"  {name}: ", style="bold")
        gain = f"{_spelled(one.gain)} {unit}" if one.gain.bounded else NOT_TOLD
        drift = f"{_spelled(one.drift)} nats/token" if one.drift.bounded else NOT_TOLD
        said.append(f"{one.setting}. Gain {gain}; drift {drift}. ")
        said.append(f"Nearest: {_measured_as(one.nearest)}", style="dim")
        parts.append(said)
    for near in _controls(advice):
        parts.append(Text("  control: sft: ", style="bold").append(f"measured: {_measured_as(near)}", style="dim"))
    parts += [Text(f"\n{line}", style="dim") for line in (AFTER, STATIC)]
    return Group(*parts, *(Text(f"Note: {note}", style="yellow") for note in page.notes))


def _measured_as(near: Reading) -> str:
    return f"{near.run}: {near.setting}; gain {_number(near.gain)}, drift {_number(near.drift)}."


def _whole(one: Answer) -> str:
    """The answer with what bounds it, and the run that would tell more."""
    more = f" A run that would tell more: {one.run}." if one.run else ""
    return f"{one.says}{f' But {one.edge}.' if one.edge else ''}{more}"


def _predictions(advice: Advice) -> Grid:
    unit = advice.laws.table.gain_unit
    rows = []
    for name, one in advice.beside.items():
        near = one.nearest
        rows.append((name, *_places(one.setting), _spelled(one.gain), _spelled(one.drift), *_beside(near)))
    for near in _controls(advice):
        rows.append(("control: sft", *_places(near), "–", "–", *_beside(near)))
    head = (
        "", "share", "rate", "domain tokens", f"gain, {unit}", "drift, nats/token", "nearest run", "its setting",
        "its gain", "its drift",
    )  # fmt: skip
    return Grid(head, rows, words=(0, 6, 7), claimed=frozenset({0}))


def _places(one: Setting | Reading) -> tuple[str, str, str]:
    return percent(one.share), _rate(one.learning_rate), count(one.tokens)


def _beside(near: Reading) -> tuple[str, str, str, str]:
    return near.run, ", ".join(_places(near)), _number(near.gain), _number(near.drift)


def _rate(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _controls(advice: Advice) -> list[Reading]:
    """The run of sft that is nearest to the plan."""
    runs = advice.laws.table.control
    rate = advice.best.setting.learning_rate
    return sorted(runs, key=lambda one: abs(_log(one.learning_rate) - _log(rate)))[:1]


def _spelled(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found.bounded else NOT_TOLD


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _log(value: float) -> float:
    return 0.0 if math.isnan(value) else math.log(value)


def _pictures(advice: Advice) -> list[Picture]:
    laws, one = advice.laws, advice.best.setting
    found = []
    outcomes = {
        DRIFT: ("drift", f"{laws.table.drift_of}, nats/token", advice.keep),
        GAIN: ("gain", f"gain on the domain, {laws.table.gain_unit}", None),
    }
    spans = {
        "share": (advice.by_share, "domain's share of trained tokens, %", 100.0),
        "tokens": (advice.by_tokens, "tokens of the domain", 1.0),
    }
    for name, (series, axis, times) in spans.items():
        for outcome, (what, unit, limit) in outcomes.items():
            curve = [(times * getattr(point.setting, name), getattr(point, outcome)) for point in series]
            if name not in laws.varied or outcome not in laws.judged or not any(end.bounded for _, end in curve):
                continue
            found.append(
                band(
                    f"plan-{what}-{name}",
                    TITLES[what, name],
                    curve,
                    list(_marks(advice, name, outcome, times)),
                    _slot(advice),
                    axis,
                    unit,
                    limit,
                    times * getattr(one, name),
                    name == "tokens",
                    _caption(advice, name),
                )
            )
    return found


TITLES = {
    ("drift", "share"): "How far does it drift at which share?",
    ("gain", "share"): "What does it gain at which share?",
    ("drift", "tokens"): "How does drift grow with length?",
    ("gain", "tokens"): "How does gain grow with length?",
}


def _caption(advice: Advice, name: str) -> str:
    one = advice.best.setting
    others = [f"a learning rate of {one.learning_rate:.3g}"] if not math.isnan(one.learning_rate) else []
    others += [f"{count(one.tokens)} tokens of the domain"] if name == "share" else [f"{percent(one.share)} domain"]
    return (
        f"The curve is at {' and '.join(others)}; around it the {percent(LEVEL)} interval of one new run. Large points "
        "were measured there, small grey ones at other settings. Dotted: the plan."
    )


def _marks(advice: Advice, name: str, outcome: str, times: float) -> Iterator[Mark]:
    one = advice.best.setting
    for reading in advice.laws.table.measured(outcome).readings:
        same = {"share": one.share, "tokens": one.tokens, name: getattr(reading, name)}
        there = Reading("", "", same["tokens"], same["share"], one.learning_rate, one.weight)
        yield reading.run, times * getattr(reading, name), getattr(reading, outcome), alike(reading, there)


def _slot(advice: Advice) -> Slot:
    return Slot(FIXED.get(advice.laws.table.readings[0].method, 3))


def _measured(advice: Advice) -> Grid:
    table = advice.laws.table
    rows = [
        (
            one.run, one.method, percent(one.share), _rate(one.learning_rate), f"{one.weight:g}", count(one.tokens),
            _number(one.gain), _number(one.drift),
        )
        for one in sorted(table.readings, key=lambda one: (one.learning_rate, one.tokens, one.share))
    ]  # fmt: skip
    head = (
        "run",
        "method",
        "share",
        "learning rate",
        "weight",
        "domain tokens",
        f"gain, {table.gain_unit}",
        "drift, nats/token",
    )
    return Grid(head, rows, words=(0, 1))


def _numbers(readings: Sequence[Reading]) -> Numbers:
    columns = ("run", "method", "seed", "step", "share", "learning_rate", "weight", "domain_tokens", "gain", "drift")
    rows = tuple(
        (
            one.run, one.method, *("" if part is None else str(part) for part in (one.seed, one.step)),
            *map(plain, (one.share, one.learning_rate, one.weight, one.tokens, one.gain, one.drift)),
        )
        for one in readings
    )  # fmt: skip
    return Numbers("plan-measured", columns, rows)


LAWS = (
    "Weight: how much a form counts, by its errors at settings that were left out. Error: the root mean square of "
    "those, and of all forms together. No model: the same of the mean of the other settings.",
)


def _laws(advice: Advice) -> Grid:
    rows = []
    for outcome, judged in advice.laws.judged.items():
        for law in sorted(judged.laws, key=lambda law: -judged.weights[law.form.name]):
            name = law.form.name
            loose = ", ".join(dict.fromkeys(part for parts in law.loose() for part in parts)) or "–"
            rows.append(
                (
                    outcome,
                    name,
                    law.form.formula,
                    f"{judged.weights[name]:.2f}",
                    f"{judged.errors[name]:.3g}",
                    loose,
                    law.form.source,
                )
            )
        rows.append((outcome, "all together", "", "1", f"{judged.error:.3g}", "", f"no model: {judged.none:.3g}"))
    return Grid(
        ("outcome", "form", "formula", "weight", "error", "not told apart", "evidence"), rows, words=(0, 1, 2, 5, 6)
    )


def _lost(advice: Advice) -> list[str]:
    return [sentence(why) for why in advice.laws.untold.values()]


def prediction_record(one: Prediction) -> dict[str, object]:
    """As ``--json`` has it."""
    near = one.nearest
    return {
        "share": one.setting.share, "learning_rate": one.setting.learning_rate, "domain_tokens": one.setting.tokens,
        "weight": one.setting.weight, "gain": _record(one.gain), "drift": _record(one.drift),
        "nearest": {
            "run": near.run, "share": near.share, "learning_rate": near.learning_rate, "domain_tokens": near.tokens,
            "weight": near.weight, "gain": near.gain, "drift": near.drift,
        },
        "untold": one.why,
    }  # fmt: skip


def _record(found: Estimate) -> dict[str, float] | None:
    return {"value": found.value, "low": found.low, "high": found.high} if found.bounded else None
