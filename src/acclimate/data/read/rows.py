"""The rows of one file, by its format: read one after the other, from any row on, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from acclimate.data.read.records import BadRow, RecordSchema, parse_json
from acclimate.types.errors import DataError
from acclimate.types.errors import reason as told

BOM = "\ufeff"
OTHER_BOMS = {
    b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
LONGEST_CELL = 2**28
"""Characters. A quote that is never closed would otherwise make one cell of all that follows."""
BATCH_ROWS = 128
KEPT = ("content", "value")
"""Keys of a message that stay where they are null."""


class Row(NamedTuple):
    """One row as it was found. ``number`` counts the rows of a file from 0, blank and bad ones too.

    ``aside`` are the columns of its table that ``value`` is without, because nobody reads them.
    """

    number: int
    where: str
    value: Mapping[str, Any] | BadRow
    aside: tuple[str, ...] = ()


def plain_text(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """A file of plain text is one row."""
    check_whole(schema, name)
    if start > 0:
        return
    raw = stream.read()
    refuse_other_encodings(raw, name)
    value: Mapping[str, Any] | BadRow
    try:
        text = _decode(raw, name, 1, 0).removeprefix(BOM).replace("\r\n", "\n")
        value = {schema.fields.get("text", ("text",))[0]: text}
    except BadRow as bad:
        value = bad
    yield Row(0, name, value)


def check_whole(schema: RecordSchema, name: str) -> None:
    """
    Raises:
        DataError: records are asked for, and the file is one text.
    """
    if schema.format not in ("auto", "text"):
        raise DataError(
            f"{name}: sources.{schema.source}.format is '{schema.format}', but this file is plain text; "
            "give records in a .jsonl file."
        )


def json_lines(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """One JSON object a line; blank lines are skipped."""
    offset = 0
    for number, raw in enumerate(stream):
        if number == 0:
            refuse_other_encodings(raw, name)
        if number >= start and (line := raw.removesuffix(b"\n")).strip():
            where = f"{name}:{number + 1}"
            value: Mapping[str, Any] | BadRow
            try:
                text = _decode(line, name, number + 1, offset)
                value = parse_json(text.removeprefix(BOM) if number == 0 else text, where)
            except BadRow as bad:
                value = bad
            yield Row(number, where, value)
        offset += len(raw)


def comma_separated(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """One record a row, whose cells the first line names; a cell in quotes may hold line breaks."""
    return _separated(stream, name, schema, start, ",")


def tab_separated(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    return _separated(stream, name, schema, start, "\t")


def parquet(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """One record a row; only the columns that become documents are read."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        file = ParquetFile(stream)
        columns, aside = table_columns(file.schema_arrow.names, name, schema)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        group = 0
        while group < len(sizes) and number + sizes[group] <= start:
            number += sizes[group]
            group += 1
        for batch in file.iter_batches(BATCH_ROWS, list(range(group, len(sizes))), columns):
            yield from (row for row in table_rows(batch, number, f"{name}:row", aside) if row.number >= start)
            number += batch.num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{name} cannot be read as a .parquet file: {reason(error)}.") from None


def table_columns(names: list[str], name: str, schema: RecordSchema) -> tuple[list[str], tuple[str, ...]]:
    """The columns of a table that become documents, and the others.

    Raises:
        DataError: they are not there, or not unique.
    """
    try:
        found = schema.columns(dict.fromkeys(names), name, "file")
    except BadRow as missing:  # no row can be read, so it is not a row that is bad
        raise DataError(str(missing)) from None
    columns = [column for given in found.values() for column in given]
    if twice := next((column for column in columns if names.count(column) > 1), None):
        raise DataError(f"{name}: there are {names.count(twice)} columns named '{twice}'; rename all but one.")
    return columns, tuple(column for column in dict.fromkeys(names) if column not in columns)


def table_rows(table: Any, first: int, place: str, aside: tuple[str, ...]) -> Iterator[Row]:
    """Rows of an arrow table or record batch, the first of which has the number ``first``."""
    for i in range(table.num_rows):
        where = f"{place} {first + i + 1}"
        try:
            yield Row(first + i, where, without_nulls(table.slice(i, 1).to_pylist()[0]), aside)
        except UnicodeDecodeError as error:
            byte = f"0x{error.object[error.start]:02x}"
            yield Row(first + i, where, BadRow("not UTF-8", f"{where}: a text holds the byte {byte}, no UTF-8."))
        except (ValueError, OverflowError) as error:  # a date beyond what Python has
            yield Row(first + i, where, BadRow("wrong type", f"{where}: a value cannot be read: {reason(error)}."))


def without_nulls(record: Mapping[str, Any]) -> dict[str, Any]:
    """A column of messages gives every message the keys of all: those that are null were not there.

    A content is kept, because a message that is without one is another fault than one that says nothing.
    """
    return {name: _inner_without_nulls(value) for name, value in record.items()}


def _inner_without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_inner_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _inner_without_nulls(inner) for key, inner in value.items() if inner is not None or key in KEPT}
    return value


def printable(path: str) -> str:
    """A path as it can be printed and stored: bytes of it that are not UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def reason(error: Exception) -> str:
    """A library's message as the end of a sentence, without the full stop.

    >>> reason(ValueError("Could not convert:\\n  'x' with type str."))
    "Could not convert: 'x' with type str"
    """
    return (getattr(error, "strerror", None) or told(error)).rstrip(".")


def _separated(stream: BinaryIO, name: str, schema: RecordSchema, start: int, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    lines = _Lines(stream, name)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next((cells for cells in rows if cells), [])
    except csv.Error as error:
        raise DataError(
            f"{name}:{rows.line_num}: this is no {delimiter!r}-separated header: {reason(error)}."
        ) from None
    if lines.bad is not None:
        raise DataError(str(lines.bad))
    if not header:
        return
    table_columns(header, f"{name}:{rows.line_num}", schema)
    number = 0
    while True:
        where = f"{name}:{rows.line_num + 1}"
        value: dict[str, str] | BadRow
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.ended:
                raise DataError(
                    f"{where}: this row never ends: a quote that it opens is not closed in the rest of the file, so "
                    "nobody knows which rows there are; close it."
                ) from None
            value = BadRow("not CSV", f"{where}: this row cannot be read: {reason(error)}.")
        else:
            value = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                value = BadRow(
                    "uneven row",
                    f"{where}: this row has {len(cells)} cell{'' if len(cells) == 1 else 's'}, but the header names "
                    f"{len(header)}.",
                )
            if lines.bad is not None:
                value = lines.bad
            if not cells:  # a blank line
                number += 1
                continue
        lines.bad = None
        if number >= start:
            yield Row(number, where, value)
        number += 1


class _Lines:
    """UTF-8 lines of a stream for the csv module; ``bad`` is what was wrong since it was last set to None."""

    def __init__(self, stream: Iterable[bytes], name: str) -> None:
        self._stream, self._name = iter(stream), name
        self._number, self._offset = 0, 0
        self.bad: BadRow | None = None
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            raw = next(self._stream)
        except StopIteration:
            self.ended = True
            raise
        self._number += 1
        if self._number == 1:
            refuse_other_encodings(raw, self._name)
        try:
            line = _decode(raw, self._name, self._number, self._offset)
        except BadRow as bad:
            self.bad = self.bad or bad
            line = raw.decode("utf-8", "replace").replace("\0", "\ufffd")
        self._offset += len(raw)
        return line.removeprefix(BOM) if self._number == 1 else line


def refuse_other_encodings(raw: bytes, name: str) -> None:
    """
    Raises:
        DataError: a file that begins so is not UTF-8.
    """
    for mark, encoding in OTHER_BOMS.items():
        if raw.startswith(mark):
            raise DataError(f"{name} begins with the byte order mark of {encoding}; save the file as UTF-8 text.")


def _decode(raw: bytes, name: str, line: int, offset: int) -> str:
    """
    Args:
        line, offset: of the first byte in the file, from 1 and from 0.

    Raises:
        BadRow: not UTF-8, or bytes that no text has.
    """
    if b"\0" in raw:
        at = raw.index(b"\0")
        place = f"{name}:{line + raw.count(10, 0, at)}"
        raise BadRow("NUL byte", f"{place}: byte {offset + at} is NUL, so this is no UTF-8 text (UTF-16, or damaged).")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
        place = f"{name}:{line + raw.count(10, 0, at)}"
        raise BadRow(
            "not UTF-8", f"{place}: byte {offset + at} (0x{raw[at]:02x}) is not UTF-8; save the file as UTF-8 text."
        ) from None
