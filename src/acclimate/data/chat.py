"""A chat is rendered by the tokenizer's own template, and every message is found again in the result.

Three ways, from exact to tolerant; a chat that none of them explains is refused, never guessed at:

1. render once with the contents and once with unique marks in their place; the literal pieces between
   the marks, filled with the contents, must rebuild the rendering (one mark at a time if not all at once);
2. for assistant messages that the template takes apart (``<think>`` blocks, tool calls): what was
   generated starts where the rendering of the messages before it, with the generation prompt, ends,
   and stops at the end-of-turn token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from jinja2 import TemplateError

from acclimate.data.records import Document
from acclimate.errors import ConfigError, DataError

Thinking = Literal["on", "off"]
Message = dict[str, Any]
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Span:
    """Characters ``[start, end)`` of the rendering that message ``part_index`` would have the model produce."""

    start: int
    end: int
    part_index: int


@dataclass(frozen=True)
class Rendered:
    text: str
    spans: tuple[Span, ...]


def render(
    document: Document, tokenizer: Any, thinking: Thinking | None = None, wanted: Iterable[int] | None = None
) -> Rendered:
    """Renders one chat; see :meth:`ChatTemplate.render`."""
    return ChatTemplate(tokenizer).render(document, thinking, wanted)


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Id -> spelling of every special token (bos, eos, turn marks); ``<think>`` and the like are ordinary text."""
    added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def check_thinking(tokenizer: Any, name: str) -> None:
    """Refuses ``thinking`` for a template that has no such mode."""
    template = tokenizer.chat_template
    if template is not None and "enable_thinking" not in str(template):
        raise ConfigError(
            f"sources.{name}.thinking: the model's chat template never reads enable_thinking, so the option would "
            "have no effect; leave it out."
        )


def thinking_of(document: Document, setting: Literal["on", "off", "mixed"] | None) -> Thinking | None:
    """``mixed`` gives half of the documents each mode, by a hash of their text, the same in every run."""
    if setting != "mixed":
        return setting
    return "on" if hashlib.sha256(document.text.encode()).digest()[0] % 2 else "off"


class ChatTemplate:
    """The chat template of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        # Longest first, so that <|end|> does not hide <|end|>x.
        self.specials = sorted(special_tokens(tokenizer).values(), key=len, reverse=True)

    def render(
        self, document: Document, thinking: Thinking | None = None, wanted: Iterable[int] | None = None
    ) -> Rendered:
        """Renders a chat and finds its messages.

        Args:
            document: a templated document.
            thinking: mode of a hybrid model; None leaves it to the template.
            wanted: indices of the parts to find, all by default. A template may drop or move a message
                nobody learns from.

        Returns:
            The text, and a span for each wanted part: its content and, for an assistant, the end-of-turn
            token after it, so that the model learns to stop.

        Raises:
            DataError: no template, the template refuses the chat, or a wanted message cannot be found in the result.
        """
        if self.tokenizer.chat_template is None:
            raise DataError(
                f"{document.where}: this is a chat, but the model's tokenizer has no chat template. "
                "Use an instruct model, or give plain 'text' or 'prompt' and 'completion'."
            )
        messages = [
            {"role": part.role, "content": part.text, **part.extra} if part.extra else _message(part.role, part.text)
            for part in document.parts
        ]
        try:
            text = self._text(messages, thinking)
        except _FAILURES as error:
            raise DataError(f"{document.where}: the model's chat template refuses this chat: {error}.") from None
        marks = {i: f"acclimate-{document.fingerprint[:16]}-{i}-mark" for i in range(len(messages))}
        together = self._contents(messages, text, marks, thinking)
        spans = []
        for i in range(len(messages)) if wanted is None else wanted:
            found = together.get(i) or self._contents(messages, text, {i: marks[i]}, thinking).get(i)
            if messages[i]["role"] == "assistant":
                if found is None or self._generates_more(messages, i, text, thinking):
                    found = self._generated(messages, i, text, thinking)
                else:
                    found = (found[0], self._after_turn(text, found[1]))
            if found is None:
                raise DataError(
                    f"{document.where}: message {i + 1} ({messages[i]['role']}) is not found in what the model's chat "
                    "template makes of this chat, so it is unknown which tokens to learn. If it holds reasoning, "
                    "set thinking: on or leave thinking out; otherwise give the row as 'prompt' and 'completion' "
                    "strings, already rendered."
                )
            spans.append(Span(*found, i))
        return Rendered(text, tuple(spans))

    def _text(self, messages: list[Message], thinking: Thinking | None, generation_prompt: bool = False) -> str:
        mode = {} if thinking is None else {"enable_thinking": thinking == "on"}
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation_prompt, **mode
            )
        )

    def _try(self, messages: list[Message], thinking: Thinking | None, generation_prompt: bool = False) -> str | None:
        """None when the template refuses; a changed or shortened chat may break rules the whole one keeps."""
        try:
            return self._text(messages, thinking, generation_prompt)
        except _FAILURES:
            return None

    def _contents(
        self, messages: list[Message], text: str, marks: Mapping[int, str], thinking: Thinking | None
    ) -> dict[int, tuple[int, int]]:
        """Characters of each marked message's content; empty when literal pieces and contents do not rebuild text."""
        marked = self._try([m | {"content": marks[i]} if i in marks else m for i, m in enumerate(messages)], thinking)
        if marked is None or any(marked.count(mark) > 1 for mark in marks.values()):
            return {}
        order = sorted((marked.index(mark), i) for i, mark in marks.items() if mark in marked)
        if not order or not text.startswith(marked[: order[0][0]]):
            return {}
        spans: dict[int, tuple[int, int]] = {}
        at = read = 0  # cursors in text and in marked
        for (start, i), (following, _) in zip(order, [*order[1:], (len(marked), -1)], strict=True):
            at += start - read
            read = start + len(marks[i])
            content, literal = messages[i]["content"], marked[read:following]
            trimmed = (content, content.strip(), content.lstrip(), content.rstrip())
            fitting = [c for c in trimmed if text.startswith(c + literal, at)]
            if not fitting:
                return {}
            spans[i] = (at, at + len(fitting[0]))
            at = spans[i][1]
        return spans if text[at:] == marked[read:] else {}

    def _generates_more(self, messages: list[Message], i: int, text: str, thinking: Thinking | None) -> bool:
        """Whether the template prints something of the message besides its content, such as tool calls."""
        if messages[i].keys() <= {"role", "content", "name"}:
            return False
        bare = _message(messages[i]["role"], messages[i]["content"])
        return self._try([*messages[:i], bare, *messages[i + 1 :]], thinking) != text

    def _generated(
        self, messages: list[Message], i: int, text: str, thinking: Thinking | None
    ) -> tuple[int, int] | None:
        """From the end of the generation prompt to the end of the turn."""
        before = self._try(messages[:i], thinking, generation_prompt=True)
        if before is None or not text.startswith(before):
            return None
        if self._turn_end is not None:
            stop = text.find(self._turn_end, len(before))
            end = stop + len(self._turn_end)
        else:
            whole = self._try(messages[: i + 1], thinking)
            if whole is None or not text.startswith(whole):
                return None
            stop = end = len(whole.rstrip())
        # The last word of the content must be there; a template that drops it is not understood.
        last = (WORD.findall(messages[i]["content"]) or [""])[-1]
        return (len(before), end) if stop >= len(before) and last in text[len(before) : stop] else None

    @cached_property
    def _turn_end(self) -> str | None:
        """The special token that the template puts after an assistant's content."""
        probe = self._try([_message("user", "acclimate-question"), _message("assistant", "acclimate-answer")], None)
        _, answer, rest = (probe or "").partition("acclimate-answer")
        return rest[: self._after_turn(rest, 0)].lstrip(" ") or None if answer else None

    def _after_turn(self, text: str, end: int) -> int:
        """Position after the special token at ``end``; some templates put one blank before it."""
        start = end + 1 if text.startswith(" ", end) else end
        return next((start + len(token) for token in self.specials if text.startswith(token, start)), end)


_FAILURES = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
