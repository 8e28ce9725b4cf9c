"""What a comparison answers: the best method, the best control, and the difference of the two, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from acclimate.paired.estimate import ALPHA, Estimate
from acclimate.paired.significance import holm
from acclimate.reports.words import number
from acclimate.reports.words.methods import CONTROLS, WORDS
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.standing import Standing

MEASURES = ("gain", "drift", "loss")


@dataclass(frozen=True)
class Answer:
    """``rival`` is what the others are held against: the best control, or without any the runner-up."""

    kind: str  # of acclimate.reports.words.answer.KINDS
    word: str
    sentence: str
    best: Standing
    rival: Standing
    differences: Mapping[str, Mapping[str, Estimate]]  # method -> measure -> less the rival; p adjusted by Holm


def kind_of_method(outcome: Outcome, name: str) -> str:
    """The registered method behind a method of the comparison; its own name where the run's configuration says it."""
    value: Any = outcome.settings(name).get("method", name)
    return str(value.get("name", name)) if isinstance(value, Mapping) else str(value)


def answer(outcome: Outcome) -> Answer | None:
    """None before two methods have a domain gain and a drift."""
    complete = [one for one in outcome.standings if one.gain and one.drift]
    if len(complete) < 2:
        return None
    controls = [one for one in complete if kind_of_method(outcome, one.method) in CONTROLS]
    tried = [one for one in complete if one not in controls] or complete
    best = foremost(tried)
    rival = foremost([one for one in controls if one is not best] or [one for one in complete if one is not best])
    found = differences(complete, rival)
    kind, word, said = _judged(found[best.method])
    role = "the best control" if rival in controls and best not in controls else "the runner-up"
    spoken = WORDS.get(kind_of_method(outcome, rival.method), "")
    who = f"{rival.method} ({role}{f', {spoken}' if spoken else ''})"
    return Answer(kind, word, f"{best.method} against {who}: {said}.", best, rival, found)


def foremost(found: Sequence[Standing]) -> Standing:
    """Of those whose gain cannot be told from the largest, the one that drifts least, as a report chooses."""
    most = max(found, key=lambda one: one.gain.value if one.gain else 0.0)
    behind = [one for one in found if one is not most and most.gain and one.gain]
    adjusted = holm([most.gain.p_of(one.gain) for one in behind if most.gain and one.gain])
    clear = {one.method for one, p in zip(behind, adjusted, strict=True) if p < ALPHA}
    return min((one for one in found if one.method not in clear), key=lambda one: one.drift.value if one.drift else 0.0)


def differences(found: Sequence[Standing], rival: Standing) -> dict[str, dict[str, Estimate]]:
    """Each method less the rival; p-values of one measure are adjusted together."""
    others = [one for one in found if one is not rival]
    differ: dict[str, dict[str, Estimate]] = {one.method: {} for one in others}
    for name in MEASURES:
        pairs = [(one.method, getattr(one, name), getattr(rival, name)) for one in others]
        known = [(method, mine.less(theirs)) for method, mine, theirs in pairs if mine and theirs]
        for (method, estimate), p in zip(known, holm([estimate.p for _, estimate in known]), strict=True):
            differ[method][name] = replace(estimate, p=p)
    return differ


def _judged(found: Mapping[str, Estimate]) -> tuple[str, str, str]:
    """Mark, word and the two differences in words."""
    gain, drift = found["gain"], found["drift"]
    clear = {name: estimate.p < ALPHA for name, estimate in found.items()}
    more, less = clear["gain"] and gain.value > 0, clear["drift"] and drift.value < 0
    fewer, further = clear["gain"] and gain.value < 0, clear["drift"] and drift.value > 0
    if further or (fewer and not less):
        kind, word = "forgot", "Behind"
    elif fewer:
        kind, word = "moved", "A trade"
    elif more or less:
        kind, word = "kept", "Ahead"
    else:
        kind, word = "unclear", "Not told apart"
    drifts = "drifts " + _difference(drift, clear["drift"], number.nats, "nats/token", ("less", "more"))
    gains = "gains " + _difference(gain.scaled(100), clear["gain"], number.tenth, "points", ("less", "more"))
    return kind, word, f"{drifts}, and {gains}"


def _difference(found: Estimate, clear: bool, spell: number.Spelling, unit: str, words: tuple[str, str]) -> str:
    """``0.159 nats/token less [0.141 to 0.178], p < 0.001``, the size without its sign; or that none is told."""
    direction = words[found.value > 0]
    size = found if found.value > 0 else found.scaled(-1)
    said = f"{spell(size.value).lstrip('+')} {unit} {direction}{bracket(size, spell)}, p\u00a0{_p(found.p)}"
    return said if clear else f"about as much ({said})"


def bracket(found: Estimate, spell: number.Spelling) -> str:
    """`` [low to high]``, or nothing where there is no interval."""
    return f" [{spell(found.low)} to {spell(found.high)}]" if found.bounded else ""


def _p(value: float) -> str:
    said = number.probability(value)
    return said.replace("<\u202f", "<\u00a0") if said.startswith("<") else f"=\u00a0{said}"
