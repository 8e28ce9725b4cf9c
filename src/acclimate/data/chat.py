"""A chat is rendered by the tokenizer's own template, and every message is found again in the result.

Two ways; a chat that neither explains is refused, never guessed at:

1. Render once with the contents and once with unique marks in their place; the literal pieces between
   the marks, filled with the contents, must rebuild the rendering (one mark at a time if not all at once).
2. For assistant messages that the template takes apart (``<think>`` blocks, tool calls): what was
   generated starts where the rendering of the messages before it, with the generation prompt, ends,
   and stops at the end-of-turn token, which must come before the next message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from jinja2 import TemplateError

from acclimate.chat_template import apply_chat_template
from acclimate.data.records import Document
from acclimate.errors import ConfigError, DataError

Thinking = Literal["on", "off"]
Message = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]
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


def turn_end_ids(tokenizer: Any) -> tuple[int, ...]:
    """Ids of the token that ends an assistant's turn in the tokenizer's template; none without such a token."""
    end = None if tokenizer.chat_template is None else ChatTemplate(tokenizer).turn_end
    return () if end is None else (int(tokenizer.convert_tokens_to_ids(end)),)


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
        if document.tools and "tools" not in str(self.tokenizer.chat_template):
            raise DataError(
                f"{document.where}: this chat has 'tools', but the model's chat template never reads them; take a "
                "model that calls tools, or leave the field out."
            )
        messages = [
            {"role": part.role, "content": part.text, **part.extra} if part.extra else _message(part.role, part.text)
            for part in document.parts
        ]
        try:
            text = self._text(messages, thinking, tools=document.tools)
        except _FAILURES as error:
            raise DataError(f"{document.where}: the model's chat template refuses this chat: {error}.") from None
        search = _Search(self, document, messages, text, thinking)
        spans = [Span(*search.message(i), i) for i in (range(len(messages)) if wanted is None else wanted)]
        for one, two in pairwise(sorted(spans, key=lambda span: span.start)):
            if one.end > two.start:
                raise search.not_found(one.part_index)
        return Rendered(text, tuple(spans))

    def _text(
        self, messages: list[Message], thinking: Thinking | None, generation_prompt: bool = False, tools: Tools = ()
    ) -> str:
        options: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking == "on"}
        if tools:
            options["tools"] = list(tools)
        return str(
            apply_chat_template(
                self.tokenizer, messages, tokenize=False, add_generation_prompt=generation_prompt, **options
            )
        )

    def attempt(
        self, messages: list[Message], thinking: Thinking | None, generation_prompt: bool = False, tools: Tools = ()
    ) -> str | None:
        """None when the template refuses; a changed or shortened chat may break rules the whole one keeps."""
        try:
            return self._text(messages, thinking, generation_prompt, tools)
        except _FAILURES:
            return None

    @cached_property
    def turn_end(self) -> str | None:
        """The special token that the template puts after an assistant's content."""
        probe = self.attempt([_message("user", "acclimate-question"), _message("assistant", "acclimate-answer")], None)
        _, answer, rest = (probe or "").partition("acclimate-answer")
        return rest[: self.after_turn(rest, 0)].lstrip(" ") or None if answer else None

    def after_turn(self, text: str, end: int) -> int:
        """Position after the special token at ``end``; some templates put one blank before it."""
        start = end + 1 if text.startswith(" ", end) else end
        return next((start + len(token) for token in self.specials if text.startswith(token, start)), end)


class _Search:
    """Finds the messages of one chat in its rendering."""

    def __init__(
        self, template: ChatTemplate, document: Document, messages: list[Message], text: str, thinking: Thinking | None
    ) -> None:
        self.template, self.document, self.messages, self.text = template, document, messages, text
        self.thinking = thinking
        self.marks = {i: f"acclimate-{document.fingerprint[:16]}-{i}-mark" for i in range(len(messages))}
        self.last_answer = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
        self.together = self._contents(self.marks)

    def message(self, i: int) -> tuple[int, int]:
        """What the model would have to produce of message ``i``."""
        found = self._content(i)
        if self.messages[i]["role"] == "assistant":
            if found is None or self._prints_more(i):
                found = self._generated(i)
            else:
                found = (found[0], self.template.after_turn(self.text, found[1]))
        if found is None:
            raise self.not_found(i)
        return found

    def not_found(self, i: int) -> DataError:
        role = self.messages[i]["role"]
        return DataError(
            f"{self.document.where}: message {i + 1} ({role}) is not found in what the model's chat "
            "template makes of this chat, so it is unknown which tokens to learn. If it holds reasoning or tool calls, "
            "another setting of thinking may fit; otherwise give the row as 'prompt' and 'completion' strings, "
            "already rendered."
        )

    def _content(self, i: int) -> tuple[int, int] | None:
        return self.together.get(i) or self._contents({i: self.marks[i]}).get(i)

    def _contents(self, marks: Mapping[int, str]) -> dict[int, tuple[int, int]]:
        """Characters of each marked message's content; empty when literal pieces and contents do not rebuild text."""
        text = self.text
        marked = self._attempt([m | {"content": marks[i]} if i in marks else m for i, m in enumerate(self.messages)])
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
            literal = marked[read:following]
            fitting = [printed for printed in self._printed(i) if text.startswith(printed + literal, at)]
            if not fitting:
                return {}
            spans[i] = (at, at + len(fitting[0]))
            at = spans[i][1]
        return spans if text[at:] == marked[read:] else {}

    def _printed(self, i: int) -> tuple[str, ...]:
        """Forms in which templates print a content: as it is, trimmed, and in earlier turns without its reasoning.

        Reasoning missing from the last answer is not accepted: the model would unlearn to think.
        """
        content = self.messages[i]["content"]
        forms = (content, content.strip(), content.lstrip(), content.rstrip())
        answer = content.rpartition("</think>")[2]
        return (*forms, answer, answer.strip(), answer.lstrip()) if i < self.last_answer else forms

    def _prints_more(self, i: int) -> bool:
        """Whether the template prints something of the message besides its content, such as tool calls."""
        message = self.messages[i]
        if message.keys() <= {"role", "content", "name"}:
            return False
        bare = [*self.messages[:i], _message(message["role"], message["content"]), *self.messages[i + 1 :]]
        return self._attempt(bare) != self.text

    def _generated(self, i: int) -> tuple[int, int] | None:
        """From the end of the generation prompt to the end of the turn."""
        before = self._attempt(self.messages[:i], generation_prompt=True)
        if before is None or not self.text.startswith(before):
            return None
        start = len(before)
        if self.template.turn_end is not None:
            stop = self.text.find(self.template.turn_end, start)
            end = stop + len(self.template.turn_end)
        else:
            whole = self._attempt(self.messages[: i + 1])
            if whole is None or not self.text.startswith(whole):
                return None
            stop = end = len(whole.rstrip())
        if stop < start or not self._ends_before_next(i, end):
            return None
        # The last word of a content must be there: a template that changes it is not understood.
        last = (WORD.findall(self.messages[i]["content"]) or [""])[-1]
        return (start, end) if last in self.text[start:stop] or self._prints_more(i) else None

    def _attempt(self, messages: list[Message], generation_prompt: bool = False) -> str | None:
        return self.template.attempt(messages, self.thinking, generation_prompt, self.document.tools)

    def _ends_before_next(self, i: int, end: int) -> bool:
        """Some templates print a tool's answer inside the turn that called it; that is not the model's."""
        if i + 1 == len(self.messages):
            return True
        following = self._content(i + 1)
        # A following assistant that is not found has its own start checked against this end.
        return self.messages[i + 1]["role"] == "assistant" if following is None else end <= following[0]


_FAILURES = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
