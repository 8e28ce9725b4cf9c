"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acclimate.types.errors import RunError, reason

LEFT = re.compile(r"\..+\.[0-9a-f]{32}\.(partial|removed)")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text to ``path``, atomically: a reader sees the old file or the new one.

    A link that stands at ``path`` is replaced, not followed: a run folder from elsewhere cannot point a writer outside.

    Raises:
        RunError: it cannot be written; what stood at ``path`` is unharmed.
    """
    partial = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("x", encoding="utf-8", newline="\n") as stream:
            swept = not hold(stream.fileno())
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())  # a full disk may say so only now
            if not swept:
                os.replace(partial, path)
        if swept:
            write_text(path, text)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def hold(handle: int) -> bool:
    """Locks an open file or folder that is being written, against :func:`sweep`, until ``handle`` is closed.

    Returns:
        False where a sweeper was faster: what is written there has no name any more.
    """
    with suppress(OSError):  # a file system without locks, where nothing is swept either
        fcntl.flock(handle, fcntl.LOCK_EX)
    return os.fstat(handle).st_nlink > 0


def sweep(paths: Iterable[Path]) -> None:
    """Removes files and folders that a process left half written when it was killed; not those of a living one."""
    for path in paths:
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(handle)


def writable(folder: Path) -> bool:
    """Whether files can be made in ``folder``, or where it would be made. Permissions do not tell: root may write
    everywhere, and yet nowhere below /proc or on a disk that is mounted read-only."""
    folder = folder.expanduser().absolute()
    place = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    try:
        tempfile.TemporaryDirectory(dir=place, prefix=".acclimate-").cleanup()
    except OSError:
        return False
    return True


def leftovers(folder: Path) -> list[Path]:
    """What :func:`write_text` and :func:`discard` may have left in a folder and below."""
    return [path for path in folder.rglob(".*") if LEFT.fullmatch(path.name)]


def discard(folder: Path) -> OSError | None:
    """Takes a folder out of sight, then away. What does not go (a network file system, a reader) is left to
    :func:`sweep`, and returned."""
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.removed")
    try:
        folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        return error
    return None


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Holds the lock file ``path`` among the processes of this machine; it is free when its holder ends, however.
    Yields False where another one holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    except OSError as error:
        raise unwritable(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def sync(path: Path) -> None:
    """To the disk: a file's contents, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: Exception) -> RunError:
    """What to tell a user whose disk is full, or whose folder is closed."""
    why = (error.strerror if isinstance(error, OSError) else None) or reason(error)
    return RunError(
        f"'{path}' cannot be written ({why}); what was saved before is unharmed. Make room or give another place, "
        "then run the command again, `acclimate train` with --resume."
    )
