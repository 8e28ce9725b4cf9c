"""Sources become documents. What is dropped is counted, with the reason; what is wrong is a sentence with its place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from acclimate.config.source_schema import KINDS, SourceSection
from acclimate.data.prepare.digests import Digests
from acclimate.data.read.dialects import Readings
from acclimate.data.read.files import Table, find_tables, shown_paths
from acclimate.data.read.hub import HubDataset
from acclimate.data.read.records import BadRow, Document, Part, RecordSchema
from acclimate.data.read.unread import Unread
from acclimate.types.errors import DataError

__all__ = ["Cursor", "Document", "Part", "Reader", "read_documents"]

SHOWN_BAD_ROWS = 3


@dataclass(frozen=True)
class Cursor:
    """Where to read on: a file of the source and a record in it, both counted from 0."""

    file: int = 0
    record: int = 0
    place: dict[str, Any] | None = None
    """Of a dataset on the hub: the record's shard, and its place there."""


class Reader:
    """Reads one source lazily, in a fixed order: memory holds a record, not a corpus.

    Args:
        name: the source's name in the configuration.
        section: its section; ``path`` is a file, a folder (read recursively), a glob, a URL, a hub id, or a list of
            them.

    Raises:
        DataError: a path that matches nothing.
        ConfigError: a setting without effect on what the paths name.
    """

    def __init__(self, name: str, section: SourceSection) -> None:
        self.name, self.section = name, section
        schema = RecordSchema(name, section)
        self.passed_over: Counter[str] = Counter()
        """Files that are not read, by reason."""
        self.files: list[Table] = find_tables(name, section, self.passed_over)
        self.dropped: Counter[str] = Counter(self.passed_over)
        """Files that are not read and records dropped so far, by reason."""
        schema.kinds = sorted({table.kind for table in self.files} & set(KINDS))
        self._schemas = {table.kind: schema.of_kind(table.kind) for table in self.files}
        self.unread: Unread = schema.unread
        """What the documents read so far carry that nobody reads; a row that is read twice counts twice."""
        self.readings: Readings = schema.readings
        """How they were read, where that is a choice."""
        self._bad: dict[Cursor, BadRow] = {}
        self._counted_as: dict[str, str] = {}  # reason -> its key in dropped, which names the first place

    def read(self, start: Cursor = Cursor()) -> Iterator[tuple[Document, Cursor]]:
        """Every document from ``start`` on, with the place where reading goes on after it.

        Raises:
            DataError: a file or record that cannot be read, or more bad rows than ``max_bad_rows``.
        """
        for index in range(start.file, len(self.files)):
            table, schema = self.files[index], self._schemas[self.files[index].kind]
            at = start if index == start.file else Cursor()
            rows = (
                table.rows(schema, at.record, at.place)
                if isinstance(table, HubDataset)
                else table.rows(schema, at.record)
            )
            for number, where, value, aside in rows:
                try:
                    if isinstance(value, BadRow):
                        raise value
                    document = schema.document(value, where, aside)
                except BadRow as bad:
                    self._drop(bad, where, Cursor(index, number))
                    continue
                if document is None:
                    self.dropped["empty"] += 1
                else:
                    yield document, Cursor(index, number + 1)

    def kept(self, cursor: Cursor) -> Cursor:
        """The cursor that came with the last document, to be saved: it holds all that reading on there needs."""
        table = self.files[cursor.file]
        return replace(cursor, place=table.place()) if isinstance(table, HubDataset) else cursor

    def identity(self, digests: Digests | None = None) -> list[Any]:
        """What decides the documents, found without parsing them. Plain data for JSON.

        Files on this machine count by content, files behind a URL by what their server says, datasets of the hub by
        commit; beside them the settings of the section that change reading.

        Args:
            digests: of contents. None takes size and time of change in their place, which some tools set: ``rsync -t``.

        Raises:
            DataError: a file that is gone.
        """
        settings = self.section.model_dump(include={"format", "fields", "on_bad_row", "max_bad_rows"})
        settings["learned"] = sorted(self.section.learned_roles)  # they decide which rows are empty
        settings |= {"group": field} if (field := self.section.group_field) is not None else {}
        settings |= {"pairs": "chat"} if self.section.pairs == "chat" else {}
        return [settings, *(file.identity(digests) for file in self.files)]

    def _drop(self, bad: BadRow, where: str, place: Cursor) -> None:
        """Counts a bad row once, however often the source is read."""
        if self.section.on_bad_row == "fail":
            raise DataError(
                f"{str(bad).removesuffix('.')}; sources.{self.name}.on_bad_row: skip leaves such rows out."
            ) from None
        if place in self._bad:
            return
        self._bad[place] = bad
        # the file's name without its folders: reports, which are shown to others, print this
        key = self._counted_as.setdefault(bad.reason, f"bad row: {bad.reason} (first: {os.path.basename(where)})")
        self.dropped[key] += 1
        if len(self._bad) > (limit := self.section.max_bad_rows):
            shown = " | ".join(str(bad).removesuffix(".") for bad in list(self._bad.values())[:SHOWN_BAD_ROWS])
            raise DataError(
                f"sources.{self.name}.max_bad_rows: there are more than {limit} bad rows; the first are: {shown}."
            )


def read_documents(name: str, section: SourceSection) -> tuple[list[Document], Counter[str]]:
    """All documents of a source, and how many records or files were dropped by reason.

    Raises:
        DataError: a path that matches nothing, a file or record that cannot be read, or no document at all.
    """
    reader = Reader(name, section)
    documents = [document for document, _ in reader.read()]
    if not documents:
        reasons = ", ".join(f"{count} {reason}" for reason, count in reader.dropped.items()) or "nothing"
        files = len(reader.files)
        raise DataError(
            f"sources.{name}.path: there is no document in {shown_paths(section)} "
            f"({files} file{'' if files == 1 else 's'} read, dropped: {reasons})."
        )
    return documents, reader.dropped
