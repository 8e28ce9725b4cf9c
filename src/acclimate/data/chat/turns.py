"""What a chat template puts around an answer: the end of the turn, and what the generation prompt opens.

Both are found by comparing renderings of small chats, not by a list of names: an end may be a special token, an added
one that is not special, plain text, or stand after a newline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

Render = Callable[[list[dict[str, str]], bool], str | None]
"""Messages, and whether the generation prompt follows -> the rendering, or None where the template refuses."""
QUESTION, ANSWER, NEXT = "acclimate-question", "acclimate-answer", "acclimate-next"


@dataclass(frozen=True)
class Turns:
    """Probes of one template.

    Args:
        render: the template.
        special: spellings of special tokens.
        added: spellings of all tokens that are added to the vocabulary, special or not.
    """

    render: Render
    special: Sequence[str]
    added: Sequence[str]

    @cached_property
    def ends(self) -> tuple[str, str]:
        """What ends the last answer of a chat, and an answer before another message; empty where nothing does.

        An end is what the template prints after an answer whoever speaks next. Where the two have nothing in common
        (gpt-oss: ``<|return|>`` and ``<|end|>``), the next speaker's header is taken off the second.
        """
        question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
        alone = self.render([question, answer], False) or ""
        followed = self.render([question, answer, {"role": "user", "content": NEXT}], False) or ""
        tail = alone.partition(ANSWER)[2]
        between, found, _ = followed.partition(ANSWER)[2].partition(NEXT)
        between = between if found else ""
        shared = _common(self._atoms(tail), self._atoms(between))
        end = shared.rstrip()
        whole = end == tail.rstrip() or shared != end or self._atoms(end)[-1:] in [[token] for token in self.added]
        if end and whole:
            return end, end
        last = self._leading_tokens(tail) if between else tail.rstrip()
        return last, self._without_header(between, followed.partition(QUESTION)[0])

    def after(self, text: str, at: int) -> int:
        """Position after the end of an answer that ends at ``at``; some templates put one blank before it."""
        for end in sorted(filter(None, self.ends), key=len, reverse=True):
            if text.startswith(end, at):
                return at + len(end)
        start = at + 1 if text.startswith(" ", at) else at
        longest_first = sorted(self.special, key=len, reverse=True)  # <|end|> must not hide <|end|>x
        return next((start + len(token) for token in longest_first if text.startswith(token, start)), at)

    def common(self, one: str, other: str) -> str:
        """What both texts begin with, no token in halves."""
        return _common(self._atoms(one), self._atoms(other[: len(one)]))

    @cached_property
    def opened(self) -> str:
        """What the generation prompt ends with and a plain answer is not printed after, such as ``<think>``."""
        question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
        prompt, trained = self.render([question], True), self.render([question, answer], False)
        head, found, _ = (trained or "").partition(ANSWER)
        if prompt is None or not found:
            return ""
        opened = prompt[len(_common(self._atoms(prompt), self._atoms(head))) :]
        return opened if opened.strip() else ""

    def _without_header(self, between: str, opening: str) -> str:
        """``between`` two contents less the header of the second, which begins as the generation prompt does or is
        what the first user's content has before it."""
        question = [{"role": "user", "content": QUESTION}]
        prompt, bare = self.render(question, True) or "", self.render(question, False) or ""
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
