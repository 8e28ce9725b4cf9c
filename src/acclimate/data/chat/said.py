"""What an assistant's message says, piece by piece: reasoning, answer, tool calls with their arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Message = dict[str, Any]
REASONING = ("reasoning_content", "reasoning", "thinking", "thoughts")
"""Keys in which data sets keep what was thought before the answer."""
CALLS = ("tool_calls", "function_call")


class Piece(NamedTuple):
    """One of the texts that must be learned with a message."""

    kind: str  # content, reasoning, tool call
    forms: tuple[str, ...]  # spellings, any of which will do
    word: bool = False  # whether it is looked for as a whole word


def thoughts(message: Message) -> tuple[str, str]:
    """Reasoning inside the content, ``<think>...</think>``, and what follows it; without blanks around."""
    before, found, answer = message["content"].rpartition("</think>")
    return (before.rpartition("<think>")[2].strip() if found else "", answer.strip())


def reasoning_keys(message: Message) -> list[str]:
    """Keys of the message that hold reasoning."""
    return [key for key in REASONING if isinstance(message.get(key), str) and message[key].strip()]


def calls(message: Message) -> list[Any]:
    """The tool calls of a message, as they are."""
    several = message.get("tool_calls")
    single = message.get("function_call")
    return [*(several if isinstance(several, list) else [several] if several else []), *([single] if single else [])]


def pieces(message: Message) -> Iterator[Piece]:
    """All that the message says."""
    inside, answer = thoughts(message)
    yield from (Piece("reasoning", (message[key].strip(),)) for key in reasoning_keys(message))
    if inside:
        yield Piece("reasoning", (inside,))
    if answer:
        yield Piece("content", (answer,))
    for call in calls(message):
        inner = _function(call)
        if not isinstance(inner, dict):
            yield from _leaves(inner)
            continue
        yield from _leaves(inner.get("name"))
        given = inner.get("arguments", inner.get("parameters"))
        yield from _leaves(given if (parsed := _parsed(given)) is None else parsed)


def consumed(text: str, message: Message) -> tuple[str, int, str | None]:
    """Takes the pieces of a message out of ``text``, the longest first, each at a place of its own.

    Returns:
        What is left, the position after the last piece, and the kind of the first piece that is not there.
    """
    left, furthest, missing = text, 0, None
    for piece in sorted(pieces(message), key=lambda piece: -len(piece.forms[0])):
        for form in piece.forms:
            at = _find(left, form, piece.word)
            if at >= 0:
                left = left[:at] + "\0" * len(form) + left[at + len(form) :]
                furthest = max(furthest, at + len(form))
                break
        else:
            missing = missing or piece.kind
    return left.replace("\0", ""), furthest, missing


def with_arguments(messages: Sequence[Message], as_text: bool) -> list[Message]:
    """The messages with the arguments of every call as an object, or as JSON: data sets have both, templates want one.

    >>> call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
    >>> with_arguments([{"role": "assistant", "tool_calls": [call]}], as_text=False)[0]["tool_calls"]
    [{'function': {'name': 'add', 'arguments': {'a': 1}}}]
    """

    def converted(call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        if isinstance(call.get("function"), dict):
            return call | {"function": converted(call["function"])}
        if (parsed := _parsed(call.get("arguments"))) is None:
            return call
        given = call["arguments"]
        if as_text:
            return call | {"arguments": given if _filled(given) else json.dumps(parsed, ensure_ascii=False)}
        return call | {"arguments": parsed}

    result = []
    for message in messages:
        changed = dict(message)
        if isinstance(message.get("tool_calls"), list):
            changed["tool_calls"] = [converted(call) for call in message["tool_calls"]]
        if isinstance(message.get("function_call"), dict):
            changed["function_call"] = converted(message["function_call"])
        result.append(changed)
    return result


def misprinted(text: str, messages: Sequence[Message]) -> int | None:
    """The first message whose arguments stand in ``text`` as Python writes them, or as a string with escapes."""
    for i, message in enumerate(messages):
        for call in calls(message):
            inner = _function(call)
            given = inner.get("arguments") if isinstance(inner, dict) else None
            wrong = {w for w in _misprints(given) if w in text}
            if any(not any(w in other["content"] for other in messages) for w in wrong):
                return i
    return None


def _misprints(given: Any) -> Iterator[str]:
    parsed = _parsed(given)
    if parsed is None:
        texts = [given] if _filled(given) else []
    elif parsed == {}:
        return
    else:
        texts = [*([given] if _filled(given) else []), json.dumps(parsed), json.dumps(parsed, ensure_ascii=False)]
        for value in (parsed, *parsed.values()):
            if isinstance(value, dict | list) and repr(value) != json.dumps(value, ensure_ascii=False):
                yield repr(value)
    for written in texts:
        yield from (json.dumps(written), json.dumps(written, ensure_ascii=False))


def _filled(given: Any) -> bool:
    return isinstance(given, str) and bool(given.strip())


def _parsed(given: Any) -> dict[str, Any] | None:
    """Arguments as an object; None for what is none. Nothing at all is no argument."""
    if isinstance(given, dict):
        return given
    if not isinstance(given, str):
        return None
    if not given.strip():
        return {}
    try:
        parsed = json.loads(given)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _function(call: Any) -> Any:
    return call["function"] if isinstance(call, dict) and isinstance(call.get("function"), dict) else call


def _leaves(value: Any) -> Iterator[Piece]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(key)
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        if value.strip():
            escaped = [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)]
            yield Piece("tool call", (*dict.fromkeys([value, *escaped, value.strip()]),), word=True)
    elif value is not None:
        yield Piece("tool call", (*dict.fromkeys([json.dumps(value), str(value)]),), word=True)


def _find(text: str, form: str, word: bool) -> int:
    if not word:
        return text.find(form)
    before = r"(?<!\w)" if re.match(r"\w", form) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", form) else ""
    found = re.search(before + re.escape(form) + after, text)
    return found.start() if found else -1
