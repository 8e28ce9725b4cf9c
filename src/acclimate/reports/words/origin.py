"""Provenance as tables: what all run folders share once, what differs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.reports.words.number import clip

VALUE_LIMIT = 300


@dataclass(frozen=True)
class Origin:
    """Dotted key -> value, and dotted key -> value of each folder in the order of ``folders``."""

    folders: tuple[str, ...]
    shared: Mapping[str, str]
    differing: Mapping[str, tuple[str, ...]]


def origin(provenances: Mapping[str, Mapping[str, Any]]) -> Origin:
    """Splits provenance into what is the same everywhere and what is not."""
    flat = {folder: dict(flatten(provenance)) for folder, provenance in provenances.items()}
    keys = dict.fromkeys(key for entries in flat.values() for key in entries)
    rows = {key: tuple(entries.get(key, "–") for entries in flat.values()) for key in keys}
    shared = {key: values[0] for key, values in rows.items() if len(set(values)) == 1}
    return Origin(tuple(flat), shared, {key: values for key, values in rows.items() if key not in shared})


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of nested JSON.

    >>> list(flatten({"versions": {"torch": "2.13"}, "gpus": ["a", "b"], "commit": None}))
    [('versions.torch', '2.13'), ('gpus', 'a, b'), ('commit', '–')]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif (
        isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value)
    ):
        for index, item in enumerate(value):
            yield from flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, _scalar(value)


def without_places(found: Origin) -> Origin:
    """Of what may be a path only its last part."""
    shared = {key: _last(value) for key, value in found.shared.items()}
    return Origin(found.folders, shared, {key: tuple(map(_last, values)) for key, values in found.differing.items()})


def _last(value: str) -> str:
    """
    >>> _last("/data/wards/notes.jsonl"), _last("sha256:12"), _last("numpy 2.4")
    ('notes.jsonl', 'sha256:12', 'numpy 2.4')
    """
    return value.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def without_home(text: str) -> str:
    """A report is passed on: the name of its author's home folder is not part of it."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _scalar(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    words = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    text, left = clip(without_home(words), VALUE_LIMIT)
    return text + (f"… ({left} more characters)" if left else "")
