"""Intervals of competing laws over real runs that were left out: coverage, and width beside "no model".

    python -m benchmarks.law_leave_out --write benchmarks/2026-11-30-law-leave-out.md

Reads tables of finished cells and the settings that made them; nothing is trained.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.result_page import write_or_print
from scipy.stats import t as student

from acclimate.laws.anchored import DRIFT, GAIN, INPUTS, drift_forms, gain_forms
from acclimate.laws.competing import Judged, compete
from acclimate.runs.cells import Row, TextScores, read_table
from acclimate.verbs.planning.design import choose_runs

HERE = Path(__file__).parent
LEVEL = 0.9
RUNS = 6
CHOICES = 5
"""Of six runs, where more are left."""
DRAWS = 500


@dataclass(frozen=True)
class Source:
    """Cells of one table, with the comparisons that say how they were trained."""

    table: str
    comparisons: tuple[str, ...]
    kind: str
    methods: str  # a regular expression of whole names


@dataclass(frozen=True)
class Series:
    """Runs that one law may describe: one model, domain and method, the same documents."""

    name: str
    sources: tuple[Source, ...]


SCREEN = ("comparison/medical.yaml", "comparison/medical-ratio.yaml")
FINAL = ("comparison/medical-final.yaml",)
SHORT = (("4096", "ratio/short-4096"), ("8192", "ratio/short-8192"))


def series() -> list[Series]:
    found = []
    for method in ("mol", "replay"):
        names = rf"sft|{method}-(10|25|50|75)"
        runs = (
            Source("comparison/medical.jsonl", SCREEN, "run", names),
            Source("comparison/medical-final.jsonl", FINAL, "run", names),
        )
        found.append(Series(f"{method}: shares and tokens", runs))
    for method in ("mol", "replay"):
        trials = Source("comparison/medical.jsonl", SCREEN, "trial", rf"sft|sft-low|{method}-(10|50)")
        found.append(Series(f"{method}: shares and rates", (trials,)))
    short = tuple(Source(f"{path}.jsonl", (f"{path}.yaml",), "run", r"sft|mol-\d+") for _, path in SHORT)
    long = Source("ratio/ratio.jsonl", ("ratio/ratio.yaml",), "run", r"sft|mol-term-\d+")
    found.append(Series("mol: shares and tokens, short", (*short, long)))
    for name in ("mol-term", "mol-all", "replay-term", "replay-all"):
        cells = Source("ratio/ratio.jsonl", ("ratio/ratio.yaml",), "run", rf"sft|{name}-\d+")
        found.append(Series(f"{name}: shares", (cells,)))
    return found


@dataclass(frozen=True)
class Run:
    """What was set, and what came of it: outcome -> value. ``gain`` is of the domain, ``drift SET`` of the others."""

    inputs: tuple[float, ...]  # INPUTS
    seed: int
    outcomes: dict[str, float]


Choice = Callable[[Sequence[Run]], list[list[Run]]]
"""Of the runs that are left, six that are fitted; several times, or once."""


def runs_of(one: Series) -> list[Run]:
    """None where a table is not there: the others alone may be another series."""
    if not all((HERE / source.table).is_file() for source in one.sources):
        return []
    return [run for source in one.sources for run in _runs(source)]


def _runs(source: Source) -> Iterator[Run]:
    methods: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for path in source.comparisons:
        study = yaml.safe_load((HERE / path).read_text())
        shared = yaml.safe_load((HERE / path).with_name(study["run"]).read_text())
        for name, method in study["methods"].items():
            methods.setdefault(name, (shared, method["set"]))
    for row in read_table(HERE / source.table):
        if row.kind == source.kind and row.outcome == "finished" and re.fullmatch(source.methods, row.method):
            yield _run(row, *methods[row.method])


def _run(row: Row, shared: dict[str, Any], own: dict[str, Any]) -> Run:
    settings = {**own, **row.settings}
    domain = shared["budget"]["count"]
    shares = {name: settings.get(f"sources.{name}.share", one["share"]) for name, one in shared["sources"].items()}
    share = 1.0 if settings["method"] == "sft" else shares[domain] / sum(shares.values())
    rate = float(settings.get("optimizer.learning_rate", shared["optimizer"]["learning_rate"]))
    outcomes = {GAIN: _bits(row.texts[domain].base_nats, row, domain) - _bits(row.texts[domain].nats, row, domain)}
    outcomes |= {f"{DRIFT} {name}": _drift(text) for name, text in row.texts.items() if name != domain}
    return Run((share, 1.0, rate, float(shared["budget"]["tokens"])), row.seed, outcomes)


def _bits(nats: list[float], row: Row, name: str) -> float:
    return sum(nats) / math.log(2) / sum(row.texts[name].bytes)


def _drift(text: TextScores) -> float:
    return sum(text.kl_base_tuned) / sum(text.tokens)


@dataclass(frozen=True)
class Case:
    """One run that was left out, and what six others say of it."""

    series: str
    outcome: str
    covered: bool
    width: float
    spread: float
    student: float
    inputs: tuple[float, ...]


def cases(one: Series, runs: Sequence[Run], choose: Choice) -> tuple[list[Case], list[str]]:
    """Each setting left out in turn with all of its seeds; and sentences where there was no answer."""
    found, refused = [], []
    for setting in dict.fromkeys(run.inputs for run in runs):
        held = [run for run in runs if run.inputs == setting]
        left = [run for run in runs if run.inputs != setting]
        for trained in choose(left):
            here, why = answered(one.name, trained, held)
            found += here
            refused += why
    return found, refused


def answered(name: str, trained: Sequence[Run], held: Sequence[Run]) -> tuple[list[Case], list[str]]:
    found, refused = [], []
    columns = {column: np.array([run.inputs[i] for run in trained]) for i, column in enumerate(INPUTS)}
    points = {column: np.array([run.inputs[i] for run in held]) for i, column in enumerate(INPUTS)}
    varied = {column for column, values in columns.items() if np.ptp(values) > 0}
    for outcome in held[0].outcomes:
        measured = np.array([run.outcomes[outcome] for run in trained])
        kind = GAIN if outcome == GAIN else DRIFT
        forms = gain_forms(varied) if kind == GAIN else drift_forms(varied)
        judged: Judged = compete(forms, {**columns, kind: measured})
        one_more = 2 * student.ppf((1 + LEVEL) / 2, len(measured) - 1) * measured.std(ddof=1)
        for run, estimate, why in zip(held, judged.predict(points, LEVEL, DRAWS), judged.refusals(points), strict=True):
            if why is not None:
                refused.append(why)
                continue
            truth = run.outcomes[outcome]
            inside = estimate.low <= truth <= estimate.high
            width = estimate.high - estimate.low
            spread, alone = float(np.ptp(measured)), float(one_more * math.sqrt(1 + 1 / len(measured)))
            found.append(Case(name, outcome, inside, width, spread, alone, run.inputs))
    return found, refused


def by_chance(left: Sequence[Run]) -> list[list[Run]]:
    if len(left) <= RUNS:
        return [list(left)]
    random = np.random.default_rng(0)
    chosen = [sorted(random.choice(len(left), RUNS, replace=False)) for _ in range(CHOICES)]
    return [[left[place] for place in places] for places in chosen]


def by_design(left: Sequence[Run]) -> list[list[Run]]:
    """The six that `acclimate plan --probe` would take, were these its candidates."""
    columns = {column: np.array([run.inputs[i] for run in left]) for i, column in enumerate(INPUTS)}
    varied = {column for column, values in columns.items() if np.ptp(values) > 0}
    return [[left[place] for place in choose_runs(columns, [*drift_forms(varied), *gain_forms(varied)], RUNS)]]


def tables() -> str:
    return "\n\n".join(
        [
            _series(by_chance),
            _forward(by_chance),
            "### Six runs by design",
            _series(by_design),
            _forward(by_design),
        ]
    )


def _series(choose: Choice) -> str:
    head = (
        "| {} | cases | covered | narrower than the spread | than Student's | median width / spread | no answer |\n"
        "|---|---|---|---|---|---|---|"
    )
    blocks, every, refusals = [head.format("series, outcome")], [], 0
    for one in series():
        runs = runs_of(one)
        if len({run.inputs for run in runs}) < 4:
            blocks.append(f"| {one.name} | not run yet | | | | | |")
            continue
        found, refused = cases(one, runs, choose)
        every += found
        refusals += len(refused)
        for outcome in runs[0].outcomes:
            here = [case for case in found if case.outcome == outcome]
            blocks.append(_line(f"{one.name}, {outcome}", here, ""))
        blocks.append(_line(f"**{one.name}**", found, str(len(refused))))
    for kind in (GAIN, DRIFT):
        blocks.append(_line(f"**all, {kind}**", [case for case in every if case.outcome.startswith(kind)], ""))
    blocks.append(_line("**all**", every, str(refusals)))
    return "\n".join(blocks)


def _forward(choose: Choice) -> str:
    """From the two shorter lengths to the longest, as a user would ask."""
    lines = [
        "From the shorter lengths to 16,384 tokens:\n",
        "| outcome | cases | covered | narrower than the spread | than Student's | median width / spread | no answer |",
        "|---|---|---|---|---|---|---|",
    ]
    (one,) = [one for one in series() if one.name == "mol: shares and tokens, short"]
    runs = runs_of(one)
    tokens = sorted({run.inputs[3] for run in runs})
    if len(tokens) < 3:
        return lines[0] + "\nNot run yet."
    short = [run for run in runs if run.inputs[3] < tokens[-1]]
    held = [run for run in runs if run.inputs[3] == tokens[-1]]
    pairs = [answered("forward", trained, held) for trained in choose(short)]
    found = list(itertools.chain.from_iterable(pair[0] for pair in pairs))
    refused = sum(len(pair[1]) for pair in pairs)
    for outcome in held[0].outcomes:
        lines.append(_line(outcome, [case for case in found if case.outcome == outcome], ""))
    return "\n".join([*lines, _line("**all**", found, str(refused))])


def _line(name: str, found: Sequence[Case], refused: str) -> str:
    if not found:
        return f"| {name} | 0 | | | | | {refused} |"
    parts = [
        np.mean([case.covered for case in found]),
        np.mean([case.width < case.spread for case in found]),
        np.mean([case.width < case.student for case in found]),
    ]
    shown = " | ".join(f"{100 * part:.0f} %" for part in parts)
    median = float(np.median([case.width / case.spread for case in found]))
    return f"| {name} | {len(found)} | {shown} | {median:.2f} | {refused} |"


if __name__ == "__main__":
    write_or_print(tables, __doc__)
