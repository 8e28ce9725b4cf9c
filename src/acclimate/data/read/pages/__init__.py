"""Files made for people to look at, as text: HTML, PDF and Word. Their libraries are the extra ``documents``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, BinaryIO, NamedTuple

from acclimate.data.read.pages import pdf, web, word
from acclimate.data.read.records import BadRow, RecordSchema
from acclimate.data.read.rows import Row, check_whole
from acclimate.types.errors import reason

EXTRA = "`pip install 'acclimate[documents]'`"


class Format(NamedTuple):
    """How files of one kind become text, and whose work that is."""

    text_of: Callable[[bytes], str]
    module: str
    package: str
    empty: str = ""
    """What to do about a file without text."""


HTML = Format(web.text_of, "inscriptis", "inscriptis")
OCR = " Pages that are pictures take a program that reads them, such as ocrmypdf."
FORMATS: Mapping[str, Format] = {
    ".html": HTML,
    ".htm": HTML,
    ".pdf": Format(pdf.text_of, "pypdf", "pypdf", OCR),
    ".docx": Format(word.text_of, "docx", "python-docx"),
}
"""By file extension."""


@cache
def lacks(extension: str) -> bool:
    """Whether such files are read by a library that is not installed."""
    return extension in FORMATS and importlib.util.find_spec(FORMATS[extension].module) is None


def extractor(extension: str) -> str:
    """``pypdf 7.1.1``: another version may read another text."""
    package = FORMATS[extension].package
    return f"{package} {importlib.metadata.version(package)}"


def page_text(stream: BinaryIO, name: str, schema: RecordSchema, start: int) -> Iterator[Row]:
    """The text of a file is one row. A file without text, or one that is damaged or locked, is a bad row."""
    check_whole(schema, name)
    if start > 0:
        return
    extension = next(part for part in _extensions(name) if part in FORMATS)
    value: Mapping[str, Any] | BadRow
    try:
        text = FORMATS[extension].text_of(stream.read()).strip()
    except Exception as error:  # each library has its own
        value = BadRow("damaged file", f"{name} cannot be read as a {extension} file: {reason(error)}.")
    else:
        value = {schema.fields.get("text", ("text",))[0]: text}
        if not text:
            value = BadRow("no text", f"{name}: there is no text in it.{FORMATS[extension].empty}")
    yield Row(0, name, value)


def _extensions(name: str) -> Iterator[str]:
    """From the last on: ``.gz`` and ``.html`` of ``a.html.gz``."""
    base, extension = os.path.splitext(name.lower())
    while extension:
        yield extension
        base, extension = os.path.splitext(base)
