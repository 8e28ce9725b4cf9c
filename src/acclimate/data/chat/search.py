"""Messages are found again in the rendering of a chat, and compared with what the row says.

Two ways; a chat that neither explains is refused, never guessed at:

1. Render once with the contents and once with unique marks in their place; the literal pieces between
   the marks, filled with the contents, must rebuild the rendering (one mark at a time if not all at once).
2. For assistant messages that the template takes apart (``<think>`` blocks, tool calls): what was
   generated starts where the rendering of the messages before it, with the generation prompt, ends,
   and stops at the end of the turn, which must come before the next message. Reasoning, answer, names and
   arguments of the row must all stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from acclimate.data.chat.label_notes import Kind
from acclimate.data.chat.said import CALLS, REASONING, Message, calls, consumed, pieces, reasoning_keys, thoughts
from acclimate.data.chat.turns import Turns
from acclimate.data.read.records import Document
from acclimate.types.errors import DataError

TAGS = re.compile(r"\s*((<[^<>]*>|\[[^\[\]]*\])\s*)*")
"""What a generation prompt may open behind its header."""
EMPTY_BLOCK = re.compile(
    r"\s*([<\[][^<>\[\]/]*think[^<>\[\]]*[>\]])?\s*[<\[][^<>\[\]]*(/|end_)[^<>\[\]]*think[^<>\[\]]*[>\]]\s*",
    re.IGNORECASE,
)
"""Reasoning that a template prints though the row has none."""
Render = Callable[[list[Message], bool], str | None]


class Search:
    """Finds the messages of one chat in its rendering.

    Args:
        render: messages, and whether the generation prompt follows, to text; None where the template refuses.
        turns: what ends a turn.
        document: the chat.
        messages: as the template is given them.
        text: their rendering.
    """

    def __init__(self, render: Render, turns: Turns, document: Document, messages: list[Message], text: str) -> None:
        self.render, self.turns, self.document, self.messages, self.text = render, turns, document, messages, text
        self.notes: list[tuple[Kind, str]] = []
        self.marks = {i: f"acclimate-{document.fingerprint[:16]}-{i}-mark" for i in range(len(messages))}
        self.last_answer = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
        whole = {i for i, m in enumerate(messages) if m["content"].strip() and "</think>" not in m["content"]}
        self.together = self._contents({i: self.marks[i] for i in whole})

    def message(self, i: int) -> tuple[int, int] | None:
        """Characters that the model would have to produce of message ``i``; None where it is context only.

        Raises:
            DataError: they are not found, or something that the row says is not among them.
        """
        message = self.messages[i]
        if message["role"] != "assistant":
            if (content := self._content(i)) is None:
                raise self.not_found(i)
            return content
        if not message["content"].strip() and not calls(message):
            self.notes.append(("empty", ""))
            return None
        found, missing = self._answer(i)
        if missing is None and found is not None and (missing := self._lost(i, self.turns.source)) is None:
            return self._generated_of(found)
        lacking = missing == "reasoning" or any(reason not in self.text for reason in _reasons(message))
        if i < self.last_answer and lacking and not self._never_reasons(i):
            self.notes.append(("cut", ""))
            return None
        named = {"reasoning": reasoning_keys(message), "tool call": calls(message), "content": calls(message)}
        raise self._unread(i, missing) if missing is not None and named[missing] else self.not_found(i)

    def not_found(self, i: int) -> DataError:
        role = self.messages[i]["role"]
        return DataError(
            f"{self.document.where}: message {i + 1} ({role}) is not found in what the model's chat "
            "template makes of this chat, so it is unknown which tokens to learn. If it holds reasoning or tool calls, "
            "another setting of thinking may fit; otherwise give the row as 'prompt' and 'completion' strings, "
            "already rendered."
        )

    def note_unread(self, wanted: Collection[int]) -> None:
        """Notes the keys that the template never reads, and the contents of context that it leaves out."""
        keys = {
            (key, m["role"])
            for m in self.messages
            for key, value in m.items()
            if _filled(value) and not (key in ("role", "content") or (m["role"] == "assistant" and _said(key, value)))
        }
        for key, role in sorted(keys):
            if self.render([_without(m, key) if m["role"] == role else m for m in self.messages], False) == self.text:
                self.notes.append(("unread", f"'{key}' of {role} messages"))
        for i, message in enumerate(self.messages):
            if i in wanted:
                continue
            if message["role"] == "assistant" and (calls(message) or reasoning_keys(message) or thoughts(message)[0]):
                if (missing := consumed(self.text, message)[2] or self._lost(i)) is not None:
                    self.notes.append(("unread", f"the {missing} of assistant messages that are context"))
            elif message["content"].strip() and not self._printed_anywhere(i):
                self.notes.append(("unread", f"the content of {message['role']} messages"))

    def _printed_anywhere(self, i: int) -> bool:
        return self._content(i) is not None or self.messages[i]["content"].strip() in self.text

    def _answer(self, i: int) -> tuple[tuple[int, int] | None, str | None]:
        """Characters of an assistant's turn, and what of the message is missing in them."""
        message = self.messages[i]
        content = self._content(i)
        if content is not None:
            end = self.turns.after(self.text, content[1])
            plain = not calls(message) and not reasoning_keys(message)
            if (plain and end > content[1]) or not self._prints_more(i):
                said_more = "reasoning" if reasoning_keys(message) else "tool call"
                return (content[0], end), None if plain else said_more
        return self._generated(i)

    def _lost(self, i: int, among: str | None = None) -> str | None:
        """What of a message leaves the rendering as it is when it is taken out, though its words stand there.

        Args:
            among: the template: only words that it has of its own are doubted; None doubts all.
        """
        message = self.messages[i]
        if not calls(message) and not reasoning_keys(message):
            return None  # a plain answer is found by its place
        keys = {"reasoning": REASONING, "tool call": CALLS, "content": ("content",)}
        doubted = {p.kind: None for p in pieces(message) if among is None or any(form in among for form in p.forms)}
        for kind in doubted:
            less = {k: v for k, v in message.items() if k not in keys[kind]} | (
                {"content": ""} if kind == "content" else {}
            )
            if less != message and self.render([*self.messages[:i], less, *self.messages[i + 1 :]], False) == self.text:
                return kind
        return None

    def _never_reasons(self, i: int) -> bool:
        """Whether the template would not even print the message's key of reasoning if it were the last."""
        whole = self.render(self.messages[: i + 1], False) or ""
        return any(self.messages[i][key].strip() not in whole for key in reasoning_keys(self.messages[i]))

    def _unread(self, i: int, missing: str) -> DataError:
        keys = {"reasoning": reasoning_keys(self.messages[i]), "tool call": [k for k in CALLS if k in self.messages[i]]}
        held = " and ".join(f"'{key}'" for key in keys.get(missing, [])) or "'content'"
        remedy = {
            "reasoning": "a model that thinks, or another setting of thinking: the model would unlearn to think",
            "tool call": "a model whose template prints tool calls, or leave such rows out",
        }.get(missing, "another model, or give the row as 'prompt' and 'completion' strings, already rendered")
        said = "reasoning" if missing == "reasoning" else f"a {missing}"
        return DataError(
            f"{self.document.where}: message {i + 1} (assistant) has {said} ({held}) that the model's chat "
            f"template does not print, or not as the row has it, so it would not be learned; take {remedy}."
        )  # fmt: skip

    def _generated_of(self, found: tuple[int, int]) -> tuple[int, int]:
        """An answer less what the generation prompt has already opened; an answer that lacks it is noted."""
        opened, (start, end) = self.turns.opened, found
        if not opened:
            return found
        if opened.strip() not in self.text[max(0, start - 2 * len(opened)) : end]:
            self.notes.append(("closed" if _closed(opened) else "opened", repr(opened.strip())))
        return (start + len(opened), end) if self.text.startswith(opened, start) else found

    def _content(self, i: int) -> tuple[int, int] | None:
        return self.together.get(i) or self._contents({i: self.marks[i]}).get(i)

    def _contents(self, marks: Mapping[int, str]) -> dict[int, tuple[int, int]]:
        """Characters of each marked message's content; empty when literal pieces and contents do not rebuild text."""
        text = self.text
        marked = self.render(
            [m | {"content": marks[i]} if i in marks else m for i, m in enumerate(self.messages)], False
        )
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
        """Forms in which templates print a content: as it is, or trimmed."""
        content = self.messages[i]["content"]
        return (content, content.strip(), content.lstrip(), content.rstrip())

    def _prints_more(self, i: int) -> bool:
        """Whether the template prints something of the message besides its content, such as tool calls."""
        message = self.messages[i]
        if message.keys() <= {"role", "content", "name"}:
            return False
        bare = {"role": message["role"], "content": message["content"]}
        return self.render([*self.messages[:i], bare, *self.messages[i + 1 :]], False) != self.text

    def _generated(self, i: int) -> tuple[tuple[int, int] | None, str | None]:
        """From the end of the generation prompt to the end of the turn, and what of the message is missing in it."""
        start = self._start(i)
        if start is None:
            return None, None
        last = len(self.text.removesuffix(self.turns.missing[bool(calls(self.messages[i]))]))
        following = self._content(i + 1) if i + 1 < len(self.messages) else (last, 0)
        boundary = len(self.text) if following is None or following[0] < start else following[0]
        said = start + consumed(self.text[start:boundary], self.messages[i])[1]
        for stop, end in self._stops(i, said):
            if stop >= start and self._ends_before_next(i, end):
                return (start, end), consumed(self.text[start:stop], self.messages[i])[2]
        return None, None

    def _start(self, i: int) -> int | None:
        """Where the answer begins: behind the generation prompt, less an empty block of reasoning that the row lacks.

        Templates that print earlier turns otherwise than last ones, or the answer without what the prompt opens,
        print the prompt's header all the same, behind the message before.
        """
        before = self.render(self.messages[:i], True)
        if before is None:
            return None
        start = len(before)
        if not self.text.startswith(before):
            previous = self._content(i - 1) if i else (0, 0)
            if previous is None or (i and previous[0] == previous[1]):
                return None
            header = before.rpartition(self.text[slice(*previous)])[2] if i else before
            printed = self.turns.common(header, self.text[previous[1] :])
            opened = header[len(printed) :]
            if not printed or not (TAGS.fullmatch(opened) or opened == self.turns.opened):
                return None
            if _closed(opened) and _reasons(self.messages[i]):
                return None  # a prompt that closes a block of reasoning asks for none
            start = previous[1] + len(printed)
        block = EMPTY_BLOCK.match(self.text, start)
        own = reasoning_keys(self.messages[i]) or "</think>" in self.messages[i]["content"]
        return start if block is None or own else block.end()

    def _stops(self, i: int, said: int) -> list[tuple[int, int]]:
        """Where the turn may stop that has said all at ``said``, each with the end of what ends it."""
        ends = [(self.text.find(end, said), len(end)) for end in (*self.turns.ends, *self.turns.missing) if end]
        found = [(at, at + length) for at, length in sorted(ends, key=lambda e: (e[0], -e[1])) if at >= 0][:1]
        if not self.turns.ends[0]:  # GLM: the token that begins the next turn is what ends this one
            special = [(at, at + len(s)) for s in self.turns.special if (at := self.text.find(s, said)) >= 0]
            found += sorted(special, key=lambda place: (place[0], -place[1]))[:1]
        whole = self.render(self.messages[: i + 1], False)
        said_so_far = (whole or "").rstrip().removesuffix(self.turns.surplus).rstrip()
        if whole is not None and self.text.startswith(said_so_far):
            found.append((len(said_so_far), len(said_so_far)))
        return found

    def _ends_before_next(self, i: int, end: int) -> bool:
        """Some templates print a tool's answer inside the turn that called it; that is not the model's."""
        if i + 1 == len(self.messages):
            return True
        following = self._content(i + 1)
        # A following assistant that is not found has its own start checked against this end.
        return self.messages[i + 1]["role"] == "assistant" if following is None else end <= following[0]


def _closed(opened: str) -> bool:
    """Whether a generation prompt that ends so has left a block of reasoning behind, by its tags."""
    return "</" in opened or len(re.findall("<[^<>]*>", opened)) > 1


def _reasons(message: Message) -> list[str]:
    """Every text of reasoning that the message holds."""
    inside = thoughts(message)[0]
    return [*(message[key].strip() for key in reasoning_keys(message)), *([inside] if inside else [])]


def _said(key: str, value: Any) -> bool:
    """Whether a key of an assistant's message is looked for in its turn: reasoning in pieces of other kinds is not."""
    return key in CALLS or (key in REASONING and isinstance(value, str))


def _without(message: Message, key: str) -> Message:
    return {name: value for name, value in message.items() if name != key}


def _filled(value: Any) -> bool:
    return value not in (None, "", [], {})
