"""What Ollama has to know about a GGUF file: the turns of its chats, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

Message = dict[str, str]

ROLES = ("system", "user", "assistant")
MARK = "\ue000"
"""What a message says, to find its place by; a private character, which no template writes or strips."""
CHATS = (("user",), ("system", "user"), ("user", "assistant", "user"), ("system", "user", "assistant", "user"))
"""Shapes of chats on which a template is tried."""


def modelfile(file: str, tokenizer: Any, ends: Sequence[str]) -> tuple[str, str]:
    """The Modelfile of a GGUF file, and a sentence about what it cannot say, or "".

    Ollama's templates are of a kind of its own. One is written where every chat is its turns one after the other, each
    with what its role puts before and behind it; that is tried on chats of several shapes.

    Args:
        file: name of the GGUF file, beside which the Modelfile stands.
        ends: tokens that end an answer.
    """
    lines, note = [f"FROM ./{file}"], ""
    if tokenizer.chat_template is None:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    elif (turns := _turns(tokenizer)) is not None:
        head, sides, default, asked = turns
        lines.append(f'TEMPLATE """{head}{_go(sides, asked)}"""')
        lines += [f'SYSTEM """{default}"""'] if default else []
    else:
        note = (
            "this chat template is more than turn after turn, so the Modelfile has none: Ollama looks whether it knows "
            "the one in the GGUF file. llama.cpp and vLLM run the template itself."
        )
    lines += [f'PARAMETER stop "{end}"' for end in dict.fromkeys(ends)]
    return "\n".join(lines) + "\n", note


Sides = Mapping[str, tuple[str, str]]
"""By role: what stands before and behind what a message says."""


def _turns(tokenizer: Any) -> tuple[str, Sides, str, str] | None:
    """What a chat begins with, what each role writes around its message, the system message of a chat without one, and
    what asks for an answer; None where chats are not made so."""
    first = str(tokenizer.bos_token or "")
    try:
        found = _turns_after(tokenizer, "") or _turns_after(tokenizer, first)
    except Exception:  # a template may refuse a chat with any error, and then refuses to have these turns
        return None
    if found is None:
        return None
    adds = tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]  # llama.cpp then puts it there by itself
    return ("" if adds else found[0]), *found[1:]


def _turns_after(tokenizer: Any, head: str) -> tuple[str, Sides, str, str] | None:
    """The same of chats that begin with ``head``."""

    def written(roles: Sequence[str], ask: bool = True) -> str:
        chat: list[Message] = [{"role": role, "content": MARK} for role in roles]
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=ask)).removeprefix(head)

    plain, asked = written(("user",)), written(("user",)).removeprefix(written(("user",), ask=False))
    for sides in _sides(written):
        default = plain.removesuffix(_said(sides, ("user",)) + asked)
        before, behind = sides["system"]
        own = default.removeprefix(before).removesuffix(behind) if default else ""
        if default != (f"{before}{own}{behind}" if default else "") or (default and not own):
            continue
        chats = {roles: ("" if roles[0] == "system" else default) + _said(sides, roles) + asked for roles in CHATS}
        if all(written(roles) == text for roles, text in chats.items()):
            return head, sides, own, asked
    return None


def _sides(written: Callable[..., str]) -> Iterator[Sides]:
    """Found by what a further turn adds to a chat. Where the end of one turn meets the beginning of the next there are
    several ways to part them."""
    short, long = written(("system", "user"), ask=False), written((*ROLES[:2], "assistant", "user"), ask=False)
    parts, added = short.split(MARK), long.removeprefix(short).split(MARK)
    if len(parts) != 3 or len(added) != 3 or parts[2] != added[2]:
        return
    behind, between = added[2], (parts[1], added[1])  # both end as a user's turn begins
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(*map(reversed, between), strict=False))
    common = "".join(letter for letter, _ in alike)[::-1]
    for begins in (written(("user",)).partition(MARK)[0], common.removeprefix(behind), common):
        if all(text.endswith(begins) for text in between):
            ends = [text.removesuffix(begins) for text in between]
            yield {"system": (parts[0], ends[0]), "user": (begins, behind), "assistant": (added[0], ends[1])}


def _said(sides: Sides, roles: Sequence[str]) -> str:
    return "".join(f"{sides[role][0]}{MARK}{sides[role][1]}" for role in roles)


def _go(sides: Sides, asked: str) -> str:
    """
    >>> _go({"system": ("S:", "|"), "user": ("U:", "|"), "assistant": ("A:", "|")}, "A:")
    '{{ range .Messages }}{{ if eq .Role "system" }}S:{{ .Content }}|{{ else if eq .Role "user" }}U:{{ .Content }}|{{ \
else if eq .Role "assistant" }}A:{{ .Content }}|{{ end }}{{ end }}A:'
    """
    cases = [f'if eq .Role "{role}" }}}}{sides[role][0]}{{{{ .Content }}}}{sides[role][1]}' for role in ROLES]
    return "{{ range .Messages }}{{ " + "{{ else ".join(cases) + "{{ end }}{{ end }}" + asked
