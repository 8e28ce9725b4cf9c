"""Intervals of competing laws over real runs that were left out: coverage, and width beside "no model".

    python -m benchmarks.law_leave_out --write benchmarks/2026-11-30-law-leave-out.md

Reads tables of finished cells and the settings that made them; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from benchmarks.law_noise import MOST, fits, prior_of
from benchmarks.law_runs import Run, Series, column, forms_of, inputs_of, runs_of, series, varied_in
from benchmarks.result_page import write_or_print
from scipy.stats import t as student

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.form import Array
from acclimate.laws.intervals import Prior
from acclimate.laws.judgement import judge, usual_noise
from acclimate.verbs.planning.design import choose_runs

LEVEL = 0.9
RUNS = 6
DRAWS = 500

Known = Callable[[Series, str, Array, float], Prior]
"""Of a series, an outcome's kind, its values and the span of rates: what is known of the noise of its runs."""


@dataclass(frozen=True)
class Case:
    """One run that was left out, and what six others say of it."""

    series: str
    outcome: str
    covered: bool
    width: float
    spread: float
    student: float


def cases(one: Series, known: Known) -> tuple[list[Case], list[str]]:
    """Each setting left out in turn with all of its seeds; and sentences where there was no answer."""
    runs = runs_of(one)
    found, refused = [], []
    for setting in dict.fromkeys(run.inputs for run in runs):
        held = [run for run in runs if run.inputs == setting]
        left = [run for run in runs if run.inputs != setting]
        here, why = answered(one, by_design(left), held, known)
        found += here
        refused += why
    return found, refused


def answered(one: Series, trained: Sequence[Run], held: Sequence[Run], known: Known) -> tuple[list[Case], list[str]]:
    found, refused = [], []
    for outcome in held[0].outcomes:
        measured, kind = column(trained, outcome), GAIN if outcome == GAIN else DRIFT
        varied, rates = varied_in(trained), inputs_of(trained)["rate"]
        span = float(rates.max() / rates.min())
        prior = known(one, kind, measured, span)
        judged = judge(kind, {**inputs_of(trained), kind: measured}, varied, prior=prior).judged
        points = inputs_of(held)
        one_more = 2 * student.ppf((1 + LEVEL) / 2, len(measured) - 1) * measured.std(ddof=1)
        for run, estimate, why in zip(held, judged.predict(points, LEVEL, DRAWS), judged.refusals(points), strict=True):
            if why is not None:
                refused.append(why)
                continue
            truth = run.outcomes[outcome]
            inside = estimate.low <= truth <= estimate.high
            width = estimate.high - estimate.low
            spread, alone = float(np.ptp(measured)), float(one_more * math.sqrt(1 + 1 / len(measured)))
            found.append(Case(one.name, outcome, inside, width, spread, alone))
    return found, refused


def alone(one: Series, kind: str, measured: Array, span: float) -> Prior:
    """As good as nothing."""
    return Prior(1e-12, 1e-12)


def usual(one: Series, kind: str, measured: Array, span: float) -> Prior:
    """What `acclimate plan` takes; of all series but the blind ones, so this one may be among them."""
    return usual_noise(kind, measured, span)


def elsewhere(one: Series, kind: str, measured: Array, span: float) -> Prior:
    """By the same rule, from the tables of other folders alone."""
    scale, freedom = _elsewhere(one.folder, kind)
    return Prior(scale * (float(np.abs(measured).max()) if kind == GAIN else 1.0), freedom)


@cache
def _elsewhere(folder: str, kind: str) -> tuple[float, float]:
    others = fits([one for one in series() if not one.blind and one.folder != folder and "rates" not in one.name])
    prior = prior_of(*zip(*[(one.scale, one.freedom) for one in others if one.kind == kind], strict=True))
    return prior.scale, min(MOST, prior.freedom)


def by_design(left: Sequence[Run]) -> list[Run]:
    """The six that `acclimate plan --probe` would take, were these its candidates."""
    forms = [*forms_of(DRIFT, left), *forms_of(GAIN, left)]
    return [left[place] for place in choose_runs(inputs_of(left), forms, RUNS)]


HEAD = (
    "| {} | cases | covered | narrower than the spread | than Student's | median width / spread | no answer |\n"
    "|---|---|---|---|---|---|---|"
)


def tables() -> str:
    return "\n\n".join(
        [
            "### Shares and tokens",
            _bar(),
            "### All series",
            _series(),
            _forward(),
        ]
    )


def _bar() -> str:
    """The cases that the bar names, by what is known of noise."""
    lines = [HEAD.format("noise known from, series")]
    asked = [one for one in series() if "tokens" in one.name]
    for name, known in (
        ("these six runs alone", alone),
        ("other tables too", elsewhere),
        ("all tables but the blind ones", usual),
    ):
        every, refusals = [], 0
        for one in asked:
            found, refused = cases(one, known)
            every += found
            refusals += len(refused)
            lines.append(_line(f"{name}; {one.name}{', blind' if one.blind else ''}", found, str(len(refused))))
        lines.append(_line(f"**{name}**", every, str(refusals)))
    return "\n".join(lines)


def _series() -> str:
    blocks, every, refusals = [HEAD.format("series, outcome")], [], 0
    for one in series():
        found, refused = cases(one, usual)
        every += found
        refusals += len(refused)
        for outcome in runs_of(one)[0].outcomes:
            blocks.append(_line(f"{one.name}, {outcome}", [case for case in found if case.outcome == outcome], ""))
        blocks.append(_line(f"**{one.name}**", found, str(len(refused))))
    for kind in (GAIN, DRIFT):
        blocks.append(_line(f"**all, {kind}**", [case for case in every if case.outcome.startswith(kind)], ""))
    blocks.append(_line("**all**", every, str(refusals)))
    return "\n".join(blocks)


def _forward() -> str:
    """From the two shorter lengths to the longest, as a user would ask."""
    blocks = ["From the shorter lengths to 16,384 tokens:"]
    for one in series():
        tokens = sorted({run.inputs[-1] for run in runs_of(one)})
        if len(tokens) < 3:
            continue
        short = [run for run in runs_of(one) if run.inputs[-1] < tokens[-1]]
        held = [run for run in runs_of(one) if run.inputs[-1] == tokens[-1]]
        found, refused = answered(one, by_design(short), held, usual)
        lines = [HEAD.format(f"{one.name}, outcome")]
        for outcome in held[0].outcomes:
            lines.append(_line(outcome, [case for case in found if case.outcome == outcome], ""))
        blocks.append("\n".join([*lines, _line("**all**", found, str(len(refused)))]))
    return "\n\n".join(blocks)


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
