"""Settings with their reasons, as a YAML file that a person reads and changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

import yaml

WIDTH = 110
COLUMN = 36
"""Where comments begin."""


def written(settings: Mapping[str, Any], reasons: Mapping[str, str], head: str) -> str:
    """The settings as YAML, each with its reason behind it, or above it where that is long.

    Args:
        reasons: dotted path -> why it is so.
        head: what stands above all.

    >>> print(written({"a": {"b": 1}, "c": [2]}, {"a.b": "small", "c": "few"}, "A file."), end="")
    # A file.
    a:
      b: 1                              # small
    c: [2]                              # few
    """
    lines = [f"# {line}" if line else "#" for line in head.splitlines()]
    return "\n".join([*lines, *_lines(settings, reasons, "", "")]) + "\n"


def _lines(settings: Mapping[str, Any], reasons: Mapping[str, str], path: str, indent: str) -> Iterator[str]:
    for key, value in settings.items():
        here = f"{path}.{key}".lstrip(".")
        section = isinstance(value, Mapping) and value
        name = _flow(str(key))
        line = f"{indent}{name}:" if section else f"{indent}{name}: {_flow(value)}"
        why = reasons.get(here)
        if why is None:
            yield line
        elif max(len(line) + 2, COLUMN) + len(why) + 2 <= WIDTH:
            yield f"{f'{line}  '.ljust(COLUMN)}# {why}"
        else:
            yield from (f"{indent}# {part}" for part in wrap(why, WIDTH - len(indent) - 2))
            yield line
        if section:
            yield from _lines(value, reasons, here, f"{indent}  ")


def _flow(value: Any) -> str:
    """On one line, quoted where it must be.

    >>> _flow(5e-05), _flow("a: b"), _flow(["x", 1]), _flow(None)
    ('5.0e-05', "'a: b'", '[x, 1]', 'null')
    """
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
