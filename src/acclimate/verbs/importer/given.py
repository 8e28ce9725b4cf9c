"""The settings of another tool, and what becomes of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from acclimate.types.errors import ConfigError


@dataclass(frozen=True)
class Left:
    """A setting that was not carried, where it stands, and why."""

    key: str
    value: Any
    place: str
    why: str


@dataclass
class Given:
    """Another tool's file.

    Args:
        places: dotted path -> ``file:line``.
        defaults: what that tool takes where its file says nothing, by the key that transformers has for it.
    """

    data: Mapping[str, Any]
    places: Mapping[str, str]
    tool: str
    defaults: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    left: list[Left] = field(default_factory=list)

    def take(self, *names: str) -> tuple[Any, str]:
        """The value of the first name that is given, and a comment that says from where; None where none is."""
        self.used |= {name for name in names if name in self.data}
        for name in names:
            if self.data.get(name) is not None:
                return self.data[name], name
        for name in names:
            if name in self.defaults:
                return self.defaults[name], f"{self.tool}'s default of {name}"
        return None, ""

    def value(self, *names: str) -> Any:
        return self.take(*names)[0]

    def number(self, *names: str) -> tuple[float | None, str]:
        """As :meth:`take`, of what has to be a number; YAML reads 1e-4 as text.

        Raises:
            ConfigError: it is none.
        """
        value, why = self.take(*names)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value, why
        try:
            return float(value), why
        except (TypeError, ValueError):
            raise ConfigError(f"{self.place(why)}: {why}: {value!r} is no number.") from None

    def drop(self, key: str, why: str) -> None:
        self.used.add(key)
        self.left.append(Left(key, self.data.get(key), self.place(key), why))

    def left_of_data(self, path: str, value: Any, why: str) -> None:
        """Of a setting that stands below ``datasets``, or in a file of its own."""
        self.left.append(Left(path, value, self.place(path), why))

    def place(self, key: str) -> str:
        return self.places.get(key, "")

    def unused(self) -> Iterator[str]:
        """What nobody has looked at and what means something, in the order of the file."""
        for key, value in self.data.items():
            if key not in self.used and value not in (None, False, "", [], {}):
                yield key


def whole(value: float) -> int | float:
    """3 for 3.0, as a person writes it."""
    return int(value) if float(value).is_integer() else value


def name_of(text: str) -> str:
    """What may be the name of a run or source.

    >>> name_of("out/my run/"), name_of("org/data-set"), name_of("...")
    ('my-run', 'data-set', 'imported')
    """
    last = [part for part in re.split(r"[/\\]", text) if part.strip(".")][-1:]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "".join(last)).strip("-._")[:70] or "imported"
