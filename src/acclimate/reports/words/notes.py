"""What a careful reader must know beside the headline."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.paired.metrics import BITS, DRIFT
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words import number
from acclimate.reports.words.names import joined, named, phrase
from acclimate.reports.words.outcome import each, fell, outcome, why
from acclimate.reports.words.pairs import against, told
from acclimate.runs.folder import RunFolder, TextSet, read_summary
from acclimate.runs.layout import UNTOUCHED, Layout
from acclimate.runs.measured import base_notes, check_measured


def closer(data: ReportData, best: Run, runs: Sequence[Run], domain: TextSet, kept: TextSet) -> list[str]:
    """Runs that kept more than the praised one and clearly learned less than the best."""
    notes = []
    for run in runs:
        drift, difference = data.drift(run, kept), against(data, best, kept, DRIFT).get(run.label)
        if drift:
            moved = "moved less" if difference and difference.above else "did not clearly move less"
            gain = number.change(data.change(run, domain) or 0.0)
            distance = f"{moved} on {phrase(kept)} (KL {number.nats(drift.value)})"
            notes.append(f"{named(run.label)} {distance}, and learned less ({gain}).")
    return notes


def close_seconds(data: ReportData, best: Run, others: Sequence[Run], compared: Run, kept: TextSet) -> list[str]:
    found = against(data, best, kept, DRIFT)
    notes = []
    for run in others:
        difference = found.get(run.label)
        if run is not compared and not (difference and difference.apart):
            pair = f"{named(run.label)} cannot be told from {named(best.label)} on {phrase(kept)}"
            notes.append(f"{pair}: {told(difference)}.")
    return notes


def contrary(data: ReportData, best: Run, other: Run, kept: TextSet) -> list[str]:
    """Sets on which the run praised in the headline moved further than the run it is compared with."""
    notes = []
    for item in data.role("chat", "general"):
        one, two = data.drift(best, item), data.drift(other, item)
        difference = against(data, best, item, DRIFT).get(other.label)
        if item != kept and one and two and difference and difference.above:
            notes.append(
                f"On {phrase(item)} it is the other way round: {named(best.label)} moved further than "
                f"{named(other.label)} (KL {number.nats(one.value)} vs {number.nats(two.value)} nats/token; "
                f"{told(difference)})."
            )
    return notes


def did_not_learn(data: ReportData, learned: Sequence[Run], domain: TextSet) -> list[str]:
    """First of the notes on a run that is not praised: it is in the table, and it did not learn."""
    notes = []
    for run in data.runs:
        if run not in learned:
            how = (
                "became worse at the domain" if outcome(run, domain) == "worse" else "did not clearly learn the domain"
            )
            notes.append(f"{named(run.label)} {how} ({fell(data, run, domain)}{why(run, domain)}).")
    return notes


def other_domains(data: ReportData, domain: TextSet) -> list[str]:
    notes = []
    for item in data.role("domain"):
        missed = [run for run in data.runs if item != domain and outcome(run, item) != "learned"]
        if missed:
            notes.append(f"No clear improvement on {phrase(item)}, in bits per byte: {each(data, missed, item)}.")
    return notes


def losses(data: ReportData) -> list[str]:
    """Text that a run now predicts worse than the base did, forgetting in the plainest sense; and where none shows."""
    notes = []
    for item in data.role("general", "chat"):
        worse = [run for run in data.runs if outcome(run, item) == "worse"]
        if worse:
            notes.append(f"Forgotten on {phrase(item)}, in bits per byte: {each(data, worse, item)}.")
        same = [run for run in data.runs if run.paired_change(item.name) and outcome(run, item) == "unclear"]
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
            value = sum(100 * part.value / part.base for part, _ in known) / len(known)
            apart = max(apart, *(n - part.n for part, n in known))
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


def origins(data: ReportData) -> list[str]:
    """Of which runs nothing shows that the numbers are of the weights beside them, and which have a base apart, or
    tokens of their own."""
    notes: dict[str, None] = {}
    for folder in data.folders:
        told = (*base_notes(folder.provenance), *untouched(folder), check_measured(folder.path, folder.provenance).note)
        for note in told:
            if note is not None:
                notes[f"{named(folder.name)}: {note}" if len(data.folders) > 1 else note] = None
    return list(notes)


def untouched(folder: RunFolder) -> list[str]:
    """What the model gained on the checkpoint before tokens were added, each reading its own tokens."""
    path = Layout(folder.path).untouched
    if not path.is_file():
        return []
    known = {(r["set"], r["run"], r["metric"]): r for r in read_summary(path)}
    words = []
    for item in folder.sets:
        before, after, change = (
            known.get((item.name, run, metric))
            for run, metric in ((UNTOUCHED, BITS), (folder.method, BITS), (folder.method, f"{BITS}_change"))
        )
        if before and after and change:
            low, high = (None if change[end] is None else number.signed(change[end]) for end in ("low", "high"))
            limits = "" if low is None else f", 95 % interval {low} to {high}"
            values = f"{number.bits(before['value'])} to {number.bits(after['value'])}"
            words.append(f"{phrase(item)} {values} ({number.signed(change['value'])}{limits})")
    opening = "Against the untouched checkpoint, each in its own tokens over the same bytes, in bits per byte"
    return [f"{opening}: {'; '.join(words)}. There is no KL to it: their vocabularies differ."] if words else []


def seeds(data: ReportData) -> list[str]:
    if all(len(run.seeds) == 1 for run in data.runs):
        return [
            "One seed: the intervals say how much the choice of held-out documents matters, not the luck of training. "
            "Repeat with other seeds before trusting a small difference."
        ]
    single = [run for run in data.runs if len(run.seeds) == 1]
    names, verb = joined(run.label for run in single), "has" if len(single) == 1 else "have"
    if single:
        return [f"{names} {verb} one seed only."]
    fewest = min(len(run.seeds) for run in data.runs)
    return (
        ["Two seeds say little of the luck of training, so intervals are wide; five say more."] if fewest == 2 else []
    )
