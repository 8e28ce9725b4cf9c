"""What a careful reader must know beside the headline."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.report import number
from acclimate.report.collect import ReportData, Run
from acclimate.report.folder import Measure, TextSet
from acclimate.report.names import joined, named, phrase
from acclimate.report.outcome import each, fell, outcome, why


def closer(data: ReportData, best: Run, runs: Sequence[Run], domain: TextSet, kept: TextSet) -> list[str]:
    """Runs that kept more than the praised one and clearly learned less than the best."""
    notes = []
    for run in runs:
        drift, than = data.drift(run, kept), data.drift(best, kept)
        if drift and than:
            moved = "moved less" if drift.below(than) else "did not clearly move less"
            gain = number.change(data.change(run, domain) or 0.0)
            distance = f"{moved} on {phrase(kept)} (KL {number.nats(drift.value)})"
            notes.append(f"{named(run.label)} {distance}, and learned less ({gain}).")
    return notes


def close_seconds(data: ReportData, best: Run, others: Sequence[Run], told: Run, kept: TextSet) -> list[str]:
    close = [run for run in others if run is not told and not _apart(data.drift(best, kept), data.drift(run, kept))]
    if not close:
        return []
    names, least = joined(run.label for run in close), named(best.label)
    drifts = [drift for run in (best, *close) if (drift := data.drift(run, kept))]
    return [f"{names} cannot be told from {least} on {phrase(kept)}: {why_together(*drifts)}."]


def why_together(*drifts: Measure) -> str:
    """Why runs cannot be told apart."""
    known = all(drift.low is not None for drift in drifts)
    return "the 95\u00a0% intervals overlap" if known else "too few documents to tell"


def contrary(data: ReportData, best: Run, other: Run, kept: TextSet) -> list[str]:
    """Sets on which the run praised in the headline moved further than the run it is compared with."""
    notes = []
    for item in data.role("chat", "general"):
        one, two = data.drift(best, item), data.drift(other, item)
        if item != kept and one and two and two.below(one):
            notes.append(
                f"On {phrase(item)} it is the other way round: {named(best.label)} moved further than "
                f"{named(other.label)} (KL {number.nats(one.value)} vs {number.nats(two.value)} nats/token)."
            )
    return notes


def _apart(one: Measure | None, two: Measure | None) -> bool:
    return one is not None and two is not None and one.apart(two)


def did_not_learn(data: ReportData, learned: Sequence[Run], domain: TextSet) -> list[str]:
    """First of the notes on a run that is not praised: it is in the table, and it did not learn."""
    notes = []
    for run in data.runs:
        if run not in learned:
            how = (
                "became worse at the domain"
                if outcome(data, run, domain) == "worse"
                else "did not clearly learn the domain"
            )
            notes.append(f"{named(run.label)} {how} ({fell(data, run, domain)}{why(data, run, domain)}).")
    return notes


def other_domains(data: ReportData, domain: TextSet) -> list[str]:
    notes = []
    for item in data.role("domain"):
        missed = [run for run in data.runs if item != domain and outcome(data, run, item) != "learned"]
        if missed:
            notes.append(f"No clear improvement on {phrase(item)}, in bits per byte: {each(data, missed, item)}.")
    return notes


def losses(data: ReportData) -> list[str]:
    """Text that a run now predicts worse than the base did, forgetting in the plainest sense; and where none shows."""
    notes = []
    for item in data.role("general", "chat"):
        worse = [run for run in data.runs if outcome(data, run, item) == "worse"]
        if worse:
            notes.append(f"Forgotten on {phrase(item)}, in bits per byte: {each(data, worse, item)}.")
        same = [run for run in data.runs if run.paired_change(item.name) and outcome(data, run, item) == "unclear"]
        if same:
            notes.append(f"No clear change on {phrase(item)}, in bits per byte: {each(data, same, item)}.")
    return notes


def clean(data: ReportData, domain: TextSet) -> list[str]:
    """The gain without held-out documents that share text with training documents, where there are any."""
    words, apart = [], 0
    for run in data.runs:
        found = [seed.changes[domain.name] for seed in run.seeds if domain.name in seed.changes]
        known = [(change.clean, change.n) for change in found if change.clean is not None]
        if known and len(known) == len(found):
            value = sum(part[0] for part, _ in known) / len(known)
            apart = max(apart, *(n - part[1] for part, n in known))
            words.append(
                f"{named(run.label)} {number.change(value)} (all: {number.change(data.change(run, domain) or 0)})"
            )
    if not words:
        return []
    opening = f"Without the {apart} held-out documents of {phrase(domain)} that share text with training documents"
    return [f"{opening}: {'; '.join(words)}."]


def transfers(data: ReportData) -> list[str]:
    """Gain and loss as one number each, after the raw changes: an average hides where it hurts."""
    words = [
        f"{named(run.label)} {number.change(100 * found.target_improvement)}, "
        f"{number.change(100 * found.backward_transfer)}, {found.harmonic_s:.3f}"
        for run in data.runs
        if (found := data.transfer(run))
    ]
    opening = "Target improvement, backward transfer and harmonic S"
    hides = "averages over sets, which hide where text was lost; S of the base is 1"
    return [f"{opening}: {'; '.join(words)} ({hides})."] if words else []


def seeds(data: ReportData) -> list[str]:
    if all(len(run.seeds) == 1 for run in data.runs):
        return [
            "One seed: the intervals say how much the choice of held-out documents matters, not the luck of training. "
            "Repeat with other seeds before trusting a small difference."
        ]
    single = [run for run in data.runs if len(run.seeds) == 1]
    names, verb = joined(run.label for run in single), "has" if len(single) == 1 else "have"
    return [f"{names} {verb} one seed only."] if single else []
