"""A JSON record becomes a :class:`Document`: the accepted fields, and a sentence for every record that is not one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from acclimate.errors import DataError, listed, reason
from acclimate.source_schema import FIELDS, SourceSection

ACCEPTED = "accepted: 'text', 'messages', or 'prompt' and 'completion'"
OTHER_NAMES = {
    "conversations": "messages", "conversation": "messages", "content": "text", "body": "text", "document": "text",
    "question": "prompt", "instruction": "prompt", "answer": "completion", "response": "completion",
    "output": "completion",
}  # fmt: skip
"""What other data sets call our fields: only for hints."""
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
MAX_DEPTH = 100
"""Of what a message carries beside role and content: templates and digests walk it recursively."""


class BadRow(DataError):
    """A row that is no document, in a source that can otherwise be read. ``reason`` is what it is counted under."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


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
    """One training example. ``where`` is ``path:line`` for a record, ``path`` for a whole file.

    ``tools`` are JSON schemas of what a chat may call, for the chat template.
    """

    source: str
    where: str
    parts: tuple[Part, ...]
    templated: bool
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    @property
    def text(self) -> str:
        """What a reader would call its text: raw parts as they are, messages one below the other."""
        return ("\n" if self.templated else "").join(part.text for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """sha256 of the contents; the place it was read from has no part in it."""
        parts = [(part.role, part.text, part.route, part.context, part.extra) for part in self.parts]
        contents = [self.templated, parts, *([self.tools] if self.tools else [])]
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def parse_json(line: str, where: str) -> dict[str, Any]:
    """Reads one line of a .jsonl file.

    Raises:
        BadRow: not JSON, or not an object.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadRow(
            "not JSON",
            f"{where}: this is not JSON: {error.msg} (column {error.colno}); "
            "a .jsonl file holds one JSON object a line.",
        ) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise BadRow("not JSON", f"{where}: this is not JSON: {reason(error)}.") from None
    except RecursionError:
        raise BadRow("nested too deeply", f"{where}: this JSON is nested too deeply to be read.") from None
    if not isinstance(record, dict):
        raise BadRow("not an object", f"{where}: a record is a JSON object; this line holds {_kind(record)}.")
    if "\\ud" in line.lower():
        _refuse_half_surrogates(record, where)
    return record


class RecordSchema:
    """Which fields of a source's records are read, and how a record becomes a document.

    Args:
        source: the source's name in the configuration.
        section: its section: ``format`` and ``fields``.
    """

    def __init__(self, source: str, section: SourceSection) -> None:
        self.source = source
        self.fields: dict[str, str] = {str(target): name for target, name in (section.fields or {}).items()}
        named = [kind for kind, targets in FIELDS.items() if set(targets) & set(self.fields)]
        self.format: str = named[0] if named else section.format

    def columns(self, names: Collection[str], where: str, what: str = "record") -> dict[str, str]:
        """The fields of the first format that ``names`` have, each with its name there: ``{"text": "body"}``.

        Beside messages there may be ``tools``.

        Raises:
            BadRow: none is complete.
        """
        for kind, targets in FIELDS.items():
            columns = {target: self.fields.get(target, target) for target in targets}
            if self.format in ("auto", kind) and all(name in names for name in columns.values()):
                return columns | ({"tools": "tools"} if kind != "text" and "tools" in names else {})
        found = f"it has {_shown(names)}" if names else "it is empty"
        at = f"{where}: sources.{self.source}"
        if self.fields:
            lacking = next(name for name in self._wanted() if name not in names)
            raise BadRow("missing field", f"{at}.fields needs '{lacking}' in this {what}; {found}.")
        if self.format != "auto":
            needed = " and ".join(f"'{name}'" for name in self._wanted())
            raise BadRow("missing field", f"{at}.format is '{self.format}', which needs {needed}; {found}.")
        raise BadRow(
            "missing field",
            f"{where}: this {what} has no field to learn from: {found}; {ACCEPTED}; other names go into "
            f"sources.{self.source}.fields, like {_likely_fields(names)}.{_hint(names)}",
        )

    def _wanted(self) -> list[str]:
        return [self.fields.get(target, target) for target in FIELDS[self.format]]

    def document(self, record: Mapping[str, Any], where: str) -> Document | None:
        """None for a record without any text.

        Raises:
            BadRow: unknown or missing fields, wrong types; the message names ``where``.
        """
        columns = self.columns(record, where)
        if "text" in columns:
            name = columns["text"]
            parts, templated = [Part("text", _string(record[name], f"'{name}'", where))], False
        elif "messages" in columns:
            name = columns["messages"]
            parts, templated = _messages(record[name], f"'{name}'", where), True
        else:
            parts, templated = _prompt_completion(record, columns["prompt"], columns["completion"], where)
        learnable = [part for part in parts if not part.context and part.role != "prompt"]
        if not any(part.text.strip() or part.extra for part in learnable):
            return None
        tools = _tools(record["tools"], where) if templated and "tools" in columns else ()
        return Document(self.source, where, tuple(parts), templated, tools)


def _shown(names: Collection[str]) -> str:
    """A file without a header may have a page of text for a name."""
    quoted = [f"'{name[:40]}{'...' if len(name) > 40 else ''}'" for name in islice(names, 20)]
    return ", ".join(quoted) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _likely_fields(names: Collection[str]) -> str:
    """What ``fields`` could be for these names: ``{prompt: question, completion: answer}``."""
    meant = {OTHER_NAMES[name]: name for name in names if name in OTHER_NAMES} | {name: name for name in names}
    for targets in FIELDS.values():
        if all(target in meant for target in targets):
            return "{" + ", ".join(f"{target}: {meant[target]}" for target in targets) + "}"
    return "{text: body}"


def _hint(names: Collection[str]) -> str:
    if any(";" in name or "\t" in name for name in names):
        return " Columns are separated by commas in .csv and by tabs in .tsv."
    if "instruction" in names and "input" in names:
        return " 'input' is not read then: join it to the instruction first."
    return ""


def _prompt_completion(
    record: Mapping[str, Any], prompt_name: str, completion_name: str, where: str
) -> tuple[list[Part], bool]:
    prompt, completion = record[prompt_name], record[completion_name]
    if isinstance(prompt, list) and isinstance(completion, list):
        before = _messages(prompt, f"'{prompt_name}'", where, context=True)
        return [*before, *_messages(completion, f"'{completion_name}'", where)], True
    if isinstance(prompt, str) and isinstance(completion, str):
        return [
            Part("prompt", _string(prompt, f"'{prompt_name}'", where)),
            Part("completion", _string(completion, f"'{completion_name}'", where)),
        ], False
    raise BadRow(
        "wrong type",
        f"{where}: '{prompt_name}' and '{completion_name}' must both be strings or both be lists of messages; "
        f"they are {_kind(prompt)} and {_kind(completion)}.",
    )


def _tools(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """A list of JSON schemas, or one written as a string, as tables have it; null and nothing are no tools."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value) if value.strip() else None
            _refuse_half_surrogates({"tools": found}, where)
        except (ValueError, RecursionError):
            found = value
    if found is not None and not (isinstance(found, list) and all(isinstance(tool, dict) for tool in found)):
        raise BadRow(
            "wrong type",
            f"{where}: 'tools' must be a list of objects, JSON schemas of what the chat may call, or the same as a "
            f"string of JSON, not {_kind(value)}.",
        )
    _check_json(found, "'tools'", where)
    return tuple(found or ())


def _messages(value: Any, name: str, where: str, context: bool = False) -> list[Part]:
    if not isinstance(value, list):
        raise BadRow("wrong type", f"{where}: {name} must be a list of messages, not {_kind(value)}.")
    return [_message(item, f"message {number} of {name}", where, context) for number, item in enumerate(value, 1)]


def _message(item: Any, name: str, where: str, context: bool) -> Part:
    """``{"role", "content"}``, or ShareGPT's ``{"from", "value"}``, whose human and gpt are user and assistant."""
    if not isinstance(item, dict):
        raise BadRow("wrong type", f"{where}: {name} must be an object with 'role' and 'content', not {_kind(item)}.")
    rest = dict(item)
    sharegpt = "role" not in rest and "content" not in rest and "from" in rest and "value" in rest
    role_name, text_name = ("from", "value") if sharegpt else ("role", "content")
    if rest.get("tool_calls") and rest.get("content") is None:
        rest["content"] = ""  # a message that only calls tools
    missing = [f"'{key}'" for key in (role_name, text_name) if key not in rest]
    if missing:
        found = _shown(item) or "nothing"
        raise BadRow("missing field", f"{where}: {name} has no {listed(missing)}; it has {found}.")
    role = _string(rest.pop(role_name), f"'{role_name}' in {name}", where)
    text = _string(rest.pop(text_name), f"'{text_name}' in {name}", where)
    route = rest.pop("route", None)
    if route is not None:
        route = _string(route, f"'route' in {name}", where)
    for key, value in rest.items():
        _check_json(value, f"'{key}' in {name}", where)
    return Part(SHAREGPT_ROLES.get(role, role) if sharegpt else role, text, route, context, rest)


def _string(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{where}: {name} must be a string, not {_kind(value)}.")
    if "\0" in value:
        raise BadRow("NUL byte", f"{where}: {name} holds a NUL character (U+0000), which no text has.")
    return value


def _check_json(value: Any, name: str, where: str, depth: int = 1) -> None:
    """Refuses what a chat template could not print as JSON: columns can hold dates, bytes, decimals."""
    if depth > MAX_DEPTH:
        raise BadRow("nested too deeply", f"{where}: {name} is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_json(inner, name, where, depth + 1)
    elif not isinstance(value, str | int | float | type(None)):
        raise BadRow("wrong type", f"{where}: {name} holds {_kind(value)}, which is no JSON value.")


def _refuse_half_surrogates(record: dict[str, Any], where: str) -> None:
    # JSON can escape half of a surrogate pair; Python keeps it, but it is no character and no tokenizer takes it.
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise BadRow(
            "half a surrogate pair", f"{where}: the escape {half} is half of a surrogate pair, so it is no character."
        ) from None
    except RecursionError:
        raise BadRow("nested too deeply", f"{where}: this JSON is nested too deeply to be read.") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    names |= {int: "a number", float: "a number"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
