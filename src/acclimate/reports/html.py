"""The report: one HTML file that needs nothing else, no network, no script, no font of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from acclimate.disk.files import write_text
from acclimate.reports.answers import answers_of, changed
from acclimate.reports.collect import ReportData, collect
from acclimate.reports.page import CONTROL, environment
from acclimate.reports.pictures import budget, figures
from acclimate.reports.pictures import shares as moving
from acclimate.reports.pictures.palette import BASE, slots
from acclimate.reports.search import searched
from acclimate.reports.sections import sources
from acclimate.reports.sections.budget import budgeted, spent_numbers
from acclimate.reports.sections.glances import glances_of
from acclimate.reports.sections.hurts import answer, flip_numbers, flips, worst_documents
from acclimate.reports.sections.memorisation import memorised
from acclimate.reports.sections.panel_table import panel_tables
from acclimate.reports.sections.scoreboard import measures, scoreboard
from acclimate.reports.sections.sessions import with_short_sessions
from acclimate.reports.sections.steps import online_notes
from acclimate.reports.words import number
from acclimate.reports.words.methods import in_words
from acclimate.reports.words.names import named
from acclimate.reports.words.notes import transfers
from acclimate.reports.words.origin import Origin, origin, without_home, without_places
from acclimate.reports.words.verdict import verdict
from acclimate.runs.panel import panels_of

TEXT_LIMIT = 1200  # characters of one generation
BRIEF = 320  # of what stands under the headline
CONFIG_LIMIT = 20_000
PROMPTS = 12
ITEM_LIMIT, PLACE_LIMIT = 500, 160  # characters of a question, and of where it stands


def write_report(
    run_dirs: Sequence[Path],
    output: Path,
    title: str | None = None,
    gates: Sequence[Mapping[str, Any]] = (),
    with_text: bool = True,
) -> Path:
    """Writes the report of one or several finished runs.

    Args:
        run_dirs: run folders; seeds of one method are grouped.
        output: the HTML file. It appears whole or not at all.
        title: shown on top; default: the base model and the domain.
        gates: verdicts of the gate as plain data (``Verdict.as_json()``), to be shown below the headline.
        with_text: whether the page may show documents, prompts, answers, settings and where files lie.

    Returns:
        ``output``.

    Raises:
        RunError: a run is not finished, the runs cannot be compared, or the file cannot be written.
    """
    return write_page(collect(run_dirs, with_text), Path(output), title, gates)


def write_page(
    data: ReportData, output: Path, title: str | None = None, gates: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """:func:`write_report` of runs that are read already."""
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", render(data, title, gates))
    write_text(output, text.encode("utf-8", errors="replace").decode("utf-8"))  # half surrogates are no characters
    return output


def render(data: ReportData, title: str | None = None, gates: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as text."""
    said = verdict(data)
    read = [
        (run, seed.seed, panel)
        for run in data.runs
        for seed in run.seeds
        for panel in panels_of(seed.path, seed.provenance)
    ]
    first = [(run, [panel for other, seed, panel in read if (other, seed) == (run, run.seeds[0].seed)])
             for run in data.runs]  # fmt: skip
    return _template().render(
        title=title or _title(data),
        data=data,
        marks=slots(data.runs),
        base=BASE,
        verdict=said,
        changed=changed(data, said.answer),
        shared_text=sources.shared_text(data),
        in_words=in_words,
        transfers=transfers(data),
        gates=[gate | {"run": Path(str(gate["run"])).name or gate["run"]} for gate in map(dict, gates)],
        glances=glances_of(data),
        board=scoreboard(data),
        measures=measures(data),
        seeded=any(len(run.seeds) > 1 for run in data.runs),
        gained=figures.gained(data),
        kept=figures.kept(data),
        hurts=figures.hurts(data),
        documents=worst_documents(data),
        flips=flips(first, data.with_text),
        flip_numbers=flip_numbers(first, data.with_text),
        answer=answer,
        budgets=budgeted(data),
        spent=spent_numbers(budgeted(data)),
        budget_pictures=budget.budget(data),
        tradeoff=figures.tradeoff(data),
        foretold=figures.foretold(data),
        memorised=memorised(data),
        panels_of_runs=panel_tables(data, read),
        number=number,
        learning=figures.learning(data),
        moved_shares=moving.shares(data),
        online_notes=online_notes(data),
        throughput=figures.throughput(data),
        searches=searched(data),
        skipped=[folder for folder in data.folders if folder.skipped_lines],
        answers=answers_of(data),
        prompts=PROMPTS,
        sources=sources.sources(data),
        overlap=sources.overlap(data),
        parameters=sources.parameters(data),
        origin=_origin(data),
        configs=[
            (folder, number.clip(without_home(folder.config_text), CONFIG_LIMIT))
            for folder in data.folders
            if data.with_text
        ],
        clip=lambda text: number.clip(text, TEXT_LIMIT),
        brief=lambda text: number.clip(text.strip(), BRIEF),
        middle=lambda text: number.middle(text, ITEM_LIMIT),
        place=lambda where: number.middle(without_home(where), PLACE_LIMIT),
        version=str(data.folders[0].provenance.get("acclimate", "")),
    )


def _title(data: ReportData) -> str:
    """What was adapted to what; a set of no name of its own is called by the run."""
    domain = data.domain
    if domain is None:
        return named(data.model)
    if domain.name != domain.role:
        return f"{named(data.model)} adapted to {named(domain.name)}"
    return f"{named(data.model)}, adapted" + (f": {named(data.folders[0].name)}" if len(data.folders) == 1 else "")


def _origin(data: ReportData) -> Origin:
    found = origin(
        {str(folder.path.name or folder.path): with_short_sessions(folder.provenance) for folder in data.folders}
    )
    return found if data.with_text else without_places(found)


@cache
def _template() -> jinja2.Template:
    """Compiled once a process."""
    pages = environment()
    pages.filters["count"] = lambda value: (
        number.count(value) if isinstance(value, int | float) else str(value or number.NOT_COUNTED)
    )
    pages.filters["share"] = lambda value: number.share(value) if isinstance(value, int | float) else str(value)
    return pages.get_template("report.html.j2")
