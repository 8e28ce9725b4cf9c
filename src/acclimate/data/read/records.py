"""A JSON record becomes a :class:`Document`: the accepted fields, and a sentence for every record that is not one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from acclimate.config.source_schema import FIELDS, GROUPINGS, SourceSection, formats_of
from acclimate.data.read.dialects import Reading, Readings, is_rendered, recognised
from acclimate.data.read.messages import Part, Turns
from acclimate.data.read.unread import Unread
from acclimate.data.read.values import BadRow, check_json, is_empty, kind, refuse_half_surrogates, shown_names, string
from acclimate.types.errors import nearest, reason

__all__ = ["BadRow", "Document", "Part", "RecordSchema", "parse_json"]

ACCEPTED = "accepted: 'text', 'messages', or 'prompt' and 'completion'"
OTHER_NAMES = {
    "conversations": "messages", "conversation": "messages", "content": "text", "body": "text", "document": "text",
    "question": "prompt", "instruction": "prompt", "answer": "completion", "response": "completion",
    "output": "completion",
}  # fmt: skip
"""What other data sets call our fields: only for hints."""
ENDED = "ended"
"""``false``: the text or the last answer was cut, so no end of it is learned."""
BESIDE: Mapping[str, tuple[str, ...]] = {
    "messages": ("tools", "system", ENDED), "prompt_completion": ("tools", "system", ENDED), "text": (ENDED,),
}  # fmt: skip
"""Format -> what is read beside its fields where a record has it; of pairs, tools and system only where they are lists
of messages."""
FIELDS_READ = frozenset(target for targets in FIELDS.values() for target in targets)
LINK = "\n"
"""Between the columns of a prompt [from code: LLaMA-Factory joins Alpaca's instruction and input so]."""


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
    group: str | None = field(default=None, compare=False)
    """What the field that ``sources.NAME.group`` names says; no part of the contents."""
    ended: bool = True
    """Whether its end is learned; what was cut has none."""

    @property
    def text(self) -> str:
        """What a reader would call its text: raw parts as they are, messages one below the other."""
        return ("\n" if self.templated else "").join(part.text for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """sha256 of the contents; the place it was read from has no part in it."""
        parts = [(part.role, part.text, part.route, part.context, part.extra) for part in self.parts]
        contents = [self.templated, parts, *([self.tools] if self.tools else []), *([] if self.ended else [ENDED])]
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
        raise BadRow("not an object", f"{where}: a record is a JSON object; this line holds {kind(record)}.")
    if "\\ud" in line.lower():
        refuse_half_surrogates(record, where)
    return record


class RecordSchema:
    """Which fields of a source's records are read, and how a record becomes a document.

    What a record carries and nobody reads is counted in ``unread``, a choice of reading in ``readings``.

    Args:
        source: the source's name in the configuration.
        section: its section: ``format``, ``fields``, ``pairs`` and ``routes``.
    """

    def __init__(self, source: str, section: SourceSection) -> None:
        self.source, self.section = source, section
        self._fields_of("")
        self.learned = section.learned_roles
        self.group = section.group_field
        self.unread, self.readings = Unread(), Readings()
        self.kinds: Collection[str] = ()
        """Of the source's files, where there are several: they may want fields of their own."""

    def of_kind(self, kind_of_file: str) -> RecordSchema:
        """The same of the rows of one kind of files, such as ``csv``, with the same counts."""
        own = copy(self)
        own._fields_of(kind_of_file)
        return own

    def _fields_of(self, kind_of_file: str) -> None:
        self.kind = kind_of_file
        given = self.section.fields_of(kind_of_file)
        self.fields: dict[str, tuple[str, ...]] = {
            target: (names,) if isinstance(names, str) else tuple(names) for target, names in given.items()
        }
        named = formats_of(self.fields)
        self.format: str = named[0] if named else self.section.format

    def columns(self, names: Collection[str], where: str, what: str = "record") -> dict[str, tuple[str, ...]]:
        """The fields of the first format that ``names`` have, each with its names there: ``{"text": ("body",)}``.

        Where none is complete under our names or those that ``fields`` gives, those of other tools are looked for.
        Beside them may be what is read with a chat, and the field that names the group.

        Raises:
            BadRow: none is complete.
        """
        for kind_of, targets in FIELDS.items():
            columns = {target: self.fields.get(target, (target,)) for target in targets}
            taken = [name for given in columns.values() for name in given]
            if self.format in ("auto", kind_of) and all(name in names for name in taken):
                return self._with_beside(kind_of, columns, names) | self._grouping(names, where, what)
        for kind_of, columns in recognised(names).items() if not self.fields else ():
            if self.format in ("auto", kind_of):
                return self._with_beside(kind_of, columns, names) | self._grouping(names, where, what)
        found = f"it has {shown_names(names)}" if names else "it is empty"
        at = f"{where}: sources.{self.source}"
        if self.fields:
            lacking = next(name for name in self._wanted() if name not in names)
            raise BadRow(
                "missing field", f"{at}.fields needs '{lacking}' in this {what}; {found}.{self._of_other_kinds()}"
            )
        if self.format != "auto":
            needed = " and ".join(f"'{name}'" for name in self._wanted())
            raise BadRow("missing field", f"{at}.format is '{self.format}', which needs {needed}; {found}.")
        raise BadRow(
            "missing field",
            f"{where}: this {what} has no field to learn from: {found}; {ACCEPTED}; other names go into "
            f"sources.{self.source}.fields, like {_likely_fields(names)}.{_hint(names)}",
        )

    def _with_beside(
        self, kind_of: str, columns: Mapping[str, tuple[str, ...]], names: Collection[str]
    ) -> dict[str, tuple[str, ...]]:
        """With what is read beside the fields of a format."""
        taken = [name for given in columns.values() for name in given]
        return {key: (key,) for key in BESIDE[kind_of] if key in names and key not in taken} | dict(columns)

    def _of_other_kinds(self) -> str:
        """How files of several kinds have fields of their own."""
        others = [kind for kind in self.kinds if kind != self.kind]
        if not others or self.section.fields_by_kind:
            return ""
        shown = {
            field: names[0] if len(names) == 1 else f"[{', '.join(names)}]" for field, names in self.fields.items()
        }
        given = ", ".join(f"{field}: {names}" for field, names in shown.items())
        return (
            f" sources.{self.source}.fields: {{{others[0]}: {{{given}}}}} means the .{others[0]} files alone; the "
            "others are then read by the fields that they have."
        )

    def _grouping(self, names: Collection[str], where: str, what: str) -> dict[str, tuple[str, ...]]:
        if self.group is None:
            return {}
        if self.group not in names:
            raise BadRow(
                "missing field",
                f"{where}: sources.{self.source}.group is '{self.group}', which this {what} does not have: it has "
                f"{shown_names(names)}; accepted: {', '.join(GROUPINGS)}, or a field of every record (null: a group of "
                f"its own).{nearest(self.group, [*GROUPINGS, *names])}",
            )
        return {"group": (self.group,)}

    def _wanted(self) -> list[str]:
        return [name for target in FIELDS[self.format] for name in self.fields.get(target, (target,))]

    def document(self, record: Mapping[str, Any], where: str, aside: Collection[str] = ()) -> Document | None:
        """None for a record with nothing to learn in it.

        Args:
            aside: columns of its table that ``record`` is without, because nobody reads them.

        Raises:
            BadRow: unknown or missing fields, wrong types; the message names ``where``.
        """
        columns = self.columns(record, where)
        unread = Unread()
        reading: Reading | None = None
        turns = Turns(where, self.learned, unread)
        if "text" in columns:
            name = columns["text"][0]
            parts, templated = [Part("text", string(record[name], f"'{name}'", where))], False
        elif "messages" in columns:
            name = columns["messages"][0]
            parts, templated = turns.parts(record[name], f"'{name}'"), True
            reading = None if name in ("messages", *self.fields.get("messages", ())) else "messages"
        else:
            parts, templated = _prompt_completion(record, columns["prompt"], columns["completion"][0], turns)
            if not templated:
                parts, templated, reading = self._pair(parts)
        always = {*FIELDS_READ, "group"}
        read = {name for target, names in columns.items() if templated or target in always for name in names}
        if templated and "system" in columns:
            system = columns["system"][0]
            parts = turns.with_system(parts, record[system], system, context="prompt" in columns)
        tools = _tools(record["tools"], where) if templated and "tools" in columns else ()
        learned = [part for part in parts if part.route or (not part.context and part.role in self.learned)]
        candidates = learned or [part for part in parts if not part.context and part.role != "prompt"]
        if not any(part.says_something for part in candidates):
            return None
        ended = record.get(ENDED) if ENDED in columns else None
        if isinstance(ended, bool):
            read.add(ENDED)
        group = _group(record[self.group], self.group, where) if self.group is not None else None
        for column, value in record.items():
            if column not in read and not is_empty(value):
                unread.add("column", column, where)
        for column in aside:
            unread.add("column", column, where)
        self.unread.merge(unread)
        if reading is not None:
            said = tuple(name for key, names in columns.items() if key in FIELDS_READ for name in names)
            self.readings.add(said, reading, where)
        return Document(self.source, where, tuple(parts), templated, tools, group, ended is not False)

    def _pair(self, parts: list[Part]) -> tuple[list[Part], bool, Reading]:
        """A prompt and its completion, two strings: as a chat, or as they stand; whether a chat template is for it."""
        prompt, completion = parts
        if self.section.pairs != "chat" or not prompt.text.strip():  # without a question there is nothing to answer
            return parts, False, "joined"
        if is_rendered(prompt.text):
            return parts, False, "rendered"
        return [Part("user", prompt.text, context=True), Part("assistant", completion.text)], True, "chat"


def _group(value: Any, name: str, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | int | float):
        raise BadRow(
            "wrong type", f"{where}: '{name}', which names the group, must be a text or a number, not {kind(value)}."
        )
    return str(value)


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
        return (
            " 'input' is not read then; {prompt: [instruction, input], completion: output} joins it to the instruction."
        )
    return ""


def _prompt_completion(
    record: Mapping[str, Any], prompt_names: tuple[str, ...], completion_name: str, turns: Turns
) -> tuple[list[Part], bool]:
    """Several columns of a prompt are joined; those that are empty or null are left out."""
    where, prompt_name = turns.where, prompt_names[0]
    prompt, completion = record[prompt_name], record[completion_name]
    if len(prompt_names) > 1:
        given = {name: record[name] for name in prompt_names if record[name] is not None}
        prompt = LINK.join(text for name, value in given.items() if (text := string(value, f"'{name}'", where)))
    if isinstance(prompt, list) and isinstance(completion, list):
        before = turns.parts(prompt, f"'{prompt_name}'", context=True)
        return [*before, *turns.parts(completion, f"'{completion_name}'")], True
    if isinstance(prompt, str) and isinstance(completion, str):
        return [
            Part("prompt", string(prompt, f"'{prompt_name}'", where)),
            Part("completion", string(completion, f"'{completion_name}'", where)),
        ], False
    raise BadRow(
        "wrong type",
        f"{where}: '{prompt_name}' and '{completion_name}' must both be strings or both be lists of messages; "
        f"they are {kind(prompt)} and {kind(completion)}.",
    )


def _tools(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """A list of JSON schemas, or one written as a string, as tables have it; null and nothing are no tools."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value) if value.strip() else None
            refuse_half_surrogates({"tools": found}, where)
        except (ValueError, RecursionError):
            found = value
    if found is not None and not (isinstance(found, list) and all(isinstance(tool, dict) for tool in found)):
        raise BadRow(
            "wrong type",
            f"{where}: 'tools' must be a list of objects, JSON schemas of what the chat may call, or the same as a "
            f"string of JSON, not {kind(value)}.",
        )
    check_json(found, "'tools'", where)
    return tuple(found or ())
