"""How a model is asked: what its chat template prints before a user's turn and before an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.rendering import ChatTemplate, Thinking
from acclimate.data.chat.turns import QUESTION
from acclimate.data.read.records import RecordSchema
from acclimate.types.errors import AcclimateError

Messages = Sequence[Mapping[str, Any]]
Form = Literal["messages", "rendered", "text"]
"""Of a row: a chat, a pair of strings that a template has printed, or plain text."""
READ_AS = SourceSection(path="rows.jsonl")
"""How rows are read that the base wrote."""


class Asking:
    """One tokenizer's chat template, as generation uses it."""

    def __init__(self, tokenizer: Any, thinking: Literal["on", "off", "mixed"] | None = None) -> None:
        """
        Args:
            thinking: mode of a hybrid model; None and mixed are both, by turns.
        """
        self.tokenizer = tokenizer
        self.thinking = thinking
        self.template = ChatTemplate(tokenizer)
        self._blank: dict[Thinking | None, tuple[str, int] | None] = {}

    @cached_property
    def hybrid(self) -> bool:
        """Whether the template has two modes."""
        return "enable_thinking" in str(self.tokenizer.chat_template)

    @cached_property
    def modes(self) -> tuple[Thinking | None, ...]:
        """Of a hybrid model both, unless one is wanted; else the template's only one."""
        if self.thinking in ("on", "off"):
            return (self.thinking,)
        return ("on", "off") if self.hybrid else (None,)

    def prompt(self, messages: Messages, thinking: Thinking | None) -> str | None:
        """The chat with the assistant's turn opened; None where the template refuses it."""
        return self.template.attempt([dict(message) for message in messages], thinking, generation_prompt=True)

    def blank(self, thinking: Thinking | None) -> tuple[str, int] | None:
        """What stands before a user's first words, and the token that ends them.

        None where the template prints nothing before them, refuses a bare question, or ends them by ordinary text.
        """
        if thinking not in self._blank:
            self._blank[thinking] = self._before_a_question(thinking)
        return self._blank[thinking]

    def _before_a_question(self, thinking: Thinking | None) -> tuple[str, int] | None:
        asked = self.prompt([{"role": "user", "content": QUESTION}], thinking) or ""
        before, found, behind = asked.partition(QUESTION)
        tokens = {token: number for number, token in self.template.added.items()}
        at = {behind.index(token): token for token in tokens if token and token in behind}
        if not found or not before or not at:
            return None
        first = min(at)
        end = max((token for token in tokens if behind.startswith(token, first)), key=len)
        return None if behind[:first].strip() else (before, tokens[end])

    def ids(self, text: str) -> list[int]:
        """Of a text that the template printed, special tokens and all."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def record(self, messages: Messages, prompt: str, said: str, end: str) -> tuple[dict[str, Any], Form]:
        """A row of what the model answered, and its form: ``messages``, or ``rendered``.

        Messages are taken where reading them gives the very text that the model saw and wrote, with the answer as its
        label. Elsewhere (a thought that was cut, blanks that the template takes off, another end than the template's)
        the row is a pair of strings, already rendered.

        Args:
            prompt: the chat with the assistant's turn opened, as text.
            said: what the model wrote behind it.
            end: the token that ended it, as text; empty where it was cut.
        """
        chat: dict[str, Any] = {"messages": [*messages, {"role": "assistant", "content": said}]}
        if not end:
            chat["ended"] = False
        if self._reads_back(chat, prompt, said, end):
            return chat, "messages"
        return {"prompt": prompt, "completion": said + end, "ended": False}, "rendered"

    def _reads_back(self, record: Mapping[str, Any], prompt: str, said: str, end: str) -> bool:
        """Whether the row, read and rendered as any other, is ``prompt``, and then ``said`` and ``end`` to learn."""
        try:
            document = RecordSchema("replay", READ_AS).document(record, "row")
            if document is None:
                return False
            last = len(document.parts) - 1
            rendered = self.template.render(document, wanted=[last])
        except AcclimateError:
            return False
        if rendered.notes or [span.part_index for span in rendered.spans] != [last]:
            return False
        (span,) = rendered.spans
        stands = rendered.text.startswith(prompt + said) and span.start == len(prompt)
        return stands and rendered.text[len(prompt + said) : span.end].strip() == end.strip()
