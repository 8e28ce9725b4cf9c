"""What a chat template puts around an answer: the end of the turn, and what the generation prompt opens.

Both are found by comparing renderings of small chats, not by a list of names: an end may be a special token, an added
one that is not special, plain text, or stand after a newline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Render = Callable[[list[dict[str, Any]], bool], str | None]
"""Messages, and whether the generation prompt follows -> the rendering, or None where the template refuses."""
QUESTION, ANSWER, NEXT = "acclimate-question", "acclimate-answer", "acclimate-next"
CALL_ID = "acclimate"  # Mistral's templates want nine letters


@dataclass(frozen=True)
class Turns:
    """Probes of one template.

    Args:
        render: the template.
        special: spellings of special tokens.
        added: spellings of all tokens that are added to the vocabulary, special or not.
        eos: the tokenizer's, which ends what the template never does.
        source: the template as it is written.
    """

    render: Render
    special: Sequence[str]
    added: Sequence[str]
    eos: str | None = None
    source: str = ""

    @cached_property
    def ends(self) -> tuple[str, str]:
        """What the template puts behind the last answer of a chat, and behind one before another message.

        An end is what the template prints after an answer whoever speaks next. Where the last answer ends otherwise
        (gpt-oss: ``<|return|>``, not ``<|end|>``), generation stops there and nowhere else, so earlier answers have
        none. Where it has none (GLM, Apertus), the next speaker's header is taken off what follows earlier ones.
        """
        tail, between, opening = self._answered or ("", "", "")
        shared = _common(self._atoms(tail), self._atoms(between))
        end = self._without_opener(shared.rstrip(), opening)
        whole = end == tail.rstrip() or shared != end or self._atoms(end)[-1:] in [[token] for token in self.added]
        if end and whole:
            return end, end
        last = self._leading_tokens(tail) if between else tail.rstrip()
        return (last, "") if last else ("", self._without_header(between, opening))

    @cached_property
    def missing(self) -> tuple[str, str]:
        """What has to be put behind the last message of a chat, an answer or a tool call, so that its turn ends.

        It is what ends the same message where another follows (GLM: ``<|user|>`` and ``<|observation|>``), else eos.
        """
        last, earlier = self.ends
        if last or self._answered is None:
            return "", ""
        answer = earlier or self.eos or ""
        called, between = self._called or ("", "")
        called = called.rstrip()
        if not called:
            return answer, answer
        behind = between.removeprefix(called) if between.startswith(called) else ""
        begun = next((behind[: behind.index(t)] + t for t in self.special if behind.lstrip().startswith(t)), "")
        return answer, begun or ("" if called.endswith(tuple(self.special)) else answer)

    def ended(self, text: str, calling: bool) -> str:
        """A chat whose last message is an assistant's, with the end that the template leaves out."""
        missing = self.missing[calling]
        if not missing or text.endswith(missing):
            return text
        tail = (self._called if calling else self._answered) or ("",)  # the blanks at its end are the template's
        return text.removesuffix(tail[0][len(tail[0].rstrip()) :]) + missing

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """What generation must stop at: the end of an answer, and that of a call where it is a special token."""
        called = self._called[0].rstrip().removesuffix(self.surplus).rstrip() if self._called else ""
        called += self.missing[1]
        calls = sorted((token for token in self.special if called.endswith(token)), key=len)[-1:]
        return tuple(dict.fromkeys(end for end in (self.ends[0] or self.missing[0], *calls) if end))

    @cached_property
    def surplus(self) -> str:
        """What stands behind the last turn and is not of it: Phi 3's eos, the next header of Command R7B's tool use."""
        tail = self._answered[0] if self._answered else ""
        return tail.removeprefix(self.ends[0]).strip() if self.ends[0] and tail.startswith(self.ends[0]) else ""

    @cached_property
    def _answered(self) -> tuple[str, str, str] | None:
        """What follows the last answer, what stands between an answer and the next question, and what opens a chat;
        None where the template refuses a question and its answer."""
        question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
        alone = self.render([question, answer], False) or ""
        followed = self.render([question, answer, {"role": "user", "content": NEXT}], False) or ""
        if ANSWER not in alone:
            return None
        between, found, _ = followed.partition(ANSWER)[2].partition(NEXT)
        return alone.partition(ANSWER)[2], between if found else "", alone.partition(QUESTION)[0]

    @cached_property
    def _prompt(self) -> tuple[str, str]:
        """A question with the generation prompt, and without."""
        question = [{"role": "user", "content": QUESTION}]
        return self.render(question, True) or "", self.render(question, False) or ""

    @cached_property
    def _called(self) -> tuple[str, str] | None:
        """What follows the last argument of a call that ends a chat, and of one before its result; None where the
        template prints no calls."""
        question = {"role": "user", "content": QUESTION}
        result = {"role": "tool", "name": QUESTION, "tool_call_id": CALL_ID, "content": NEXT}
        for given in ({"a": ANSWER}, json.dumps({"a": ANSWER})):
            function = {"name": QUESTION, "arguments": given}
            call = {"id": CALL_ID, "type": "function", "function": function}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            alone = self.render([question, message], False) or ""
            if ANSWER in alone:
                followed = self.render([question, message, result], False) or ""
                return alone.rpartition(ANSWER)[2], followed.rpartition(ANSWER)[2].partition(NEXT)[0]
        return None

    def after(self, text: str, at: int) -> int:
        """Position after the end of an answer that ends at ``at``; some templates put one blank before it."""
        for end in sorted(filter(None, (*self.ends, self.missing[0])), key=len, reverse=True):
            if text.startswith(end, at):
                return at + len(end)
        if self.ends[0] and not self.ends[1]:
            return at  # what follows is not generated
        start = at + 1 if text.startswith(" ", at) else at
        longest_first = sorted(self.special, key=len, reverse=True)  # <|end|> must not hide <|end|>x
        return next((start + len(token) for token in longest_first if text.startswith(token, start)), at)

    def common(self, one: str, other: str) -> str:
        """What both texts begin with, no token and no tag in halves."""
        return re.sub(r"<[^<>\s]*\Z", "", _common(self._atoms(one), self._atoms(other[: len(one)])))

    @cached_property
    def opened(self) -> str:
        """What the generation prompt ends with and a plain answer is not printed after, such as ``<think>``."""
        question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
        prompt, trained = self._prompt[0], self.render([question, answer], False)
        head, found, _ = (trained or "").partition(ANSWER)
        if not prompt or not found:
            return ""
        opened = prompt[len(_common(self._atoms(prompt), self._atoms(head))) :]
        return opened if opened.strip() else ""

    def _without_header(self, between: str, opening: str) -> str:
        """``between`` two contents less the header of the second, which begins as the generation prompt does or is
        what the first user's content has before it."""
        prompt, bare = self._prompt
        header = self._atoms(prompt[len(bare) :] if prompt.startswith(bare) else "")
        if header and header[0] in self.added and header[0] in between:
            end = between.partition(header[0])[0]
        else:
            backwards = self._atoms(between)[::-1], self._atoms(opening)[::-1]
            end = between[: len(between) - len(_common(*backwards))]
        if end.strip():
            return end.rstrip()
        # GLM: nothing ends the turn but the token that begins the next one.
        started = between.lstrip()
        return next(
            (between[: between.index(token) + len(token)] for token in self.special if started.startswith(token)), ""
        )

    def _without_opener(self, end: str, opening: str) -> str:
        """An end less the token that opens any turn, where the template prints the next header though nobody asks
        (Command R7B's tool use): of the end's tokens the one that a chat has first."""
        tokens = [atom for atom in self._atoms(end) if atom in self.added]
        if len(tokens) < 2 or self._prompt[0] != self._prompt[1] or not end.endswith(tokens[-1]):
            return end
        first = min(filter(opening.__contains__, tokens), key=opening.index, default="")
        return end.removesuffix(first).rstrip() if first == tokens[-1] else end

    def _leading_tokens(self, text: str) -> str:
        taken = ""
        for atom in self._atoms(text):
            if not atom.isspace() and atom not in self.added:
                break
            taken += atom
        return taken.rstrip()

    def _atoms(self, text: str) -> list[str]:
        """Added tokens whole, all else as characters."""
        tokens = [re.escape(token) for token in sorted(self.added, key=len, reverse=True)]
        return re.findall("|".join([*tokens, "."]), text, re.DOTALL)


def _common(one: Sequence[str], other: Sequence[str]) -> str:
    """The longest sequence that both begin with, joined."""
    count = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return "".join(one[:count])
