"""The picture at the top: what was gained and what it cost, one bar a run."""

from __future__ import annotations

from dataclasses import dataclass

from acclimate.reports.collect import ReportData
from acclimate.reports.pictures.palette import Slot, slots
from acclimate.reports.words import number
from acclimate.reports.words.names import named, phrase


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


def glances_of(data: ReportData) -> list[Glance]:
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
