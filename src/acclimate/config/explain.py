"""Turns a configuration's validation errors into sentences: what, where, what would be accepted."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from acclimate.config.elsewhere import counterpart
from acclimate.types.errors import listed, nearest


@dataclass(frozen=True)
class Places:
    """Where settings were written: dotted path -> ``file.yaml:12``, or the ``--set`` that gave it.

    Any two are equal: where a setting was written is no setting.
    """

    origin: str = field(default="configuration", compare=False)
    written: Mapping[str, str] = field(default_factory=dict, compare=False)

    def at(self, path: str) -> str:
        """``file.yaml:12: optimizer.learning_rate``: the place of the nearest key that was really written."""
        return f"{self._nearest(path) or self.origin}: {path}" if path else self.origin

    def locate(self, sentence: str) -> str:
        """Puts the place before a sentence that begins with the dotted path of a setting.

        >>> Places("a.yaml", {"method": "a.yaml:3"}).locate("method.name: is missing.")
        'a.yaml:3: method.name: is missing.'
        """
        place = self._nearest(sentence.split(maxsplit=1)[0].rstrip(":"))
        return f"{place}: {sentence}" if place else sentence

    def _nearest(self, path: str) -> str | None:
        parts = path.split(".")
        return next((p for cut in range(len(parts), 0, -1) if (p := self.written.get(".".join(parts[:cut])))), None)


def explain(error: ValidationError, root: type[Any], places: Places, prefix: str = "") -> str:
    """One sentence a line.

    Args:
        root: the model or dataclass that was validated.
        prefix: dotted path at which it stands in the configuration.
    """
    return "\n".join(dict.fromkeys(_sentence(item, root, places, prefix) for item in error.errors()))


def _fields(section: type[Any] | None) -> Mapping[str, Any]:
    if section is None:
        return {}
    fields: Mapping[str, Any] = getattr(section, "model_fields", None) or getattr(section, "__pydantic_fields__", {})
    return fields


def _section_at(root: type[Any], parents: tuple[Any, ...]) -> type[Any] | None:
    """The section class that a dotted path of parents leads to; None where values are free."""
    section: type[Any] | None = root
    for part in parents:
        if section is None:
            return None
        field = _fields(section).get(str(part))
        annotation = field.annotation if field is not None else None
        if annotation is None and section is _mapping_value(root, parents):
            continue
        section = _inner(annotation)
    return section


def _mapping_value(root: type[Any], parents: tuple[Any, ...]) -> type[Any] | None:
    """``sources`` is a mapping of sections: its keys are names, not fields."""
    field = _fields(root).get(str(parents[0]))
    return _inner(field.annotation) if field is not None and get_origin(field.annotation) is dict else None


def _inner(annotation: Any) -> type[Any] | None:
    """The section class inside ``Section``, ``Section | None`` or ``dict[str, Section]``."""
    if get_origin(annotation) in (Union, types.UnionType, dict):
        for argument in get_args(annotation):
            if (found := _inner(argument)) is not None:
                return found
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def section_paths(section: type[Any], prefix: str = "") -> dict[str, type[Any]]:
    """Dotted path of every section below ``section``; a mapping's keys appear as ``*``."""
    found = {prefix: section}
    for name, info in _fields(section).items():
        if (inner := _inner(info.annotation)) is not None:
            path = f"{prefix}.{name}" if prefix else name
            found |= section_paths(inner, f"{path}.*" if get_origin(info.annotation) is dict else path)
    return found


def _unknown_key(location: tuple[Any, ...], root: type[Any]) -> str:
    key, parents = str(location[-1]), location[:-1]
    here = list(_fields(_section_at(root, parents)))
    if (said := counterpart(key, str(parents[0]) if parents else "", here, not parents)) is not None:
        return said
    if close := difflib.get_close_matches(key, here, n=1, cutoff=0.75):
        return f"Did you mean '{close[0]}'?"
    if hint := nearest(key, here):
        return hint.strip()
    for path, section in section_paths(root).items():
        if key in _fields(section):
            return f"It belongs at '{path + '.' if path else ''}{key}'."
    return f"Accepted there: {listed(here)}." if here else "It takes no settings."


def _sentence(item: Any, root: type[Any], places: Places, prefix: str) -> str:
    # pydantic adds the branch of a union ("str", "list[str]", "[key]") to the location; no user typed that
    location = tuple(part for part in item["loc"] if not BRANCH.fullmatch(str(part))) or item["loc"]
    where = places.at(".".join([*([prefix] if prefix else []), *map(str, location)]))
    kind, given = item["type"], shown(item.get("input"))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: there is no such key. {_unknown_key(location, root)}".rstrip()
    if kind in ("missing", "missing_argument"):
        return f"{where}: is required and missing. {_describe(location, root)}".rstrip()
    if item.get("input") is None:
        return f"{where}: has no value. {_describe(location, root)}".rstrip()
    if kind == "value_error":
        said = str(item["ctx"]["error"])
        placed = places.locate(said) if not location else said  # of the whole configuration, naming a setting itself
        return (f"{where}: {said}" if placed == said else placed).rstrip(".?") + ("?" if said[-1] == "?" else ".")
    if kind == "literal_error":
        options = [option.strip("' ") for option in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: {given} is not accepted; accepted: {listed(options)}.{nearest(str(item['input']), options)}"
    if kind in TYPES:
        return f"{where}: {given} is not {TYPES[kind]}. {_describe(location, root)}".rstrip()
    if kind in ("too_short", "string_too_short"):
        return f"{where}: is empty. {_describe(location, root)}".rstrip()
    if kind == "string_pattern_mismatch":
        return f"{where}: {given} is not accepted; accepted: {_describe(location, root).strip('()')}."
    message = item["msg"].replace("Input should be", "should be")
    return f"{where}: {given} {message}. {_describe(location, root)}".rstrip()


def shown(value: Any) -> str:
    """The value as Python spells it, at a length that a person reads."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


SHOWN = 100
TYPES = {
    "model_type": "a section: write its keys below it, indented",
    "dict_type": "a mapping: write its keys below it, indented",
    "tuple_type": "a list",
    "list_type": "a list",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text; quote it if it looks like a number or a word of YAML",
}
BRANCH = re.compile(r"\[key\]|str|int|float|bool|(list|dict|union)\[.*\]")


def _describe(location: tuple[Any, ...], root: type[Any]) -> str:
    field = _fields(_section_at(root, location[:-1])).get(str(location[-1])) if location else None
    return f"({field.description})" if field is not None and field.description else ""
