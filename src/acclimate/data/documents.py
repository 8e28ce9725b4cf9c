"""Files become documents. What is dropped is counted, with the reason; what is wrong is a sentence with its place."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.data.records import Document, Part, parse_record
from acclimate.errors import DataError, listed, nearest
from acclimate.schema import SourceSection

__all__ = ["EXTENSIONS", "Cursor", "Document", "Part", "Reader", "read_documents"]

EXTENSIONS = (".txt", ".md", ".jsonl")
BOM = "\ufeff"


@dataclass(frozen=True)
class Cursor:
    """Where to read on: a file of the source and a record in it, both counted from 0."""

    file: int = 0
    record: int = 0


class Reader:
    """Reads one source lazily, in a fixed order: memory holds a record, not a corpus.

    Args:
        name: the source's name in the configuration.
        section: its section; ``path`` is a file, a folder (read recursively), a glob, or a list of them.

    Raises:
        DataError: a path that matches nothing.
    """

    def __init__(self, name: str, section: SourceSection) -> None:
        self.name, self.section = name, section
        self.dropped: Counter[str] = Counter()
        """Records or files dropped so far, by reason."""
        self.files: list[Path] = []
        for file in _files(name, section):
            extension = file.suffix.lower()
            if extension in EXTENSIONS:
                self.files.append(file)
            else:
                self.dropped[f"unsupported file type {extension or '(none)'}"] += 1

    def identity(self) -> list[Any]:
        """What decides the documents, without reading them; JSON."""
        facts = [(file, file.stat()) for file in self.files]
        return [self.section.format, *([str(file), stat.st_size, stat.st_mtime_ns] for file, stat in facts)]

    def read(self, start: Cursor = Cursor()) -> Iterator[tuple[Document, Cursor]]:
        """Every document from ``start`` on, with the place where reading goes on after it.

        Raises:
            DataError: a file or record that cannot be read.
        """
        for index in range(start.file, len(self.files)):
            file = self.files[index]
            read = _records if file.suffix.lower() == ".jsonl" else _plain
            for number, document in enumerate(read(file, self.name, self.section)):
                if index == start.file and number < start.record:
                    continue
                if document is None:
                    self.dropped["empty"] += 1
                else:
                    yield document, Cursor(index, number + 1)


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
            f"sources.{name}.path: there is no document in {_shown(section)} "
            f"({files} file{'' if files == 1 else 's'} read, dropped: {reasons})."
        )
    return documents, reader.dropped


def _shown(section: SourceSection) -> str:
    paths = [section.path] if isinstance(section.path, str) else section.path
    return ", ".join(f"'{path}'" for path in paths)


def _files(name: str, section: SourceSection) -> list[Path]:
    """Every file once, in the order the paths are given; inside a folder or glob sorted by name."""
    found: dict[Path, None] = {}
    for given in [section.path] if isinstance(section.path, str) else section.path:
        path = Path(os.path.expanduser(given))
        if path.is_file():
            if path.suffix.lower() not in EXTENSIONS:
                raise DataError(
                    f"sources.{name}.path: '{given}' is a file of type '{path.suffix or '(none)'}'; "
                    f"accepted: {listed(EXTENSIONS)}.{nearest(path.suffix, EXTENSIONS)}"
                )
            matches = [path]
        elif path.is_dir():
            matches = _inside(path)
        else:
            matches = []
            for match in sorted(glob.glob(str(path), recursive=True)):
                matches += _inside(Path(match)) if Path(match).is_dir() else [Path(match)]
            if not matches:
                at = "" if path.is_absolute() else f" (looked from {Path.cwd()})"
                raise DataError(f"sources.{name}.path: '{given}' matches no file or folder{at}.")
        found.update(dict.fromkeys(matches))
    return list(found)


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _plain(file: Path, name: str, section: SourceSection) -> Iterator[Document | None]:
    """One document a file."""
    if section.format not in ("auto", "text"):
        raise DataError(
            f"{file}: sources.{name}.format is '{section.format}', but a {file.suffix} file is plain text; "
            "give records in a .jsonl file."
        )
    text = _decode(_bytes(file), file, 0).removeprefix(BOM).replace("\r\n", "\n")
    yield Document(name, str(file), (Part("text", text),), templated=False) if text.strip() else None


def _records(file: Path, name: str, section: SourceSection) -> Iterator[Document | None]:
    """One document a line; blank lines are skipped."""
    offset = 0
    try:
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                line = _decode(raw.removesuffix(b"\n"), file, offset)
                offset += len(raw)
                if number == 1:
                    line = line.removeprefix(BOM)
                if line.strip():
                    yield parse_record(line, name, f"{file}:{number}", section.format)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from None


def _decode(raw: bytes, file: Path, offset: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise DataError(
            f"{file}: byte {at} (0x{raw[error.start]:02x}) is not UTF-8; save the file as UTF-8 text."
        ) from None
