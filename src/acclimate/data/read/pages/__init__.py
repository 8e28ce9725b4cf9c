"""Files made for people to look at, as text: HTML, PDF and Word. The libraries are those of the extra ``documents``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, BinaryIO

from acclimate.data.read.records import BadRow, RecordSchema
from acclimate.data.read.rows import Row, check_whole
from acclimate.types.errors import reason

EXTRA = "`pip install 'acclimate[documents]'`"
LIBRARIES: Mapping[str, tuple[str, str]] = {
    ".html": ("trafilatura", "trafilatura"), ".htm": ("trafilatura", "trafilatura"), ".pdf": ("pypdf", "pypdf"),
    ".docx": ("docx", "python-docx"),
}  # fmt: skip
"""File extension -> the module that reads it, and the package that has it."""
MODULES = {".html": "web", ".htm": "web", ".pdf": "pdf", ".docx": "word"}


@cache
def lacks(extension: str) -> bool:
    """Whether the library that reads such files is not installed."""
    return extension in LIBRARIES and importlib.util.find_spec(LIBRARIES[extension][0]) is None


def library(extension: str) -> str:
    """Whose text it is, ``pypdf 6.1.0``: another version may read another text."""
    package = LIBRARIES[extension][1]
    return f"{package} {importlib.metadata.version(package)}"


def page_text(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """The text of a file is one row.

    A file that holds no text, is damaged or locked is a bad row: one of a thousand need not end a run.
    """
    check_whole(schema, name)
    if start > 0:
        return
    extension = next(known for known in LIBRARIES if f"{known}." in f"{name.lower()}.")
    value: Mapping[str, Any] | BadRow
    try:
        text = import_module(f"{__name__}.{MODULES[extension]}").text_of(stream.read()).strip()
    except Exception as error:  # each library has its own
        value = BadRow("damaged file", f"{name} cannot be read as a {extension} file: {reason(error)}.")
    else:
        why = " Pages that are pictures are read by OCR, such as ocrmypdf." if extension == ".pdf" else ""
        value = {schema.fields.get("text", ("text",))[0]: text} if text else _nothing(name, why)
    yield Row(0, name, value)


def _nothing(name: str, why: str) -> BadRow:
    return BadRow("no text", f"{name}: no text is in it.{why}")
