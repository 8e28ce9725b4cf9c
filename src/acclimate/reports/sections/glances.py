"""The picture at the top: what was gained and what it cost, one bar a run, and for one run alone what to hold it to."""

from __future__ import annotations

from dataclasses import dataclass

from acclimate.paired.metrics import BITS
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.palette import BASE, Slot, slots
from acclimate.reports.words import number
from acclimate.reports.words.best import best_of
from acclimate.reports.words.methods import WORDS
from acclimate.reports.words.names import named, phrase
from acclimate.runs.folder import TextSet

TYPICAL = 0.4
"""KL(base || tuned) in nats/token on general and chat text after ordinary fine-tuning: 0.395 for SmolLM2-135M-Instruct
on medical text, three seeds [ours: benchmarks/comparison/medical-final]."""


@dataclass(frozen=True)
class Bar:
    """One run in the picture at the top: its number, and how long its bar is as a part of the longest."""

    label: str
    slot: Slot
    text: str
    length: float
    best: bool = False
    reference: bool = False  # not a run: what its number is to be held to


@dataclass(frozen=True)
class Glance:
    """One question, answered by every run."""

    question: str
    unit: str
    bars: tuple[Bar, ...]


def glances_of(data: ReportData) -> list[Glance]:
    """What was gained and what it cost, as two rows of bars, the best first."""
    glances = []
    if data.domain and (bars := _gains(data, data.domain)):
        unit = f"better prediction of unseen {named(data.domain.name)} text; longer is better"
        if len(data.runs) == 1:
            unit = f"bits per byte of unseen {named(data.domain.name)} text; shorter is better"
        glances.append(Glance("What was gained", unit, bars))
    if data.kept and (bars := _costs(data, data.kept)):
        unit = f"distance from the base on {phrase(data.kept)}, KL in nats per token; 0 is unchanged, shorter is better"
        unit += "; dashed: SmolLM2-135M on medical text" if any(bar.reference for bar in bars) else ""
        glances.append(Glance("What it cost", unit, bars))
    return glances


def _gains(data: ReportData, domain: TextSet) -> tuple[Bar, ...]:
    """Of several runs how much better each predicts; of one its bits per byte beside the base's."""
    marks, best = slots(data.runs), best_of(data)
    if len(data.runs) == 1:
        run, base = data.runs[0], data.base.get(domain.name)
        tuned = run.measure(domain.name, BITS)
        if base is None or tuned is None:
            return ()
        most = max(base.value, tuned.value) or 1.0
        sides = (("base", BASE, base.value), (run.label, marks[run.label], tuned.value))
        return tuple(Bar(name, slot, number.bits(value), value / most, name != "base") for name, slot, value in sides)
    gains = [(run, -change) for run in data.runs if (change := data.change(run, domain)) is not None]
    most = max((abs(gain) for _, gain in gains), default=0.0) or 1.0
    gains.sort(key=lambda pair: -pair[1])
    return tuple(
        Bar(run.label, marks[run.label], number.change(gain), max(0.0, gain / most), run is best) for run, gain in gains
    )


def _costs(data: ReportData, kept: TextSet) -> tuple[Bar, ...]:
    marks, best = slots(data.runs), best_of(data)
    drifts: list[tuple[Run, float]] = [(run, drift.value) for run in data.runs if (drift := data.drift(run, kept))]
    drifts.sort(key=lambda pair: pair[1])
    scaled = len(data.runs) == 1 or all(run.method != "sft" for run in data.runs)
    most = max([drift for _, drift in drifts] + [TYPICAL] * scaled, default=0.0) or 1.0
    bars = [
        Bar(run.label, marks[run.label], number.nats(drift), max(0.0, drift / most), run is best)
        for run, drift in drifts
    ]
    if scaled and bars:
        words = f"{WORDS['sft']}, typically"
        bars.append(Bar(words, BASE, f"about {TYPICAL:g}", TYPICAL / most, reference=True))
    return tuple(bars)
