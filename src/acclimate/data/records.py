"""A JSON record becomes a :class:`Document`: the accepted fields, and a sentence for every record that is not one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from acclimate.errors import DataError, listed
from acclimate.schema import TextFormat

FIELDS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
"""Format -> the fields a record of that format has. ``auto`` takes the first format whose fields are all there."""

ACCEPTED = "accepted: 'text', 'messages', or 'prompt' and 'completion'"


@dataclass(frozen=True)
class Part:
    """A message of a chat, a half of a prompt/completion pair, or a whole plain text.

    ``route`` is the message's own route field. ``context`` marks the prompt side of a pair of message
    lists: read but not learned, whatever its role (its own route still wins). ``extra`` are the other
    keys of a message (``tool_calls``, ``name``), handed to the chat template unchanged.
    """

    role: str
    text: str
    route: str | None = None
    context: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Document:
    """One training example. ``where`` is ``path:line`` for a record, ``path`` for a whole file."""

    source: str
    where: str
    parts: tuple[Part, ...]
    templated: bool

    @property
    def text(self) -> str:
        """What a reader would call its text: raw parts as they are, messages one below the other."""
        return ("\n" if self.templated else "").join(part.text for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """sha256 of the contents; the place it was read from has no part in it."""
        parts = [(part.role, part.text, part.route, part.context, part.extra) for part in self.parts]
        return hashlib.sha256(json.dumps([self.templated, parts], sort_keys=True).encode()).hexdigest()


def parse_record(line: str, source: str, where: str, text_format: TextFormat = "auto") -> Document | None:
    """Reads one line of a .jsonl file; None for a record without any text.

    Raises:
        DataError: not JSON, not an object, unknown or missing fields, wrong types; the message names ``where``.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: this is not JSON: {error.msg} (column {error.colno}); "
            "a .jsonl file holds one JSON object a line."
        ) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise DataError(f"{where}: this is not JSON: {error}.") from None
    except RecursionError:
        raise DataError(f"{where}: this JSON is nested too deeply to be read.") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: a record is a JSON object; this line holds {_kind(record)}.")
    if "\\ud" in line.lower():
        _refuse_half_surrogates(record, where)
    kind = _format_of(record, source, where, text_format)
    if kind == "text":
        parts = [Part("text", _string(record["text"], "'text'", where))]
    elif kind == "messages":
        parts = _messages(record["messages"], "'messages'", where)
    else:
        parts, kind = _prompt_completion(record, where)
    learnable = [part for part in parts if not part.context and part.role != "prompt"]
    if not any(part.text.strip() or part.extra for part in learnable):
        return None
    return Document(source, where, tuple(parts), templated=kind == "messages")


def _format_of(record: dict[str, Any], source: str, where: str, text_format: TextFormat) -> str:
    found = "it has " + ", ".join(f"'{name}'" for name in record) if record else "it is empty"
    if text_format != "auto":
        if all(name in record for name in FIELDS[text_format]):
            return text_format
        needed = " and ".join(f"'{name}'" for name in FIELDS[text_format])
        raise DataError(f"{where}: sources.{source}.format is '{text_format}', which needs {needed}; {found}.")
    for kind, names in FIELDS.items():
        if all(name in record for name in names):
            return kind
    raise DataError(f"{where}: this record has no field to learn from: {found}; {ACCEPTED}.")


def _prompt_completion(record: dict[str, Any], where: str) -> tuple[list[Part], str]:
    prompt, completion = record["prompt"], record["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        before = _messages(prompt, "'prompt'", where, context=True)
        return [*before, *_messages(completion, "'completion'", where)], "messages"
    if isinstance(prompt, str) and isinstance(completion, str):
        return [Part("prompt", prompt), Part("completion", completion)], "prompt_completion"
    raise DataError(
        f"{where}: 'prompt' and 'completion' must both be strings or both be lists of messages; "
        f"they are {_kind(prompt)} and {_kind(completion)}."
    )


def _messages(value: Any, name: str, where: str, context: bool = False) -> list[Part]:
    if not isinstance(value, list):
        raise DataError(f"{where}: {name} must be a list of messages, not {_kind(value)}.")
    return [_message(item, f"message {number} of {name}", where, context) for number, item in enumerate(value, 1)]


def _message(item: Any, name: str, where: str, context: bool) -> Part:
    if not isinstance(item, dict):
        raise DataError(f"{where}: {name} must be an object with 'role' and 'content', not {_kind(item)}.")
    rest = dict(item)
    if rest.get("tool_calls") and rest.get("content") is None:
        rest["content"] = ""  # a message that only calls tools
    missing = [f"'{key}'" for key in ("role", "content") if key not in rest]
    if missing:
        found = ", ".join(f"'{key}'" for key in item) or "nothing"
        raise DataError(f"{where}: {name} has no {listed(missing)}; it has {found}.")
    role = _string(rest.pop("role"), f"'role' in {name}", where)
    text = _string(rest.pop("content"), f"'content' in {name}", where)
    route = rest.pop("route", None)
    if route is not None:
        route = _string(route, f"'route' in {name}", where)
    return Part(role, text, route, context, rest)


def _string(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} must be a string, not {_kind(value)}.")
    return value


def _refuse_half_surrogates(record: dict[str, Any], where: str) -> None:
    # JSON can escape half of a surrogate pair; Python keeps it, but it is no character and no tokenizer takes it.
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: the escape {half} is half of a surrogate pair, so it is no character.") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
