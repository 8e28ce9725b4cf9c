"""The answer in words, with a mark: what a reader with ten seconds takes away."""

from __future__ import annotations

from dataclasses import dataclass

from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words import number
from acclimate.reports.words.best import best_of
from acclimate.reports.words.methods import WORDS, control_of
from acclimate.reports.words.names import named, phrase
from acclimate.reports.words.outcome import outcome
from acclimate.reports.words.pairs import against
from acclimate.runs.folder import TextSet

LOST = 5.0
"""Percent more bits per byte on a set from which on a clear loss is called forgotten [ours]."""
SAME = 0.75
"""Part of tokens with the base's own choice below which a model that lost nothing still counts as moved [ours].
Ordinary fine-tuning of SmolLM2-135M-Instruct kept about 0.7 and mol 0.8 (docs/reference/report.md)."""
AGREEMENT = "top1_agreement"

KINDS = {
    "kept": ("✓", "Kept"),
    "moved": ("!", "Moved"),
    "forgot": ("✗", "Forgot"),
    "unclear": ("?", "Too few documents to tell"),
    "unknown": ("?", "Not measured"),
    "worse": ("✗", "Learned nothing"),
    "unlearned": ("?", "Not clear that it learned"),
}


@dataclass(frozen=True)
class Answer:
    """``kind`` is a key of ``KINDS``; ``about`` the run that is spoken of."""

    kind: str
    sentence: str
    about: Run | None = None

    @property
    def mark(self) -> str:
        return KINDS[self.kind][0]

    @property
    def word(self) -> str:
        return KINDS[self.kind][1]

    def __str__(self) -> str:
        return f"{self.mark} {self.word}. {self.sentence}"


def answer(data: ReportData) -> Answer:
    """Kept or not, how much better, how often the same next word, beside the plainest control."""
    domain = data.domain
    if domain is None or domain.name not in data.base:
        return Answer("unknown", "No held-out domain text was measured, so nothing says what was learned.")
    run = best_of(data)
    if run is None:
        return _nothing(data, domain)
    kind, where = kept_kind(data, run)
    better = f"predicts unseen {named(domain.name)} text {_gain(data, run, domain)} better"
    who = named(run.label) if len(data.runs) > 1 else "It"
    return Answer(kind, f"{who} {better}{_kept_words(data, run, kind, where)}.", run)


def kept_kind(data: ReportData, run: Run) -> tuple[str, TextSet | None]:
    """What became of general and chat text, and the set that decided it.

    ``forgot``: a set is clearly (its paired interval leaves 0 out) and by ``LOST`` percent or more worse than before.
    ``moved``: none is, but fewer than ``SAME`` of tokens keep the base's choice. ``kept``: on every set the whole
    interval of the loss lies below ``LOST`` percent. ``unclear``: some interval reaches further.
    """
    worst: tuple[float, TextSet] | None = None
    for item in data.role("general", "chat"):
        change, part = run.paired_change(item.name), data.relative_change(run, item)
        if change is None or part is None:
            continue
        if change.low > 0 and part.value >= LOST and (worst is None or part.value > worst[0]):
            worst = part.value, item
    if worst:
        return "forgot", worst[1]
    kept = data.kept
    if kept is None:
        return "unknown", None
    same = run.measure(kept.name, AGREEMENT)
    if same is not None and same.value < SAME:
        return "moved", kept
    for item in data.role("general", "chat"):
        part = data.relative_change(run, item)
        if part is not None and not (run.paired_change(item.name) and part.bounded and part.high < LOST):
            return "unclear", item
    return "kept", kept


def _nothing(data: ReportData, domain: TextSet) -> Answer:
    every = all(outcome(run, domain) == "worse" for run in data.runs)
    name = f"unseen {named(domain.name)} text"
    if len(data.runs) > 1:
        said = f"No run clearly predicts {name} better than before."
    else:
        change = number.change(-(data.change(data.runs[0], domain) or 0.0))
        said = f"It predicts {name} worse than before ({change})." if every else (
            f"Its gain on {name}, {change}, may be chance."
        )  # fmt: skip
    return Answer("worse" if every else "unlearned", said)


def _gain(data: ReportData, run: Run, domain: TextSet) -> str:
    return number.change(-(data.change(run, domain) or 0.0), 0).lstrip("+")


def _kept_words(data: ReportData, run: Run, kind: str, where: TextSet | None) -> str:
    """How often the same next word, beside a control; before that what was lost."""
    lost = ""
    if kind == "forgot" and where is not None:
        lost = f", but predicts {_text(where)} {number.change(data.change(run, where) or 0.0, 0).lstrip('+')} worse"
    elif kind == "unclear" and where is not None:
        part = data.relative_change(run, where)
        upto = f" (up to {number.change(part.high, 0).lstrip('+')})" if part and part.bounded and part.high > 0 else ""
        lost = f", and may predict {_text(where)} worse{upto}"
    kept = data.kept
    same = run.measure(kept.name, AGREEMENT) if kept else None
    if kept is None or same is None:
        return lost or ", and what it kept is unknown" * (kept is None)
    joint = "; it" if lost else " and" if kind == "kept" else ", but"
    still = "still" if kind in ("kept", "unclear") else "now"
    only = " only" if same.value < SAME else ""
    said = f"{lost}{joint} {still} chooses the base's next word{only} {100 * same.value:.0f} times in 100"
    said += f" on {phrase(kept)}"
    return said + _beside(data, run, kept)


def _text(item: TextSet) -> str:
    """``general text``; a set with a name of its own is called by it."""
    return f"{phrase(item)} text" if item.name == item.role else phrase(item)


def _beside(data: ReportData, run: Run, kept: TextSet) -> str:
    """What the plainest control does, and whether the two can be told apart."""
    control = control_of(run, data.runs)
    other = control.measure(kept.name, AGREEMENT) if control else None
    if control is None or other is None:
        return ""
    name = WORDS.get(control.method, control.label)
    difference = against(data, run, kept, AGREEMENT).get(control.label)
    apart = "" if difference is not None and difference.apart else ", not clearly another number"
    return f" ({name}: {100 * other.value:.0f}{apart})"
