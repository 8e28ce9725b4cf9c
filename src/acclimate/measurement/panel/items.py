"""Records to items: a context, its choices, and which is right. What cannot be asked is a sentence with its place."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from acclimate.config.explain import shown
from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.split import rank
from acclimate.data.read.records import BadRow, RecordSchema
from acclimate.data.read.rows import json_lines
from acclimate.data.read.values import is_empty
from acclimate.measurement.panel.mappings import Mapping
from acclimate.measurement.panel.schema import SetSection
from acclimate.types.errors import ConfigError, DataError, nearest

LETTERED = re.compile(r"^[ \t]*([A-Z])[.)][ \t]*", re.MULTILINE)
LONGEST_LIST = len(ascii_uppercase)


@dataclass(frozen=True)
class Item:
    """One question. ``choices`` are what is scored: texts, letters, the one last word of a cloze, or none of a text."""

    where: str
    context: str
    choices: tuple[str, ...]
    right: int
    group: str | None = None  # what names it, as a hash; None is a group of its own

    @cached_property
    def digest(self) -> str:
        """sha256 of what is asked; the place it was read from has no part in it."""
        return hashlib.sha256(json.dumps([self.context, self.choices, self.right]).encode()).hexdigest()


@dataclass(frozen=True)
class Items:
    """Of one set, in the order of its files.

    ``dropped`` counts what was left out, by reason; ``unread`` the items in which a field holds what is not asked.
    """

    items: list[Item]
    dropped: Counter[str]
    unread: Counter[str]


def read_items(name: str, section: SetSection, seed: int) -> Items:
    """The items of a set.

    Equal items count once. ``max_items`` keeps those that rank lowest by a hash of seed and content, so that adding
    an item to the file moves at most one other out.

    Raises:
        ConfigError: a file that is not there.
        DataError: an item that cannot be asked, where ``on_bad_item`` is ``fail``, or none at all.
    """
    found: dict[str, Item] = {}
    dropped: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for where, value in _records(name, section):
        try:
            if isinstance(value, BadRow):
                raise value
            item = replace(KINDS[section.kind](value, where, section), group=_group(value, where, section))
        except BadRow as bad:
            if section.on_bad_item == "fail":
                raise DataError(
                    f"{str(bad).removesuffix('.')}; sets.{name}.on_bad_item: skip leaves such items out."
                ) from None
            dropped[bad.reason] += 1
            continue
        read = _read_fields(value, section)
        unread.update(field for field, given in value.items() if field not in read and not is_empty(given))
        dropped["duplicate"] += item.digest in found
        found.setdefault(item.digest, item)
    if not found:
        raise DataError(f"sets.{name}.path: there is no item in {', '.join(map(repr, section.paths))}.")
    kept = set(sorted(found, key=lambda digest: rank(digest, f"panel {seed}"))[: section.max_items])
    return Items([item for digest, item in found.items() if digest in kept], +dropped, unread)


def _group(record: Dictionary[str, Any], where: str, section: SetSection) -> str | None:
    if section.group is None:
        return None
    if section.group not in record:
        raise BadRow(
            "no group",
            f"{where}: this item has no field '{section.group}', which group names (it has {_keys(record)}); null "
            f"is a group of its own.{nearest(section.group, list(record))}",
        )
    value = record[section.group]
    return None if value is None else hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _keys(record: Dictionary[str, Any]) -> str:
    return ", ".join(shown(key) for key in list(record)[:8]) or "nothing"


def _records(name: str, section: SetSection) -> Iterator[tuple[str, Dictionary[str, Any] | BadRow]]:
    for path in section.paths:
        if not os.path.isfile(path):
            near = nearest(Path(path).name, (file.name for file in Path(path).parent.glob("*.jsonl")))
            raise ConfigError(f"sets.{name}.path: there is no file '{path}'.{near}")
        if not path.endswith(".jsonl"):
            raise ConfigError(f"sets.{name}.path: '{path}' does not end in .jsonl; items are one JSON object a line.")
        with open(path, "rb") as stream:
            for row in json_lines(stream, path, RecordSchema(name, SourceSection(path=path)), 0):
                yield row.where, row.value


def _mapping(record: Dictionary[str, Any], section: SetSection) -> Mapping:
    """Whose prompt has the passage, where the record has one."""
    named = section.resolved(passage=True).fields.get("passage", "passage")
    return section.resolved(passage=record.get(named) is not None)


def _choice(record: Dictionary[str, Any], where: str, section: SetSection) -> Item:
    mapping = _mapping(record, section)
    question = _text(record, mapping, "question", where)
    texts, labels = _choices(record, mapping, where)
    right = _right(record, mapping, texts, labels, where)
    letters = ascii_uppercase[: len(texts)]
    filled = {
        "question": question,
        "passage": _text(record, mapping, "passage", where) if "{passage}" in mapping.prompt else "",
        "options": "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)),
    }
    context = re.sub(r"\{(\w+)\}", lambda part: filled[part[1]], mapping.prompt)
    return Item(where, context, tuple(letters) if mapping.answers == "letters" else texts, right)


def _read_fields(record: Dictionary[str, Any], section: SetSection) -> set[str]:
    """Names of the fields of a record that its item is made of."""
    mapping = _mapping(record, section)
    targets = ["question", "answer"] if section.kind == "choice" else ["text"]
    if section.kind == "choice":
        targets += ["choices"] * (not mapping.choices) + ["passage"] * ("{passage}" in mapping.prompt)
    return {mapping.fields.get(target, target) for target in targets}


def _cloze(record: Dictionary[str, Any], where: str, section: SetSection) -> Item:
    """The last word is what follows the last blank, as in LAMBADA (Paperno et al., 2016)."""
    text = _text(record, section.resolved(passage=False), "text", where)
    context, _, word = text.rpartition(" ")
    if not context:
        raise BadRow("one word", f"{where}: this text is a single word, so its last word has no context.")
    return Item(where, context, (word,), 0)


def _document(record: Dictionary[str, Any], where: str, section: SetSection) -> Item:
    mapping = section.resolved(passage=False)
    _text(record, mapping, "text", where)
    return Item(where, str(_field(record, mapping, "text", where)), (), 0)


KINDS = {"choice": _choice, "cloze": _cloze, "text": _document}


def _text(record: Dictionary[str, Any], mapping: Mapping, target: str, where: str) -> str:
    value = _field(record, mapping, target, where)
    if not isinstance(value, str):
        raise BadRow(f"{target} is no text", f"{where}: the {target} is {shown(value)}, which is no text.")
    if not value.strip():
        raise BadRow(f"empty {target}", f"{where}: the {target} is empty.")
    return value.strip()


def _field(record: Dictionary[str, Any], mapping: Mapping, target: str, where: str) -> Any:
    name = mapping.fields.get(target, target)
    if record.get(name) is None:
        what = "no right answer" if target == "answer" else f"no {target}"
        raise BadRow(what, f"{where}: this item has {what}: there is no field '{name}' (it has {_keys(record)}).")
    return record[name]


def _choices(record: Dictionary[str, Any], mapping: Mapping, where: str) -> tuple[tuple[str, ...], Sequence[str]]:
    """Texts and their labels, from a list, from lines that begin with letters, or from ``{text: [], label: []}``."""
    value: Any = mapping.choices or _field(record, mapping, "choices", where)
    labels: Sequence[str] = ascii_uppercase
    if isinstance(value, str):
        marks = list(LETTERED.finditer(value))
        ends = [*(mark.start() for mark in marks[1:]), len(value)]
        labels = [mark[1] for mark in marks]
        # one benchmark file closes a quotation mark on a line of its own
        value = [value[mark.end() : end].removesuffix('\n"') for mark, end in zip(marks, ends, strict=False)]
    elif isinstance(value, dict):
        given = value.get("label") or list(labels)
        if isinstance(given, list):
            labels, value = [str(label) for label in given], value.get("text")
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise BadRow(
            "choices of no known form",
            f"{where}: the choices are {shown(value)}; accepted: a list of texts, lines that begin with "
            "'A.', 'B.' ..., or {text: [...], label: [...]}.",
        )
    texts = tuple(text.strip() for text in value)
    if not 2 <= len(texts) <= LONGEST_LIST:
        raise BadRow(
            "too few choices" if len(texts) < 2 else "too many choices",
            f"{where}: this item has {len(texts)} choice{'s' * (len(texts) != 1)}; accepted: 2 to {LONGEST_LIST}.",
        )
    if "" in texts:
        raise BadRow("empty choice", f"{where}: choice {texts.index('') + 1} of {len(texts)} is empty.")
    twice = next((text for text, count in Counter(texts).items() if count > 1), None)
    if twice is not None:
        first, second = [i + 1 for i, text in enumerate(texts) if text == twice][:2]
        raise BadRow("equal choices", f"{where}: choices {first} and {second} are equal: {shown(twice)}.")
    return texts, labels[: len(texts)]


def _words(text: str) -> str:
    return re.sub(r"\W+", "", text).casefold()


def _right(
    record: Dictionary[str, Any], mapping: Mapping, texts: tuple[str, ...], labels: Sequence[str], where: str
) -> int:
    """The answer as a choice's text, its label, ``B. text``, or its number counted from 0."""
    answer = _field(record, mapping, "answer", where)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if 0 <= answer < len(texts):
            return answer
    elif isinstance(answer, str | bool):
        said = mapping.spelled.get(str(answer).strip(), str(answer).strip())
        for candidates in (texts, labels):
            if said in list(candidates):
                return list(candidates).index(said)
        lettered = LETTERED.match(said)
        if lettered and lettered[1] in list(labels):
            number, rest = list(labels).index(lettered[1]), said[lettered.end() :].strip()
            if _words(rest) in ("", _words(texts[number])):  # "B. anthracis" is no letter
                return number
    raise BadRow(
        "answer not among the choices",
        f"{where}: the answer {shown(answer)} is not among the choices: {', '.join(map(shown, texts[:6]))}.",
    )
