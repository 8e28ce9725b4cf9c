"""The report: one HTML file that needs nothing else, no network, no script, no font of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from acclimate.files import write_text
from acclimate.report import figures, number
from acclimate.report.collect import ReportData, collect
from acclimate.report.origin import Origin, origin, without_home
from acclimate.report.palette import BASE, Slot, slots
from acclimate.report.scoreboard import scoreboard
from acclimate.report.verdict import named, phrase, verdict

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that no HTML page may hold."""
TEMPLATES = Path(__file__).parent / "templates"
TEXT_LIMIT = 1200  # characters of one generation
CONFIG_LIMIT = 20_000
PROMPTS = 12


@dataclass(frozen=True)
class Bar:
    """One run in the picture at the top: its number, and how long its bar is as a part of the longest."""

    label: str
    slot: Slot
    text: str
    length: float


@dataclass(frozen=True)
class Glance:
    """One question, answered by every run."""

    question: str
    unit: str
    bars: tuple[Bar, ...]


def write_report(run_dirs: Sequence[Path], output: Path, title: str | None = None) -> Path:
    """Writes the report of one or several finished runs.

    Args:
        run_dirs: run folders; seeds of one method are grouped.
        output: the HTML file. It appears whole or not at all.
        title: shown on top; default: the base model and the domain.

    Returns:
        ``output``.

    Raises:
        RunError: a run is not finished, the runs cannot be compared, or the file cannot be written.
    """
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", render(collect(run_dirs), title))
    output = Path(output)
    write_text(output, text.encode("utf-8", errors="replace").decode("utf-8"))  # half surrogates are no characters
    return output


def render(data: ReportData, title: str | None = None) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: (
        number.count(value) if isinstance(value, int | float) else str(value or number.NOT_COUNTED)
    )
    environment.filters["share"] = lambda value: number.share(value) if isinstance(value, int | float) else str(value)
    domain = data.domain
    return environment.get_template("report.html.j2").render(
        title=title or (f"{named(data.model)} adapted to {named(domain.name)}" if domain else named(data.model)),
        data=data,
        marks=slots(data.runs),
        base=BASE,
        verdict=verdict(data),
        glances=_glances(data),
        board=scoreboard(data),
        seeded=any(len(run.seeds) > 1 for run in data.runs),
        gained=figures.gained(data),
        kept=figures.kept(data),
        tradeoff=figures.tradeoff(data),
        learning=figures.learning(data),
        throughput=figures.throughput(data),
        skipped=[folder for folder in data.folders if folder.skipped_lines],
        answers=_answers(data),
        prompts=PROMPTS,
        sources=_sources(data),
        overlap=_overlap(data),
        parameters=_parameters(data),
        origin=_origin(data),
        configs=[(folder, number.clip(without_home(folder.config_text), CONFIG_LIMIT)) for folder in data.folders],
        clip=lambda text: number.clip(text, TEXT_LIMIT),
        version=str(data.folders[0].provenance.get("acclimate", "")),
    )


def _glances(data: ReportData) -> list[Glance]:
    """What was gained and what it cost, as two rows of bars; of a single run there is nothing to compare."""
    if len(data.runs) == 1:
        return []
    marks = slots(data.runs)
    glances = []
    if domain := data.domain:
        changes = [(run.label, change) for run in data.runs if (change := data.change(run, domain)) is not None]
        most = max((abs(change) for _, change in changes), default=0.0) or 1.0
        bars = tuple(
            Bar(label, marks[label], number.change(change), max(0.0, -change / most)) for label, change in changes
        )
        glances.append(
            Glance("What was gained", f"fewer bits per byte on {named(domain.name)}; longer is better", bars)
        )
    if kept := data.kept:
        drifts = [(run.label, drift.value) for run in data.runs if (drift := data.drift(run, kept))]
        most = max((drift for _, drift in drifts), default=0.0) or 1.0
        bars = tuple(Bar(label, marks[label], number.nats(drift), max(0.0, drift / most)) for label, drift in drifts)
        unit = f"nats per token away from the base on {phrase(kept)}; shorter is better"
        glances.append(Glance("What it cost", unit, bars))
    return [glance for glance in glances if glance.bars]


def _answers(data: ReportData) -> dict[tuple[str, str], dict[str, str]]:
    """(set, prompt) -> who -> answer, the base first. Of several seeds the first speaks."""
    answers: dict[tuple[str, str], dict[str, str]] = {}
    for run in data.runs:
        for item in run.seeds[0].generations:
            block = answers.setdefault((item.text_set, item.prompt), {"": item.base})
            block[run.label] = item.tuned
    return answers


def _sources(data: ReportData) -> dict[str, list[tuple[str, Mapping[str, Any], str]]]:
    """Run label -> its sources: name, counts, dropped documents in words."""
    table: dict[str, list[tuple[str, Mapping[str, Any], str]]] = {}
    for run in data.runs:
        sources = run.seeds[0].data.get("sources") or {}
        for name, facts in sources.items() if isinstance(sources, Mapping) else ():
            dropped = facts.get("dropped") or {}
            words = ", ".join(f"{number.count(n)} {reason}" for reason, n in dropped.items() if n) or "none"
            words = number.NOT_COUNTED if facts.get("streamed") else words
            table.setdefault(run.label, []).append((str(name), facts, words))
    return table


def _overlap(data: ReportData) -> list[Mapping[str, Any]]:
    """Rows of the overlap count, each once: runs on the same data repeat them."""
    rows: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for folder in data.folders:
        for row in folder.data.get("overlap") or ():
            rows.setdefault(tuple(sorted((key, str(value)) for key, value in row.items())), row)
    return list(rows.values())


def _parameters(data: ReportData) -> list[tuple[str, int, int, int]]:
    """Run label, trained and all parameters, steps."""
    found = []
    for run in data.runs:
        facts = run.seeds[0].data
        counts = facts.get("parameters") or {}
        if counts.get("total"):
            found.append((run.label, int(counts.get("trained", 0)), int(counts["total"]), int(facts.get("steps") or 0)))
    return found


def _origin(data: ReportData) -> Origin:
    return origin({str(folder.path.name or folder.path): folder.provenance for folder in data.folders})
