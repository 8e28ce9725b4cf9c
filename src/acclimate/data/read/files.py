"""Which files a source's paths name, on this machine or behind a URL, and how each is opened."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.digests import Digests, identity_of
from acclimate.data.read import pages
from acclimate.data.read.arrays import json_values
from acclimate.data.read.hub import HubDataset, SavedDataset, is_saved_dataset
from acclimate.data.read.records import BadRow, RecordSchema
from acclimate.data.read.rows import (
    Row,
    comma_separated,
    json_lines,
    parquet,
    plain_text,
    printable,
    reason,
    tab_separated,
)
from acclimate.types.errors import ConfigError, DataError, listed, nearest

FORMATS: Mapping[str, Callable[[BinaryIO, str, RecordSchema, int], Iterator[Row]]] = {
    ".txt": plain_text,
    ".md": plain_text,
    ".jsonl": json_lines,
    ".json": json_values,
    ".csv": comma_separated,
    ".tsv": tab_separated,
    ".parquet": parquet,
    **dict.fromkeys(pages.FORMATS, pages.page_text),
}
"""File extension -> its rows from the given number on."""
WHOLE = {"txt", "md", *(extension.removeprefix(".") for extension in pages.FORMATS)}
"""Kinds of files that are one document each."""
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
EXTENSIONS = tuple(FORMATS)
ACCEPTED = f"{listed(EXTENSIONS)}, all but .parquet also with {listed(COMPRESSIONS)}"
JSON = tuple(f".json{end}" for end in ("", *COMPRESSIONS))
UNSUPPORTED = "unsupported file type"
"""What files of other types are counted under, with their extension."""
KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


KNOWN_OF_REMOTE = (
    "size", "ETag", "etag", "md5Hash", "Content-MD5", "generation", "mtime", "LastModified", "Last-Modified",
    "last_modified", "modify", "modificationTime", "created", "sha", "blob_id", "xet_hash",
)  # fmt: skip
"""What filesystems call size, time and content of a file."""


class Table(Protocol):
    """Rows in a fixed order: a file, or a dataset."""

    name: str
    kind: str
    """Of its file: ``csv``; nothing of a dataset. ``fields`` may be given by it."""
    settings: tuple[str, ...]
    """Keys of the source's section that only some kinds of tables heed, and this one does."""

    def rows(self, schema: RecordSchema, start: int) -> Iterator[Row]: ...

    def identity(self, digests: Digests | None) -> list[Any]:
        """What changes when the rows do. Files on this machine: their contents; without ``digests`` size and time."""
        ...


class File:
    """A file on this machine."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: str) -> None:
        self.path = path
        self.name, self.kind = printable(path), _format(path).removeprefix(".")
        self.settings: tuple[str, ...] = () if self.kind in WHOLE else ("fields",)

    def rows(self, schema: RecordSchema, start: int) -> Iterator[Row]:
        try:
            with self.open() as stream, _decompressed(stream, self.path) as content:
                yield from FORMATS[_format(self.path)](content, self.name, schema, start)
        except DataError:
            raise
        except self.errors as error:
            raise DataError(f"{self.name} cannot be read: {reason(error)}.") from None

    def has_records(self, schema: RecordSchema) -> bool:
        """Whether its first row is one: a .json file may be anything."""
        try:
            row = next(iter(self.rows(schema, 0)), None)
            return row is not None and not isinstance(row.value, BadRow) and bool(schema.columns(row.value, row.where))
        except DataError:
            return False

    def _read_by(self) -> list[str]:
        """The library whose text it is, where it is one's."""
        return [pages.extractor(f".{self.kind}")] if f".{self.kind}" in pages.FORMATS else []

    def open(self) -> BinaryIO:
        return open(self.path, "rb")

    def identity(self, digests: Digests | None) -> list[Any]:
        try:
            return [self.name, *identity_of(self.path, digests), *self._read_by()]
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {reason(error)}.") from None


class RemoteFile(File):
    """A file behind a URL, through fsspec."""

    errors = (Exception,)  # each driver has its own

    def __init__(self, filesystem: Any, path: str) -> None:
        super().__init__(path)
        self._filesystem = filesystem
        self.name = str(filesystem.unstrip_protocol(path))

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self._filesystem.open(self.path, "rb"))

    def identity(self, digests: Digests | None) -> list[Any]:
        try:
            self._filesystem.invalidate_cache()
            found = self._filesystem.info(self.path)
        except Exception as error:
            raise DataError(f"{self.name} cannot be read: {reason(error)}.") from None
        known = (f"{key}={found[key]}" for key in KNOWN_OF_REMOTE if key in found)
        return [self.name, *known, *self._read_by()]


def find_tables(source: str, section: SourceSection, dropped: Counter[str]) -> list[Table]:
    """Every table once, in the order the paths are given; inside a folder or glob sorted by name.

    Args:
        dropped: gets the files that cannot be read, by reason.

    Raises:
        DataError: a path that matches nothing, a folder that cannot be listed.
        ConfigError: a setting that none of the tables heeds.
    """
    found: dict[str, Table] = {}
    for given in section.paths:
        if section.is_hub_id(given):
            tables: list[Table] = [HubDataset(given, source, section)]
        elif "://" in given and not given.startswith("file://"):
            tables = list(_behind(given, source, section, dropped))
        else:
            tables = list(_local(given.removeprefix("file://"), source, section, dropped))
        found.update({table.name: table for table in tables})
    for key in ("split", "subset", "revision", "fields") if found else ():
        if getattr(section, key) is not None and not any(key in table.settings for table in found.values()):
            raise ConfigError(f"sources.{source}.{key} has no effect on {shown_paths(section)}; leave it out.")
    there = list(dict.fromkeys(table.kind for table in found.values()))
    for kind in section.fields_by_kind if found else ():
        if kind not in there:
            raise ConfigError(
                f"sources.{source}.fields.{kind} has no effect on {shown_paths(section)}, which has no .{kind} file; "
                "leave it out."
            )
    return list(found.values())


def shown_paths(section: SourceSection) -> str:
    return ", ".join(f"'{path}'" for path in section.paths)


def _format(path: str) -> str:
    """``.jsonl`` of ``a.jsonl`` and ``a.jsonl.gz``; what is not accepted as it is."""
    base, extension = os.path.splitext(printable(path).lower())
    inner = os.path.splitext(base)[1]
    return inner if extension in COMPRESSIONS and inner in EXTENSIONS and inner != ".parquet" else extension


@contextmanager
def _decompressed(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    compression = COMPRESSIONS.get(os.path.splitext(path.lower())[1])
    if compression is None:
        yield stream
        return
    # pyarrow and not zstandard, whose reader ends without a word where a file is cut off
    import io

    import pyarrow

    content = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), compression)
    yield io.BufferedReader(content, 1 << 20)


def _local(given: str, source: str, section: SourceSection, dropped: Counter[str]) -> Iterator[Table]:
    path = os.path.expanduser(given)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        mode = None
    except OSError as error:
        raise DataError(f"sources.{source}.path: '{given}' cannot be read: {reason(error)}.") from None
    if mode is not None and stat.S_ISDIR(mode):
        yield from _inside([path], source, section, dropped, asked=False)
    elif mode is not None and stat.S_ISREG(mode):
        _check_extension(given, source)
        yield File(path)
    elif mode is not None:
        kind = KINDS.get(stat.S_IFMT(mode), "no file")
        raise DataError(f"sources.{source}.path: '{given}' is {kind}; a source is read again, so give a file.")
    elif os.path.islink(path):
        raise DataError(f"sources.{source}.path: '{given}' is a link to '{os.readlink(path)}', which does not exist.")
    elif matches := _matches(path, source):
        yield from _inside(matches, source, section, dropped, asked=given.endswith(JSON))
    else:
        at = "" if os.path.isabs(path) else f" (looked from {Path.cwd()})"
        hub = f"; if it is a hub id, name its sources.{source}.split" if section.may_be_hub_id(given) else ""
        raise DataError(f"sources.{source}.path: '{given}' matches no file or folder{at}{hub}.")


def _matches(pattern: str, source: str) -> list[str]:
    """As :func:`glob.glob`, which passes over folders that it cannot list, and follows links in circles."""
    anchor, *parts = Path(pattern).parts if os.path.isabs(pattern) else ("", *Path(pattern).parts)
    found = [anchor]
    for part in parts:
        if part == "**":
            found = [
                folder for start in found if os.path.isdir(start or os.curdir) for folder in _folders(start, source)
            ]
        elif glob.has_magic(part):
            found = [
                os.path.join(folder, name)
                for folder in found
                if os.path.isdir(folder or os.curdir)
                for name in sorted(fnmatch.filter(_listed(folder or os.curdir, source), part))
                if not name.startswith(".") or part.startswith(".")
            ]
        else:
            found = [path for folder in found if os.path.lexists(path := os.path.join(folder, part))]
    return found


def _folders(start: str, source: str) -> Iterator[str]:
    """The folder and all below it; as for :func:`glob.glob` without hidden ones, and links are not followed."""
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        yield folder
        for name in sorted(_listed(folder or os.curdir, source), reverse=True):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isdir(path) and not os.path.islink(path):
                waiting.append(path)


def _listed(folder: str, source: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise DataError(f"sources.{source}.path: '{printable(folder)}' cannot be listed: {reason(error)}.") from None


def _inside(
    paths: list[str], source: str, section: SourceSection, dropped: Counter[str], asked: bool
) -> Iterator[Table]:
    """The tables among these paths and in folders among them. Links are followed, but a folder is read once.

    Args:
        asked: whether .json files are asked for by name.
    """
    waiting, seen = paths[::-1], set()
    while waiting:
        path = waiting.pop()
        try:
            found = os.stat(path)
        except OSError as error:
            if not os.path.islink(path):
                raise DataError(f"{printable(path)} cannot be read: {reason(error)}.") from None
            dropped["broken link"] += 1
            continue
        if stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                names = sorted(_listed(path, source), reverse=True)
                if is_saved_dataset(path):
                    yield SavedDataset(path, source, section)
                else:
                    waiting += [os.path.join(path, name) for name in names]
        elif not stat.S_ISREG(found.st_mode):
            dropped[KINDS.get(stat.S_IFMT(found.st_mode), "no file")] += 1
        elif (file := _readable(File(path), source, section, asked)) is not None:
            yield file
        else:
            dropped[f"{UNSUPPORTED} {_format(path) or '(none)'}"] += 1


def _readable(file: File, source: str, section: SourceSection, asked: bool) -> File | None:
    """The file, if it is of a kind that is read; a .json file that nobody asked for is, if it holds records."""
    if file.kind == "json" and not asked:
        return file if file.has_records(RecordSchema(source, section).of_kind(file.kind)) else None
    return file if f".{file.kind}" in EXTENSIONS and not pages.lacks(f".{file.kind}") else None


def _check_extension(given: str, source: str) -> None:
    extension = _format(given)
    if extension not in EXTENSIONS:
        raise DataError(
            f"sources.{source}.path: '{given}' is a file of type '{extension or '(none)'}'; "
            f"accepted: {ACCEPTED}.{nearest(extension, EXTENSIONS)}"
        )
    if pages.lacks(extension):
        raise DataError(
            f"sources.{source}.path: '{given}' is read by {pages.FORMATS[extension].package}, which is not installed; "
            f"{pages.EXTRA} brings it."
        )


def _behind(given: str, source: str, section: SourceSection, dropped: Counter[str]) -> Iterator[Table]:
    """The files that a URL names: one, all below a folder, or all that match a pattern."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(given)
        if glob.has_magic(path):
            paths = sorted(filesystem.glob(path))
        elif _format(path) not in EXTENSIONS and filesystem.isdir(path):
            paths = sorted(filesystem.find(path))
        else:
            paths = [path] if filesystem.exists(path) else []
    except ImportError as error:
        raise DataError(
            f"sources.{source}.path: '{given}' needs a package that is not installed: {reason(error)}."
        ) from None
    except Exception as error:  # each driver has its own
        raise DataError(f"sources.{source}.path: '{given}' cannot be reached: {reason(error)}.") from None
    if not paths:
        raise DataError(f"sources.{source}.path: there is nothing at '{given}'.")
    if paths == [path]:
        _check_extension(given, source)
    for path in paths:
        if (file := _readable(RemoteFile(filesystem, path), source, section, given.endswith(JSON))) is not None:
            yield file
        else:
            dropped[f"{UNSUPPORTED} {_format(path) or '(none)'}"] += 1
