"""The verdict: one or two sentences computed from the numbers, and the caveats that belong beside them.

A change from the base is claimed when its paired 95 % interval, over the same documents, leaves 0 out. Two runs, and a
folder that holds no paired change, are told apart only when their 95 % intervals do not touch: as if the documents were
different ones, so that claim errs to caution.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from acclimate.report import number
from acclimate.report.collect import ReportData, Run
from acclimate.report.folder import Measure, TextSet


@dataclass(frozen=True)
class Verdict:
    """``headline`` is the answer; ``notes`` are what a careful reader must know with it."""

    headline: str
    notes: tuple[str, ...]


def verdict(data: ReportData) -> Verdict:
    """What was gained, what was kept, by which run."""
    domain = data.domain
    if domain is None or domain.name not in data.base:
        headline = "No held-out domain text was measured, so nothing can be said about what was gained."
        return Verdict(headline, (*_losses(data), *_seed_notes(data)))
    sentences: list[str]
    notes: list[str]
    learned = [run for run in data.runs if outcome(data, run, domain) == "learned"]
    if not learned:
        sentences, notes = _nothing_learned(data, domain), []
    elif len(data.runs) == 1:
        sentences, notes = _one(data, learned[0], domain), []
    else:
        sentences, notes = _several(data, learned, domain)
        notes = [*notes, *_did_not_learn(data, learned, domain)]
    notes = [*notes, *_other_domains(data, domain), *_losses(data), *_transfer(data), *_seed_notes(data)]
    return Verdict(" ".join(sentences), tuple(notes))


def outcome(data: ReportData, run: Run, text_set: TextSet) -> str:
    """``learned``, ``worse`` or ``unclear`` (or not measured) against the base, in bits per byte."""
    if change := run.paired_change(text_set.name):
        if change.low is None or change.high is None:
            return "unclear"
        return "learned" if change.high < 0 else "worse" if change.low > 0 else "unclear"
    base, tuned = data.base.get(text_set.name), run.measure(text_set.name, "bits_per_byte")
    if base is None or tuned is None:
        return "unclear"
    return "learned" if tuned.below(base) else "worse" if base.below(tuned) else "unclear"


DIRECTION = re.compile(r"[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Invisible characters that turn or hide what stands beside them; a name needs none."""


def named(text: str) -> str:
    """A name from a file, isolated when its letters could turn the direction of the sentence around it."""
    short, left = number.clip(DIRECTION.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())), 48)
    short += "…" if left else ""
    return short if short.isascii() else f"\u2068{short}\u2069"


def phrase(text_set: TextSet) -> str:
    """``chat``, or ``smoltalk (chat)`` when the set has a name of its own."""
    return named(text_set.name) if text_set.name == text_set.role else f"{named(text_set.name)} ({text_set.role})"


def gained_finding(data: ReportData, text_set: TextSet) -> str:
    """The title of the picture of bits per byte."""
    better = [run for run in data.runs if outcome(data, run, text_set) == "learned"]
    names = _names(better)
    if not better:
        return f"No run clearly predicts unseen {named(text_set.name)} text better than the base"
    if len(data.runs) > 1 and len(better) == len(data.runs):
        every = "Both" if len(better) == 2 else f"All {len(better)}"
        return f"{every} runs predict unseen {named(text_set.name)} text better than the base"
    only = "Only " if len(better) == 1 and len(data.runs) > 1 else ""
    verb = "predicts" if len(better) == 1 else "predict"
    return f"{only}{names} {verb} unseen {named(text_set.name)} text better than the base"


def kept_finding(data: ReportData, text_set: TextSet) -> str:
    """The title of the picture of drift."""
    drifts = [(drift, run) for run in data.runs if (drift := data.drift(run, text_set))]
    drifts.sort(key=lambda pair: pair[0].value)
    if len(drifts) > 1 and all(drifts[0][0].below(drift) for drift, _ in drifts[1:]):
        than = "the other" if len(drifts) == 2 else "the others"
        return f"{named(drifts[0][1].label)} stays closer to the base than {than} on {phrase(text_set)}"
    who = "the run" if len(data.runs) == 1 else "each run"
    return f"How far did {who} move from the base on {phrase(text_set)}?"


# --- sentences -----------------------------------------------------------------------------------------


def _one(data: ReportData, run: Run, domain: TextSet) -> list[str]:
    sentences = [f"{named(run.label)} learned the domain ({_fell(data, run, domain)}){_everywhere(data, run, domain)}."]
    return [*sentences, _distance(data, run)]


def _several(data: ReportData, learned: Sequence[Run], domain: TextSet) -> tuple[list[str], list[str]]:
    """The run that kept most among those that learned, against plain fine-tuning where it is there."""
    kept = data.kept
    if kept is None:
        fell = "; ".join(f"{named(run.label)} {_fell(data, run, domain, unit=False)}" for run in learned)
        return [f"{_names(learned)} learned the domain (bits per byte: {fell}).", _distance(data, learned[0])], []
    drifts = {run.label: drift for run in learned if (drift := data.drift(run, kept))}
    ranked = sorted((run for run in learned if run.label in drifts), key=lambda run: drifts[run.label].value)
    if len(ranked) < 2:
        best = ranked[0] if ranked else learned[0]
        only = "Only " if len(learned) == 1 else ""
        opening = f"{only}{named(best.label)} {'clearly ' if only else ''}learned the domain"
        return [f"{opening} ({_fell(data, best, domain)}){_everywhere(data, best, domain)}.", _distance(data, best)], []
    best, others = _praised(ranked, domain)
    other = next((run for run in others if run.method == "sft"), others[-1])
    a, b = drifts[best.label], drifts[other.label]
    opening = f"{named(best.label)} learned the domain ({_fell(data, best, domain)})"
    versus = f"KL {number.nats(a.value)} vs {number.nats(b.value)} nats/token"
    if a.below(b):
        less = number.change(100 * (1 - a.value / b.value), 0).lstrip("+")
        first = f"{opening} and moved {less} less from the base on {phrase(kept)} than {named(other.label)} ({versus})"
    else:
        first = (
            f"{opening}, but its distance from the base on {phrase(kept)} cannot be told from {named(other.label)}'s "
            f"({versus}; the 95\u00a0% intervals overlap)"
        )
    sentences = [f"{first}{_same_order(best, other, kept, a.below(b))}.", _gains_compared(data, best, other, domain)]
    closer = ranked[: ranked.index(best)]
    notes = [*_closer(data, best, closer, domain, kept), *_close_seconds(data, best, others, other, kept)]
    return sentences, [*notes, *_contrary(data, best, other, kept)]


def _praised(ranked: Sequence[Run], domain: TextSet) -> tuple[Run, Sequence[Run]]:
    """Of the runs whose gain cannot be told from the largest, the one that moved least; and those that moved more.

    Doing little is the easiest way to keep everything, so a small drift alone does not win. Where only one run has
    the largest gain there is a price either way, and the run that moved least is named together with that price.
    """
    scores = {run.label: run.measure(domain.name, "bits_per_byte") for run in ranked}
    most = min((score for score in scores.values() if score), key=lambda score: score.value)
    full = [run for run in ranked if (score := scores[run.label]) and not most.below(score)]
    first = ranked.index(full[0]) if len(full) > 1 else 0
    return ranked[first], ranked[first + 1 :]


def _gains_compared(data: ReportData, best: Run, other: Run, domain: TextSet) -> str:
    one, two = (run.measure(domain.name, "bits_per_byte") for run in (best, other))
    changes = [number.change(data.change(run, domain) or 0.0) for run in (best, other)]
    pair = f"{changes[0]} against {changes[1]}"
    if one is None or two is None or not one.apart(two):
        return f"What the two gained on the domain cannot be told apart ({pair}; the 95\u00a0% intervals overlap)."
    more = "more" if one.below(two) else "less"
    opening = "It also learned" if more == "more" else "It paid for that: it learned"
    return f"{opening} {more} of the domain than {named(other.label)} ({pair})."


def _nothing_learned(data: ReportData, domain: TextSet) -> list[str]:
    if len(data.runs) > 1:
        return ["No run clearly learned the domain.", f"Bits per byte: {_each(data, data.runs, domain)}."]
    run = data.runs[0]
    fell = _fell(data, run, domain)
    if outcome(data, run, domain) == "worse":
        return [f"{named(run.label)} did not learn the domain, it became worse at it ({fell}).", _distance(data, run)]
    return [f"It is not clear that {named(run.label)} learned the domain ({fell}{_why(data, run, domain)}).",
            _distance(data, run)]  # fmt: skip


def _why(data: ReportData, run: Run, domain: TextSet) -> str:
    """What leaves it open, and how large a change would have shown."""
    if outcome(data, run, domain) == "worse":
        return ""
    change = run.paired_change(domain.name)
    if change is None:
        return ", the 95\u00a0% intervals overlap"
    if change.mde is None:
        return ", too few documents to tell"
    return f", which may be chance; a change of {number.bits(change.mde)} would show in 80\u00a0% of cases"


def _distance(data: ReportData, run: Run) -> str:
    """How far one run moved, in plain words."""
    kept = data.kept
    drift = data.drift(run, kept) if kept else None
    if kept is None or drift is None:
        return "Its distance from the base on general or chat text was not measured, so what was kept is unknown."
    agreement = run.measure(kept.name, "top1_agreement")
    same = f", and picks the same next token for {number.share(agreement.value)} of tokens" if agreement else ""
    return f"It moved {number.nats(drift.value)} nats/token (KL) from the base on {phrase(kept)}{same}."


def _fell(data: ReportData, run: Run, text_set: TextSet, unit: bool = True) -> str:
    """``bits per byte 1.050 → 0.820, −21.9 %``."""
    base, tuned = data.base.get(text_set.name), run.measure(text_set.name, "bits_per_byte")
    if base is None or tuned is None:
        return "not measured"
    words = (
        f"{number.bits(base.value)} → {number.bits(tuned.value)}, {number.change(data.change(run, text_set) or 0.0)}"
    )
    return f"bits per byte {words}" if unit else words


def _everywhere(data: ReportData, run: Run, domain: TextSet) -> str:
    """Whether a gain holds in each seed, said only where there are several."""
    values = run.by_seed(domain.name, "bits_per_byte").values()
    if len(values) < 2:
        return ""
    better = sum(value < data.base[domain.name].value for value in values)
    where = "in every seed" if better == len(values) else f"in {better} of {len(values)} seeds"
    return f", on the mean of {len(values)} seeds and {where}"


def _same_order(best: Run, other: Run, kept: TextSet, clear: bool) -> str:
    """Whether the comparison of two runs has the same sign in each seed both were trained with."""
    one, two = (run.by_seed(kept.name, "kl_base_tuned") for run in (best, other))
    common = sorted(one.keys() & two.keys())
    if max(len(one), len(two)) < 2:
        return ""
    if len(common) < 2:
        return f"; means of {len(one)} and {len(two)} seeds, which were not the same seeds"
    hits = sum(one[seed] < two[seed] for seed in common)
    means = f"means of {len(common)} seeds" if len(one) == len(two) == len(common) else "means over seeds"
    if hits == len(common):
        return f"; {means}, and it holds in every seed" if clear else f"; {means}, though it is lower in every seed"
    return f"; {means}, lower in {hits} of {len(common)} seeds"


# --- notes ---------------------------------------------------------------------------------------------


def _closer(data: ReportData, best: Run, closer: Sequence[Run], domain: TextSet, kept: TextSet) -> list[str]:
    """Runs that kept more than the praised one and clearly learned less than the best."""
    notes = []
    for run in closer:
        drift, than = data.drift(run, kept), data.drift(best, kept)
        if drift and than:
            moved = "moved less" if drift.below(than) else "did not clearly move less"
            fell = number.change(data.change(run, domain) or 0.0)
            distance = f"{moved} on {phrase(kept)} (KL {number.nats(drift.value)})"
            notes.append(f"{named(run.label)} {distance}, and learned less ({fell}).")
    return notes


def _close_seconds(data: ReportData, best: Run, others: Sequence[Run], told: Run, kept: TextSet) -> list[str]:
    close = [run for run in others if run is not told and not _apart(data.drift(best, kept), data.drift(run, kept))]
    if not close:
        return []
    return [
        f"{_names(close)} cannot be told from {named(best.label)} on {phrase(kept)}: the 95\u00a0% intervals overlap."
    ]


def _contrary(data: ReportData, best: Run, other: Run, kept: TextSet) -> list[str]:
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


def _did_not_learn(data: ReportData, learned: Sequence[Run], domain: TextSet) -> list[str]:
    """First of the notes on a run that is not praised: it is in the table, and it did not learn."""
    notes = []
    for run in data.runs:
        if run not in learned:
            how = (
                "became worse at the domain"
                if outcome(data, run, domain) == "worse"
                else "did not clearly learn the domain"
            )
            notes.append(f"{named(run.label)} {how} ({_fell(data, run, domain)}{_why(data, run, domain)}).")
    return notes


def _other_domains(data: ReportData, domain: TextSet) -> list[str]:
    notes = []
    for item in data.role("domain"):
        missed = [run for run in data.runs if item != domain and outcome(data, run, item) != "learned"]
        if missed:
            notes.append(f"No clear improvement on {phrase(item)}, in bits per byte: {_each(data, missed, item)}.")
    return notes


def _each(data: ReportData, runs: Sequence[Run], item: TextSet) -> str:
    return "; ".join(f"{named(run.label)} {_fell(data, run, item, unit=False)}{_why(data, run, item)}" for run in runs)


def _losses(data: ReportData) -> list[str]:
    """Text that a run now predicts worse than the base did, forgetting in the plainest sense; and where none shows."""
    notes = []
    for item in data.role("general", "chat"):
        worse = [run for run in data.runs if outcome(data, run, item) == "worse"]
        if worse:
            notes.append(f"Forgotten on {phrase(item)}, in bits per byte: {_each(data, worse, item)}.")
        same = [run for run in data.runs if run.paired_change(item.name) and outcome(data, run, item) == "unclear"]
        if same:
            notes.append(f"No clear change on {phrase(item)}, in bits per byte: {_each(data, same, item)}.")
    return notes


def _transfer(data: ReportData) -> list[str]:
    """Gain and loss as one number each, after the raw changes: an average hides where it hurts."""
    return [
        f"{named(run.label)}: target improvement {number.change(100 * found.target_improvement)}, backward transfer "
        f"{number.change(100 * found.backward_transfer)}, harmonic S {found.harmonic_s:.3f} (1 is the base; it "
        "averages over sets and hides where text was lost)."
        for run in data.runs
        if (found := data.transfer(run))
    ]


def _seed_notes(data: ReportData) -> list[str]:
    if all(len(run.seeds) == 1 for run in data.runs):
        return [
            "One seed: the intervals say how much the choice of held-out documents matters, not the luck of training. "
            "Repeat with other seeds before trusting a small difference."
        ]
    single = [run for run in data.runs if len(run.seeds) == 1]
    return [f"{_names(single)} {'has' if len(single) == 1 else 'have'} one seed only."] if single else []


def _names(runs: Sequence[Run]) -> str:
    names = [named(run.label) for run in runs]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
