"""Which run of several a report speaks of first."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.paired.metrics import BITS
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words.outcome import outcome
from acclimate.reports.words.pairs import against
from acclimate.runs.folder import TextSet


def learned(data: ReportData) -> list[Run]:
    """Runs that clearly predict the domain better than the base."""
    domain = data.domain
    return [] if domain is None else [run for run in data.runs if outcome(run, domain) == "learned"]


def best_of(data: ReportData) -> Run | None:
    """The run that kept most among those that learned; None where none clearly learned the domain."""
    found, domain = learned(data), data.domain
    if not found or domain is None:
        return None
    ranked = by_drift(data, found)
    if len(ranked) < 2:
        return ranked[0] if ranked else found[0]
    return praised(data, ranked, domain)[0]


def by_drift(data: ReportData, runs: Sequence[Run]) -> list[Run]:
    """Runs whose drift on the kept set was measured, the least first."""
    kept = data.kept
    drifts = {run: drift.value for run in runs if kept and (drift := data.drift(run, kept))}
    return sorted(drifts, key=lambda run: drifts[run])


def praised(data: ReportData, ranked: Sequence[Run], domain: TextSet) -> tuple[Run, Sequence[Run]]:
    """Of the runs whose gain cannot be told from the largest, the one that moved least; and those that moved more.

    Doing little is the easiest way to keep everything, so a small drift alone does not win. Where only one run has
    the largest gain there is a price either way, and the run that moved least is named together with that price.
    """
    scores = {run: score.value for run in ranked if (score := run.measure(domain.name, BITS))}
    most = min(scores, key=lambda run: scores[run])
    behind = {label for label, found in against(data, most, domain, BITS).items() if found.below}
    full = [run for run in ranked if run in scores and run.label not in behind]
    first = ranked.index(full[0]) if len(full) > 1 else 0
    return ranked[first], ranked[first + 1 :]
