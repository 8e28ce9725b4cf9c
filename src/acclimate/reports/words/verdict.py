"""The verdict: one or two sentences computed from the numbers, and the notes that belong beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from acclimate.paired.metrics import BITS, DRIFT
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.sections.budget import endings
from acclimate.reports.sections.sessions import sessions
from acclimate.reports.sections.steps import step_notes
from acclimate.reports.words import notes, number
from acclimate.reports.words.answer import Answer, answer
from acclimate.reports.words.best import by_drift, praised
from acclimate.reports.words.names import joined, named, phrase
from acclimate.reports.words.outcome import each, fell, outcome, why
from acclimate.reports.words.pairs import against, told
from acclimate.runs.folder import TextSet


@dataclass(frozen=True)
class Verdict:
    """``answer`` in words, ``headline`` in numbers; ``notes`` are what a careful reader must know with them."""

    answer: Answer
    headline: str
    notes: tuple[str, ...]


def verdict(data: ReportData) -> Verdict:
    """What was gained, what was kept, by which run."""
    domain = data.domain
    if domain is None or domain.name not in data.base:
        headline = "No held-out domain text was measured, so nothing can be said about what was gained."
        said = (
            *notes.losses(data),
            *notes.seeds(data),
            *notes.origins(data),
            *step_notes(data),
            *endings(data),
            *sessions(data),
        )
        return Verdict(answer(data), headline, said)
    sentences: list[str]
    beside: list[str]
    learned = [run for run in data.runs if outcome(run, domain) == "learned"]
    if not learned:
        sentences, beside = _nothing_learned(data, domain), []
    elif len(data.runs) == 1:
        sentences, beside = _one(data, learned[0], domain), []
    else:
        sentences, beside = _several(data, learned, domain)
        beside = [*beside, *notes.did_not_learn(data, learned, domain)]
    beside += [*notes.clean(data, domain), *notes.other_domains(data, domain), *notes.losses(data)]
    beside += [
        *notes.seeds(data),
        *notes.origins(data),
        *step_notes(data),
        *endings(data),
        *sessions(data),
    ]
    return Verdict(answer(data), " ".join(sentences), tuple(beside))


def _one(data: ReportData, run: Run, domain: TextSet) -> list[str]:
    sentences = [f"{named(run.label)} learned the domain ({fell(data, run, domain)}){_everywhere(data, run, domain)}."]
    return [*sentences, _distance(data, run)]


def _several(data: ReportData, learned: Sequence[Run], domain: TextSet) -> tuple[list[str], list[str]]:
    """The run that kept most among those that learned, against plain fine-tuning where it is there."""
    kept = data.kept
    if kept is None:
        names = joined(run.label for run in learned)
        falls = "; ".join(f"{named(run.label)} {fell(data, run, domain, unit=False)}" for run in learned)
        return [f"{names} learned the domain (bits per byte: {falls}).", _distance(data, learned[0])], []
    drifts = {run.label: drift for run in learned if (drift := data.drift(run, kept))}
    ranked = by_drift(data, learned)
    if len(ranked) < 2:
        best = ranked[0] if ranked else learned[0]
        only = "Only " if len(learned) == 1 else ""
        opening = f"{only}{named(best.label)} {'clearly ' if only else ''}learned the domain"
        return [f"{opening} ({fell(data, best, domain)}){_everywhere(data, best, domain)}.", _distance(data, best)], []
    best, others = praised(data, ranked, domain)
    other = next((run for run in others if run.method == "sft"), others[-1])
    a, b = drifts[best.label], drifts[other.label]
    difference = against(data, best, kept, DRIFT).get(other.label)
    clear = difference is not None and difference.below
    opening = f"{named(best.label)} learned the domain ({fell(data, best, domain)})"
    versus = f"KL {number.nats(a.value)} vs {number.nats(b.value)} nats/token"
    if clear:
        less = number.change(100 * (1 - a.value / b.value), 0).lstrip("+")
        than = f"{named(other.label)} ({versus}; {told(difference)})"
        first = f"{opening} and moved {less} less from the base on {phrase(kept)} than {than}"
    else:
        first = (
            f"{opening}, but its distance from the base on {phrase(kept)} cannot be told from {named(other.label)}'s "
            f"({versus}; {told(difference)})"
        )
    sentences = [f"{first}{_same_order(best, other, kept, clear)}.", _gains_compared(data, best, other, domain)]
    closer = ranked[: ranked.index(best)]
    beside = notes.closer(data, best, closer, domain, kept) + notes.close_seconds(data, best, others, other, kept)
    return sentences, beside + notes.contrary(data, best, other, kept)


def _gains_compared(data: ReportData, best: Run, other: Run, domain: TextSet) -> str:
    difference = against(data, best, domain, BITS).get(other.label)
    changes = [number.change(data.change(run, domain) or 0.0) for run in (best, other)]
    pair = f"{changes[0]} against {changes[1]}"
    if difference is None or not difference.apart:
        return f"What the two gained on the domain cannot be told apart ({pair}; {told(difference)})."
    more = "more" if difference.below else "less"
    opening = "It also learned" if more == "more" else "It paid for that: it learned"
    return f"{opening} {more} of the domain than {named(other.label)} ({pair}; {told(difference)})."


def _nothing_learned(data: ReportData, domain: TextSet) -> list[str]:
    if len(data.runs) > 1:
        return ["No run clearly learned the domain.", f"Bits per byte: {each(data, data.runs, domain)}."]
    run = data.runs[0]
    words = fell(data, run, domain)
    if outcome(run, domain) == "worse":
        return [f"{named(run.label)} did not learn the domain, it became worse at it ({words}).", _distance(data, run)]
    return [f"It is not clear that {named(run.label)} learned the domain ({words}{why(run, domain)}).",
            _distance(data, run)]  # fmt: skip


def _distance(data: ReportData, run: Run) -> str:
    """How far one run moved, in plain words."""
    kept = data.kept
    drift = data.drift(run, kept) if kept else None
    if kept is None or drift is None:
        return "Its distance from the base on general or chat text was not measured, so what was kept is unknown."
    agreement = run.measure(kept.name, "top1_agreement")
    same = f", and picks the same next token for {number.share(agreement.value)} of tokens" if agreement else ""
    return f"It moved {number.nats(drift.value)} nats/token (KL) from the base on {phrase(kept)}{same}."


def _everywhere(data: ReportData, run: Run, domain: TextSet) -> str:
    """Whether a gain holds in each seed, said only where there are several."""
    values = run.by_seed(domain.name, BITS).values()
    if len(values) < 2:
        return ""
    better = sum(value < data.base[domain.name].value for value in values)
    where = "in every seed" if better == len(values) else f"in {better} of {len(values)} seeds"
    return f", on the mean of {len(values)} seeds and {where}"


def _same_order(best: Run, other: Run, kept: TextSet, clear: bool) -> str:
    """Whether the comparison of two runs has the same sign in each seed both were trained with."""
    one, two = (run.by_seed(kept.name, DRIFT) for run in (best, other))
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
