"""What base and runs wrote to the same prompts, and the one answer that says most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words.answer import Answer
from acclimate.reports.words.methods import control_of

Answers = Mapping[tuple[str, str], Mapping[str, str]]
"""(set, prompt) -> who -> answer; the base is called "" and comes first."""
COMPARED = 2000  # characters of an answer


@dataclass(frozen=True)
class Changed:
    """One prompt under the headline: what the base wrote, and the runs that the headline speaks of."""

    text_set: str
    prompt: str
    answers: Mapping[str, str]


def answers_of(data: ReportData) -> Answers:
    """Of several seeds the first speaks."""
    if not data.with_text:
        return {}
    answers: dict[tuple[str, str], dict[str, str]] = {}
    for run in data.runs:
        for item in run.seeds[0].generations:
            block = answers.setdefault((item.text_set, item.prompt), {"": item.base})
            block[run.label] = item.tuned
    return answers


def changed(data: ReportData, found: Answer) -> Changed | None:
    """The answer that says most.

    Beside a control it is one that the control changed and the praised run did not, on text that is not of the domain.
    Of one run alone: where the run forgot or moved, the largest change on such text; otherwise the largest on domain
    text, which shows what was learned.
    """
    run = found.about or (data.runs[0] if len(data.runs) == 1 else None)
    answers = answers_of(data)
    if run is None or not answers:
        return None
    control = control_of(run, data.runs)
    domain = {item.name for item in data.role("domain")}
    elsewhere = control is not None or found.kind in ("forgot", "moved")
    asked = [key for key in answers if (key[0] not in domain) == elsewhere] or list(answers)
    weighed = {key: weight for key in asked if (weight := _weight(answers[key], run, control)) > 0}
    if not weighed:
        return None
    key = max(weighed, key=lambda key: weighed[key])
    shown = ["", *(one.label for one in (run, control) if one is not None and one.label in answers[key])]
    return Changed(*key, {label: answers[key][label] for label in shown})


def _weight(block: Mapping[str, str], run: Run, control: Run | None) -> float:
    if run.label not in block or (control is not None and control.label not in block):
        return 0.0
    own = _apart(block[""], block[run.label])
    return own if control is None else _apart(block[""], block[control.label]) - own


def _apart(one: str, other: str) -> float:
    """0 of equal answers, 1 of answers without a common run of words."""
    return 1 - SequenceMatcher(None, one[:COMPARED].split(), other[:COMPARED].split(), autojunk=False).ratio()
