"""Values of a record: strings that hold text, JSON that a template can print, and the sentences about others."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import islice
from typing import Any

from acclimate.types.errors import DataError

MAX_DEPTH = 100
"""Of what a message carries beside role and content: templates and digests walk it recursively."""


class BadRow(DataError):
    """A row that is no document, in a source that can otherwise be read. ``reason`` is what it is counted under."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def shown_names(names: Collection[str]) -> str:
    """A file without a header may have a page of text for a name."""
    quoted = [f"'{name[:40]}{'...' if len(name) > 40 else ''}'" for name in islice(names, 20)]
    return ", ".join(quoted) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def string(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{where}: {name} must be a string, not {kind(value)}.")
    if "\0" in value:
        raise BadRow("NUL byte", f"{where}: {name} holds a NUL character (U+0000), which no text has.")
    return value


def check_json(value: Any, name: str, where: str, depth: int = 1) -> None:
    """Refuses what a chat template could not print as JSON: columns can hold dates, bytes, decimals."""
    if depth > MAX_DEPTH:
        raise BadRow("nested too deeply", f"{where}: {name} is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            check_json(inner, name, where, depth + 1)
    elif not isinstance(value, str | int | float | type(None)):
        raise BadRow("wrong type", f"{where}: {name} holds {kind(value)}, which is no JSON value.")


def refuse_half_surrogates(record: Any, where: str) -> None:
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


def is_empty(value: Any) -> bool:
    """Whether there is nothing in it that could be read."""
    return value in (None, [], {}) or (isinstance(value, str) and not value.strip())


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    names |= {int: "a number", float: "a number"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
