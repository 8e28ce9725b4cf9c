"""The rows of a .json file: an array of records, read one after the other, in the memory of one record."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from acclimate.data.read.records import BadRow, RecordSchema
from acclimate.data.read.rows import LONGEST_CELL, Row, refuse_other_encodings
from acclimate.data.read.values import kind, refuse_half_surrogates
from acclimate.types.errors import DataError, reason

BLOCK = 1 << 20
MARGIN = 16
"""Characters before the end of what is read within which a fault may only be that the rest is not read yet: longer than
any literal or escape of JSON."""
BLANKS = re.compile(r"[ \t\n\r]*")


def json_values(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """An array of records; records one a line, as in .jsonl; an object that is one record or has one list of them; or a
    chat, an array of its messages."""
    text = _Text(stream, name)
    first = text.next_character()
    if first == "[":
        values = text.items()
    elif first == "{":
        value = text.value()
        if text.next_character():
            yield from _lines(value, text, name, start)
            return
        values = iter([value] if _is_record(value, schema) else _records_of(value))
    elif first:
        raise DataError(f"{name}: a .json file holds an array of records, or records one a line, not {first!r}.")
    else:
        return
    for number, value in enumerate(values):
        chat = [value, *values] if number == 0 and _is_message(value) else None
        if number >= start:
            where = f"{name}:row {number + 1}"
            yield Row(number, where, _record(chat or value, where, text))


def _lines(first: Any, text: _Text, name: str, start: int) -> Iterator[Row]:
    """Records one a line, as .jsonl has them."""
    number, value, line = 0, first, 1
    while True:
        if number >= start:
            where = f"{name}:{line}"
            yield Row(number, where, _record(value, where, text))
        if not text.next_character():
            return
        number, line = number + 1, text.line
        value = text.value()


def _is_message(value: Any) -> bool:
    """Whether an item is a turn of the one chat that the file is."""
    return isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


def _is_record(value: Mapping[str, Any], schema: RecordSchema) -> bool:
    try:
        return bool(schema.columns(value, ""))
    except BadRow:
        return False


def _records_of(value: Mapping[str, Any]) -> list[Any]:
    """The records of an object: of its one list of objects, as ``{"version": 1, "data": [...]}`` has it, or itself."""
    lists = [
        inner
        for inner in value.values()
        if isinstance(inner, list) and inner and all(isinstance(item, dict) for item in inner)
    ]
    return lists[0] if len(lists) == 1 else [value]


def _record(value: Any, where: str, text: _Text) -> Mapping[str, Any] | BadRow:
    if isinstance(value, list) and value and _is_message(value[0]):
        value = {"messages": value}
    if not isinstance(value, dict):
        return BadRow("not an object", f"{where}: a record is a JSON object; this item is {kind(value)}.")
    try:
        if text.escapes:
            refuse_half_surrogates(value, where)
    except BadRow as bad:
        return bad
    return value


class _Text:
    """JSON values of a stream of UTF-8, one after the other. ``line`` is where the next one begins, from 1."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._decoder, self._json = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder()
        self._text, self._at, self._bytes, self._ended = "", 0, 0, False
        self.line = 1
        self.escapes = False
        """Whether a value so far may escape half of a surrogate pair."""

    def next_character(self) -> str:
        """The next one that is no blank, which stays; nothing at the end."""
        while True:
            blanks = BLANKS.match(self._text, self._at)
            self._go_to(blanks.end() if blanks else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def items(self) -> Iterator[Any]:
        """Of the array that begins here, which is all that the file has.

        Raises:
            DataError: this is no array of JSON.
        """
        self._at += 1
        mark = self.next_character()
        while mark != "]":
            yield self.value()
            mark = self.next_character()
            if mark == ",":
                self._at += 1
                self.next_character()
            elif mark != "]":
                raise self._fault("a comma or ] is missing behind an item" if mark else "the array is not closed")
        self._at += 1
        if self.next_character():
            raise self._fault("more follows after the array")

    def value(self) -> Any:
        """The value that begins here.

        Raises:
            DataError: it is no JSON.
        """
        while True:
            try:
                found, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                fault = self._fault(error.msg, error.pos)
                torn = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - MARGIN
                if not torn or not self._read():
                    raise fault from None
            except RecursionError:
                raise self._fault("it is nested too deeply to be read") from None
            except ValueError as error:  # a number of more digits than Python reads
                raise self._fault(reason(error)) from None
            else:
                if end < len(self._text) or not self._read():  # a number may go on
                    self.escapes = self.escapes or "\\ud" in self._text[self._at : end].lower()
                    self._go_to(end)
                    return found

    def _go_to(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _read(self) -> bool:
        """Takes in as much as is there already, or a block, so that a long value is not parsed again and again."""
        if self._ended:
            return False
        if len(self._text) - self._at > LONGEST_CELL:
            raise self._fault("a record never ends")
        raw = self._stream.read(max(BLOCK, len(self._text) - self._at))
        if not self._bytes:
            refuse_other_encodings(raw, self._name)
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            at = self._bytes - pending + error.start
            byte = f"byte {at} (0x{error.object[error.start]:02x})"
            raise DataError(f"{self._name}: {byte} is not UTF-8; save the file as UTF-8 text.") from None
        self._ended = not raw
        if raw:
            self._text, self._at = self._text[self._at :] + text, 0
            self._bytes += len(raw)
        return not self._ended

    def _fault(self, what: str, at: int | None = None) -> DataError:
        line = self.line + self._text.count("\n", self._at, self._at if at is None else at)
        return DataError(f"{self._name}:{line}: this is not JSON: {what[0].lower()}{what[1:]}; mend the file.")
