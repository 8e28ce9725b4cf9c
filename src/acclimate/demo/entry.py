"""One entry of the demo cache: a file or folder that is complete and matches its manifest, or is made again.

The manifest lies beside the entry (``NAME.manifest.json``). It holds the *identity* (everything the
content depends on: versions, digests of the inputs, settings) and size and sha256 of every file. It
is removed before the content changes and written after, so an interrupted run leaves an entry that
does not count, never one that is half there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from acclimate.types.errors import AcclimateError, reason

Identity = Mapping[str, Any]
"""What the content of an entry depends on; must survive a round trip through JSON."""


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        state = hashlib.sha256()
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.manifest.json")


def is_current(path: Path, identity: Identity, *, verify: bool = False) -> bool:
    """True if the entry was built from ``identity`` and its files are still as recorded.

    Sizes are compared always (half a millisecond), sha256 only with ``verify``: hashing the 0.5 GB
    model on every start would cost more than it protects from.
    """
    manifest = _read(path)
    if manifest is None or manifest["identity"] != json.loads(json.dumps(dict(identity))):
        return False
    return _matches(path, manifest["files"], verify)


def digests(path: Path) -> dict[str, str]:
    """sha256 of every file of the entry: as recorded if the sizes still match, computed otherwise."""
    manifest = _read(path)
    if manifest is not None and _matches(path, manifest["files"], verify=False):
        return {name: entry["sha256"] for name, entry in manifest["files"].items()}
    return {name: entry["sha256"] for name, entry in _describe(path).items()}


@contextmanager
def building(path: Path, identity: Identity, note: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; what is there at the end becomes the entry.

    On an exception (Ctrl-C too) everything written is removed. Of two processes that build the same
    entry, the second to finish discards its copy: the first may already be reading its own.

    ``note`` is kept in the manifest for the reader and is not compared: what was found out on the way.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AcclimateError(f"The cache folder {path.parent} cannot be made: {reason(error)}.") from error
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        if is_current(path, identity, verify=True):
            return
        files = _describe(partial)
        manifest_path(path).unlink(missing_ok=True)
        _replace(partial, path)
        text = json.dumps({"identity": dict(identity), "note": dict(note or {}), "files": files}, indent=1)
        waiting = partial.with_suffix(".json")
        waiting.write_text(text, encoding="utf-8")
        os.replace(waiting, manifest_path(path))
    finally:
        _remove(partial)


def _replace(source: Path, target: Path) -> None:
    """``os.replace`` that also replaces a folder which is not empty: the old one is moved aside first."""
    aside = source.with_suffix(".old")
    for _ in range(3):
        if target.is_dir():
            with suppress(FileNotFoundError):  # another process moved it first
                os.replace(target, aside)
            _remove(aside)
        try:
            os.replace(source, target)
            return
        except OSError:
            if not target.is_dir():
                raise
            # Another process put its copy there between the two moves: once more.
    raise AcclimateError(f"Several processes are writing {target} at the same time. Run one of them again.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _describe(path: Path) -> dict[str, dict[str, Any]]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {_name(path, file): {"size": file.stat().st_size, "sha256": sha256(file)} for file in files}


def _name(path: Path, file: Path) -> str:
    """Name of a file within its entry. An entry that is one file names it ``.``: ``path / "."`` is the path."""
    return file.relative_to(path).as_posix()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        if isinstance(manifest["identity"], dict) and isinstance(manifest["files"], dict):
            return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: both mean that the entry has to be built
    return None


def _matches(path: Path, files: Mapping[str, Mapping[str, Any]], verify: bool) -> bool:
    for name, recorded in files.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != recorded["size"]:
            return False
        if verify and sha256(file) != recorded["sha256"]:
            return False
    return bool(files)
