"""Arrays in the cache folder: appended while a corpus is read, published whole, memory-mapped afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from acclimate.disk.files import hold, sweep
from acclimate.types.errors import ConfigError, reason

FORMAT_VERSION = 4
FACTS = "facts.json"
LEFT = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}(?P<locked>\.partial)?(\.broken)?")
DAY = 24 * 60 * 60.0


def key_of(settings: Any) -> str:
    """sha256 of JSON-serialisable settings and of the format they are stored in."""
    return hashlib.sha256(json.dumps([FORMAT_VERSION, settings], sort_keys=True).encode()).hexdigest()


class Writer:
    """Appends to the arrays of one folder; memory holds no more than is given at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._dtypes: dict[str, str] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Adds to the end of the array ``name``."""
        with _writing(self.folder):
            if name not in self._files:
                self._files[name] = (self.folder / f"{name}.bin").open("wb")
                self._dtypes[name] = values.dtype.str
            assert self._dtypes[name] == values.dtype.str
            self._files[name].write(values.tobytes())

    def close(self, facts: Mapping[str, Any]) -> None:
        with _writing(self.folder):
            for file in self._files.values():
                file.close()
            arrays = {
                name: [dtype, (self.folder / f"{name}.bin").stat().st_size] for name, dtype in self._dtypes.items()
            }
            (self.folder / FACTS).write_text(json.dumps({"arrays": arrays, "facts": facts}), encoding="utf-8")

    def abandon(self) -> None:
        for file in self._files.values():
            file.close()


@dataclass(frozen=True)
class Stored:
    """Arrays of one folder, mapped, and the JSON facts beside them."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


def stored(cache_dir: str | Path, kind: str, key: str, fill: Callable[[Writer], Mapping[str, Any]]) -> Stored:
    """Maps ``cache_dir/kind/key``, or has it written first.

    Args:
        fill: appends the arrays and returns the facts.

    Raises:
        ConfigError: the cache cannot be written.
    """
    folder = Path(os.path.expanduser(cache_dir)) / kind / key
    if (found := _map(folder)) is None:
        _write(folder, fill)
        found = _map(folder)
        assert found is not None
    return found


def is_stored(cache_dir: str | Path, kind: str, key: str) -> bool:
    """Whether :func:`stored` would find it."""
    return _map(Path(os.path.expanduser(cache_dir)) / kind / key) is not None


def _write(folder: Path, fill: Callable[[Writer], Mapping[str, Any]]) -> None:
    """Fills a sibling folder and renames it, so that nobody ever sees half of it."""
    sweep(_left(folder.parent))
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    with _writing(temporary):
        temporary.mkdir(parents=True)
        handle = os.open(temporary, os.O_RDONLY)
    writer = Writer(temporary)
    try:
        if not hold(handle):  # another process's sweep was between the two calls
            _write(folder, fill)
            return
        writer.close(fill(writer))
        with _writing(temporary):
            _publish(temporary, folder)
    finally:
        writer.abandon()
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _left(kind: Path) -> Iterator[Path]:
    """What a killed process left of arrays; of versions that held no lock only what is a day old."""
    for path in kind.glob(".*"):
        with suppress(FileNotFoundError):  # its writer is done with it
            if (found := LEFT.fullmatch(path.name)) and (found["locked"] or time.time() - path.stat().st_mtime > DAY):
                yield path


def _publish(temporary: Path, folder: Path) -> None:
    """Renames ``temporary`` to ``folder``. Another process may have been faster: its result is the same."""
    if folder.exists() and _map(folder) is None:
        broken = folder.with_name(f"{temporary.name}.broken")
        os.replace(folder, broken)
        shutil.rmtree(broken, ignore_errors=True)
    for path in (*temporary.iterdir(), temporary):  # sizes alone would not show what a power cut leaves
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    try:
        os.replace(temporary, folder)
    except OSError:
        if _map(folder) is None:
            raise


def _map(folder: Path) -> Stored | None:
    """The folder's contents if it is whole: the files' sizes must agree with their own description."""
    try:
        described = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays = {}
        for name, (dtype, size) in described["arrays"].items():
            path = folder / f"{name}.bin"
            if path.stat().st_size != size:
                return None
            # An empty file cannot be mapped.
            arrays[name] = np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype=dtype)
        return Stored(arrays, described["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"data.cache_dir: '{folder.parent.parent}' cannot be written ({error.strerror or reason(error)}); "
            "set it to a folder you can write to."
        ) from None


@dataclass(frozen=True)
class Strings(Sequence[str]):
    """Texts in one array of bytes, or a choice of them."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]  # [all] bytes before the end of each
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ends) if self.chosen is None else len(self.chosen)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        at = range(len(self))[i]
        at = at if self.chosen is None else int(self.chosen[at])
        return bytes(self.text[(self.ends[at - 1] if at else 0) : self.ends[at]]).decode()

    def take(self, indices: NDArray[np.int64]) -> Strings:
        return Strings(self.text, self.ends, indices if self.chosen is None else self.chosen[indices])
