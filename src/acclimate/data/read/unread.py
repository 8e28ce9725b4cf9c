"""What rows carry that is not read: counted by kind and name, and said in one line a kind with the first place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["column", "role", "asked", "key"]
"""A column of a row, a role that nobody learns, a context role that a row asks to learn, a key of a content part or
of a tool call."""

NAMES = 200
"""Different names of a kind that are counted apart: records may be keyed by anything."""
SHOWN_NAMES = 12
LONGEST_NAME = 40
OTHERS = "(other names)"
ANOTHER_FIELD = "the row is read as another format; sources.{source}.fields or format chooses"
NO_MEDIA = "only text is trained, so the model never sees it"
ANOTHER_ANSWER = "a pair of a better and a worse answer is no text to learn; map one by sources.{source}.fields"
MEANINGS = {
    "input": "in Alpaca's format it completes the instruction, so rows that differ in it alone have equal prompts and "
    "other answers; read both by sources.{source}.fields: {{prompt: [instruction, input]}}",
    "context": "a question may mean nothing without it; read both by sources.{source}.fields: {{prompt: [context, "
    "question]}}",
    "system": "it is read in chats only; give the row as messages, or put it into the prompt",
    "system_prompt": "rename the column to 'system' where rows are messages, or put it into the prompt",
    "history": "earlier turns; give the row as messages",
    "tools": "they are read beside messages only; give the row as messages",
    "functions": "rename the column to 'tools', as a list of JSON schemas",
    "reasoning": "put it into the message as 'reasoning_content', or into the answer",
    "reasoning_content": "it belongs inside a message",
    "thinking": "put it into the message as 'reasoning_content', or into the answer",
    "weight": "rows are not weighted; sources.{source}.share weights a source, a message's own weight is 0 or 1",
    "loss": "only a message may say whether it is learned",
    "train": "only a message may say whether it is learned",
    "mask": "only a message may say whether it is learned",
    "chosen": ANOTHER_ANSWER, "rejected": ANOTHER_ANSWER, "rejected_response": ANOTHER_ANSWER,
} | dict.fromkeys(("image", "images", "audio", "audios", "video", "videos"), NO_MEDIA) | dict.fromkeys(
    (
        "text", "messages", "prompt", "completion", "conversations", "conversation", "content", "body", "document",
        "question", "instruction", "answer", "response", "output",
    ),
    ANOTHER_FIELD,
)  # fmt: skip
"""Columns that look like content -> what they mean to other tools, and how to have them read."""
MEANT_ROLES = {
    "model": "assistant", "gpt": "assistant", "bot": "assistant", "ai": "assistant", "chatbot": "assistant",
    "human": "user", "prompter": "user", "observation": "tool", "tool_response": "tool", "function_response": "tool",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip


@dataclass
class Unread:
    """Counts of one source. Each entry is how often, and the first place without its folders: reports print it."""

    counts: dict[tuple[Kind, str], tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: Kind, name: str, where: str, times: int = 1) -> None:
        key = (kind, name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "...")
        if key not in self.counts and sum(known == kind for known, _ in self.counts) >= NAMES:
            key = (kind, OTHERS)
        count, first = self.counts.get(key, (0, os.path.basename(where)))
        self.counts[key] = (count + times, first)

    def merge(self, other: Unread) -> None:
        """Adds what one more row has."""
        for (kind, name), (count, first) in other.counts.items():
            self.add(kind, name, first, count)

    def facts(self) -> list[list[Any]]:
        """Plain data for JSON; :meth:`of` reads it again."""
        return [[*key, *value] for key, value in self.counts.items()]

    @classmethod
    def of(cls, facts: Iterable[Iterable[Any]]) -> Unread:
        return cls({(kind, name): (count, first) for kind, name, count, first in facts})

    def sentences(self, source: str) -> tuple[str, ...]:
        """One a kind; of columns that look like content, one each.

        >>> unread = Unread()
        >>> for name in ("id", "input"):
        ...     unread.add("column", name, "data/a.jsonl:1")
        >>> for sentence in unread.sentences("law"):
        ...     print(sentence[:64])
        source 'law': column 'input' is not read (1 row, first a.jsonl:1
        source 'law': columns that are not read: 'id' (1 row, first a.js
        """
        return tuple(self._sentences(source))

    def _sentences(self, source: str) -> Iterator[str]:
        columns = self._of("column")
        for name, (count, first) in columns.items():
            if name.lower() in MEANINGS:
                meaning = MEANINGS[name.lower()].format(source=source)
                yield f"source '{source}': column '{name}' is not read ({_times(count, 'row', first)}): {meaning}."
        others = [
            f"'{name}' ({_times(count, 'row', first)})"
            for name, (count, first) in columns.items()
            if name.lower() not in MEANINGS
        ]
        if others:
            yield f"source '{source}': columns that are not read: {_listing(others)}."
        for name, (count, first) in self._of("role").items():
            meant = MEANT_ROLES.get(name.lower(), name.lower())
            remedy = f"name it in sources.{source}.routes to learn it"
            if meant != name and meant in ("user", "assistant", "system", "tool"):
                remedy = f"if it is the {meant}, rename it so; else {remedy}"
            yield f"source '{source}': role '{name}' is context ({_times(count, 'message', first)}); {remedy}."
        for name, (count, first) in self._of("asked").items():
            yield (
                f"source '{source}': messages of '{name}' ask to be learned ({_times(count, 'message', first)}) and "
                f"stay context, because the role has no route; name it in sources.{source}.routes."
            )
        if keys := self._of("key"):
            listing = [f"'{name}' ({_times(count, 'time', first)})" for name, (count, first) in keys.items()]
            yield f"source '{source}': keys inside messages that are not read: {_listing(listing)}."

    def _of(self, kind: Kind) -> dict[str, tuple[int, str]]:
        return {name: value for (of, name), value in self.counts.items() if of == kind}


def _times(count: int, what: str, first: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}, first {first}"


def _listing(items: list[str]) -> str:
    return ", ".join(items[:SHOWN_NAMES]) + (f" and {len(items) - SHOWN_NAMES} more" * (len(items) > SHOWN_NAMES))
