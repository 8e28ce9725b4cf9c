"""What other tools call the fields of a record: chats under another name, questions and answers in columns."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CHATS = ("conversations", "conversation")
"""Names of the messages of a chat [from code: LLaMA-Factory, axolotl]."""
PAIRS: Mapping[str, tuple[str, ...]] = {
    "instruction": ("output", "response", "completion", "answer"),
    "prompt": ("response", "output", "answer"),
    "question": ("answer", "response", "output", "completion"),
    "query": ("response", "answer", "output"),
    "problem": ("solution", "answer"),
    "input": ("output",),
}
"""What is asked -> what answers it, the likeliest first: Alpaca [from code: LLaMA-Factory], Dolly, OpenOrca, GSM8K and
ms-swift [second-hand]."""
BEFORE, BEHIND = ("context",), ("input", "context")
"""What a question needs beside it: a context stands before it; of an instruction both stand behind it."""
SYSTEM = ("system_prompt",)

Reading = Literal["messages", "chat", "joined", "rendered"]
"""How a row was read: messages under another name; a pair through the chat template, or joined as it stands, because
that is asked or there is no template, or because its prompt is rendered already."""
MARKS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[INST\]|<start_of_turn>|<\|turn>|^### (Instruction|Response):",
    re.MULTILINE,
)
"""What chat templates write around turns."""


def recognised(names: Collection[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Format -> its fields under the names that other tools give them, as far as ``names`` have them all.

    >>> recognised(["id", "Question", "Answer"])
    {'prompt_completion': {'prompt': ('Question',), 'completion': ('Answer',)}}
    >>> recognised(["instruction", "input", "output"])["prompt_completion"]["prompt"]
    ('instruction', 'input')
    """
    known = {name.strip().casefold(): name for name in reversed(list(names))}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    if chat := next((known[name] for name in CHATS if name in known), None):
        found["messages"] = {"messages": (chat,)}
    for asked, answers in PAIRS.items():
        answer = next((known[name] for name in answers if name in known), None)
        if asked in known and answer is not None:
            before = [] if asked in ("instruction", "input") else [known[name] for name in BEFORE if name in known]
            behind = [known[name] for name in BEHIND if name in known] if asked == "instruction" else []
            found["prompt_completion"] = {"prompt": (*before, known[asked], *behind), "completion": (answer,)}
            break
    if system := next((known[name] for name in SYSTEM if name in known), None):
        found = {kind: fields | {"system": (system,)} for kind, fields in found.items()}
    return found


def is_rendered(prompt: str) -> bool:
    """Whether a prompt spells marks of a chat template.

    >>> is_rendered("<|im_start|>user\\nWho?<|im_end|>"), is_rendered("Who?")
    (True, False)
    """
    return MARKS.search(prompt) is not None


@dataclass
class Readings:
    """Counts, of one source, rows whose reading is a choice. Each entry: rows, the first place without its folders."""

    counts: dict[tuple[tuple[str, ...], Reading], tuple[int, str]] = field(default_factory=dict)

    def add(self, names: tuple[str, ...], reading: Reading, where: str) -> None:
        count, first = self.counts.get((names, reading), (0, os.path.basename(where)))
        self.counts[names, reading] = (count + 1, first)

    @property
    def pairs(self) -> bool:
        """Whether there were pairs of two strings."""
        return any(reading != "messages" for _, reading in self.counts)

    def facts(self) -> list[list[Any]]:
        """Plain data for JSON; :meth:`of` reads it again."""
        return [[*key, *value] for key, value in self.counts.items()]

    @classmethod
    def of(cls, facts: Iterable[Iterable[Any]]) -> Readings:
        return cls({(tuple(names), reading): (count, first) for names, reading, count, first in facts})

    def sentences(self, source: str) -> tuple[str, ...]:
        """One for each reading.

        >>> readings = Readings()
        >>> readings.add(("question", "answer"), "chat", "data/faq.csv:2")
        >>> print(readings.sentences("faq")[0])  # doctest: +NORMALIZE_WHITESPACE
        source 'faq': 'question' and 'answer' (1 row, first faq.csv:2) go through the model's chat template as a
        question and its answer; sources.faq.pairs: joined learns them as plain text.
        """
        found: dict[Reading, list[str]] = {}
        for (names, reading), (count, first) in self.counts.items():
            *others, last = map(repr, names)
            columns = f"{', '.join(others)} and {last}" if others else last
            rows = f"{count:,} row{'' if count == 1 else 's'}"
            found.setdefault(reading, []).append(f"{columns} ({rows}, first {first})")
        return tuple(
            f"source '{source}': {'; '.join(rows)} {SAID[reading].format(source=source)}."
            for reading, rows in found.items()
        )


SAID: Mapping[Reading, str] = {
    "messages": "is read as a chat's messages",
    "chat": "go through the model's chat template as a question and its answer; sources.{source}.pairs: joined learns "
    "them as plain text",
    "joined": "are joined as they stand, without a blank between and without a chat template",
    "rendered": "are joined as they stand, since the prompt spells marks of a chat template",
}
