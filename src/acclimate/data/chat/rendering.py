"""A chat is rendered by the tokenizer's own template, and every message is found again in the result.

What is learned of an answer is its content, reasoning and tool calls, as the template prints them, and the end of its
turn. What a row carries is either in the rendering, or the row is refused, or a note says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from jinja2 import TemplateError

from acclimate.data.chat.label_notes import Kind
from acclimate.data.chat.said import Message, calls, misprinted, with_arguments
from acclimate.data.chat.search import Search
from acclimate.data.chat.turns import Turns
from acclimate.data.read.chat_template import apply_chat_template
from acclimate.data.read.records import Document
from acclimate.types.errors import ConfigError, DataError

Thinking = Literal["on", "off"]
Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Span:
    """Characters ``[start, end)`` of the rendering that message ``part_index`` would have the model produce."""

    start: int
    end: int
    part_index: int


@dataclass(frozen=True)
class Rendered:
    """A chat as text; ``notes`` are what of the row is not read or not learned."""

    text: str
    spans: tuple[Span, ...]
    notes: tuple[tuple[Kind, str], ...] = ()


def render(
    document: Document, tokenizer: Any, thinking: Thinking | None = None, wanted: Iterable[int] | None = None
) -> Rendered:
    """Renders one chat; see :meth:`ChatTemplate.render`."""
    return ChatTemplate(tokenizer).render(document, thinking, wanted)


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Id -> spelling of every token that is no text: bos, eos, turn marks, and what ends a turn though it is not marked
    as special; ``<think>`` and the like are ordinary text."""
    ends = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in turn_end_ids(tokenizer)}
    return _declared(tokenizer) | ends


def _declared(tokenizer: Any) -> dict[int, str]:
    """What the tokenizer itself calls special."""
    added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


@dataclass(frozen=True)
class TurnEnd:
    """How answers end: the last one of a chat, and those before another message. Both are learned."""

    last: str
    earlier: str
    ids: tuple[int, ...]  # at which generation must stop; see turn_end_ids
    added: bool = False  # whether the last one's is put there, since the template leaves it out


def turn_end(template: ChatTemplate) -> TurnEnd:
    """What ends the answers of a tokenizer that has a chat template."""
    last, earlier = template.turns.ends
    missing = template.turns.missing[0]
    ids: dict[int, None] = {}
    for end in template.turns.stops:
        spelt = [(i, token) for i, token in template.added.items() if end.endswith(token)]
        ids |= {max(spelt, key=lambda found: len(found[1]))[0]: None} if spelt else {}
    return TurnEnd(last or missing, earlier, tuple(ids), added=bool(missing))


def turn_end_ids(tokenizer: Any) -> tuple[int, ...]:
    """Token ids at which generation must stop: the last token of what ends an answer, then of what ends a tool call.

    Empty where the tokenizer has no chat template, the template ends no turn, or ordinary text ends it.
    """
    return () if tokenizer.chat_template is None else turn_end(ChatTemplate(tokenizer)).ids


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
        self.special = list(_declared(tokenizer).values())
        self.added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items()}
        self.added |= _declared(tokenizer)
        self._modes: dict[Thinking | None, Turns] = {}

    @property
    def turns(self) -> Turns:
        """What stands around answers in the template's own mode."""
        return self.turns_of(None)

    def turns_of(self, thinking: Thinking | None) -> Turns:
        """What stands around answers."""
        if thinking not in self._modes:

            def probe(messages: list[Message], generation_prompt: bool) -> str | None:
                found = self.attempt(messages, thinking, generation_prompt)  # some have no form without tools
                return self.attempt(messages, thinking, generation_prompt, SOME_TOOLS) if found is None else found

            tokens, template = list(self.added.values()), str(self.tokenizer.chat_template)
            self._modes[thinking] = Turns(probe, self.special, tokens, self.tokenizer.eos_token, template)
        return self._modes[thinking]

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
            The text, and a span for each wanted part: its content and, for an assistant, the end of the turn
            after it, so that the model learns to stop; where the template leaves that out of the last turn, it is
            added. Answers without text, and earlier answers whose reasoning the template cuts, have none; notes count
            them.

        Raises:
            DataError: no template, the template refuses the chat, a wanted message cannot be found in the result, or
                it says something that the template does not print.
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
        messages, printed = self._rendered(document, thinking)
        text = self._ended(printed, messages, thinking)

        def again(changed: list[Message], generation_prompt: bool) -> str | None:
            found = self.attempt(changed, thinking, generation_prompt, document.tools)
            whole = len(changed) == len(messages) and not generation_prompt
            return self._ended(found, changed, thinking) if whole and found is not None else found

        search = Search(again, self.turns_of(thinking), document, messages, text)
        indices = range(len(messages)) if wanted is None else list(wanted)
        spans = [Span(*found, i) for i in indices if (found := search.message(i)) is not None]
        for one, two in pairwise(sorted(spans, key=lambda span: span.start)):
            if one.end > two.start:
                raise search.not_found(one.part_index)
        if not document.ended and spans:
            spans = [self._cut(text, span, messages, thinking) for span in spans]
        search.note_unread(indices)
        if document.tools and self.attempt(messages, thinking) == printed:
            search.notes.append(("unread", "'tools'"))
        return Rendered(text, tuple(spans), tuple(search.notes))

    def _rendered(self, document: Document, thinking: Thinking | None) -> tuple[list[Message], str]:
        """The messages as the template takes them, and their rendering.

        Arguments of tool calls are given as an object, as published templates want them, else as JSON: what is printed
        must be JSON, neither what Python writes nor a string with escapes.
        """
        given = [{"role": part.role, "content": part.text, **part.extra} for part in document.parts]
        calling = any(calls(message) for message in given)
        failures: list[Exception] = []
        wrong: list[int] = []
        for as_text in (False, True) if calling else (False,):
            messages = with_arguments(given, as_text) if calling else given
            try:
                text = self._text(messages, thinking, tools=document.tools)
            except FAILURES as error:
                failures.append(error)
                continue
            if (at := misprinted(text, given) if calling else None) is None:
                return messages, text
            wrong.append(at)
        if wrong:
            raise DataError(
                f"{document.where}: the arguments of the tool call in message {wrong[0] + 1} would be printed as "
                "Python writes them, or as a string with escapes, not as JSON; give them as a JSON object that the "
                "model's chat template prints, or leave the row out."
            )
        raise DataError(f"{document.where}: the model's chat template refuses this chat: {failures[0]}.") from None

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

    def _ended(self, text: str, messages: Sequence[Message], thinking: Thinking | None) -> str:
        """A rendering with the end of its last turn, where an answer is last and the template leaves its end out."""
        if not messages or messages[-1]["role"] != "assistant":
            return text
        return self.turns_of(thinking).ended(text, calling=bool(calls(messages[-1])))

    def _cut(self, text: str, span: Span, messages: Sequence[Message], thinking: Thinking | None) -> Span:
        """The span of the last message without the end of its turn, which its author did not write."""
        if span.part_index != len(messages) - 1:
            return span
        turns, said = self.turns_of(thinking), text[span.start : span.end]
        ends = sorted((end for end in (*turns.ends, *turns.missing) if end and said.endswith(end)), key=len)
        said = said.removesuffix(ends[-1] if ends else "")
        content = messages[-1]["content"]
        blanks = content[len(content.rstrip()) :]
        kept = said.rstrip() + blanks
        return Span(span.start, span.start + len(kept if said.startswith(kept) else said.rstrip()), span.part_index)

    def attempt(
        self, messages: list[Message], thinking: Thinking | None, generation_prompt: bool = False, tools: Tools = ()
    ) -> str | None:
        """What the template prints, nothing added; None when it refuses: a changed or shortened chat may break rules
        that the whole one keeps."""
        try:
            return self._text(messages, thinking, generation_prompt, tools)
        except FAILURES:
            return None


SOME_TOOLS: Tools = (
    {
        "type": "function",
        "function": {"name": "tool", "description": "", "parameters": {"type": "object", "properties": {}}},
    },
)
FAILURES = (
    TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What templates raise about a chat that they do not take."""
