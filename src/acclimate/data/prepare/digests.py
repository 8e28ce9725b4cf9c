"""Contents of files as sha256. A file that is certainly the same as when it was read last is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from acclimate.data.prepare.store import key_of

BLOCK = 1 << 20
RACY_NS = 2_000_000_000
"""Time stamps of a file system stand still for up to 2 s (FAT; ext4 some milliseconds): a file that changed so shortly
before it was read may change again without a newer stamp."""


class Digests:
    """Digests of files, remembered in ``cache_dir/digests``.

    Size and time of change prove nothing: ``rsync -t``, ``cp -p``, ``tar`` and ``touch -d`` set that time. A file is
    known again by path, device, inode, size and time, and by the change of its inode (ctime). Writing, replacing and
    setting times all move that one, and no call sets it. Windows keeps the time of creation under this name, so every
    file is read there.

    Args:
        cache_dir: None remembers nothing.
    """

    def __init__(self, cache_dir: str | None) -> None:
        known = cache_dir is not None and os.name == "posix"
        self._folder = Path(os.path.expanduser(str(cache_dir))) / "digests" if known else None

    def of(self, path: str) -> str:
        """sha256 of a file's bytes.

        Raises:
            OSError: it cannot be read.
        """
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())  # of an open file: network file systems look again then
            stamp = [os.path.abspath(path), before.st_dev, before.st_ino, before.st_size]
            remembered = (
                self._folder / key_of([*stamp, before.st_mtime_ns, before.st_ctime_ns]) if self._folder else None
            )
            if remembered is not None and (found := _recalled(remembered)):
                return found
            begun = time.time_ns()
            digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
            while size := file.readinto(block):
                digest.update(block[:size])
            after = os.fstat(file.fileno())
        unchanged = (before.st_ctime_ns, before.st_size) == (after.st_ctime_ns, after.st_size)
        if remembered is not None and unchanged and 0 < before.st_ctime_ns < begun - RACY_NS:
            _remember(remembered, digest.hexdigest())
        return digest.hexdigest()


def identity_of(path: str, digests: Digests | None) -> list[int] | list[str]:
    """The digest of a file, or its size and time.

    Raises:
        OSError: it cannot be read.
    """
    if digests is not None:
        return [digests.of(path)]
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]


def _recalled(place: Path) -> str | None:
    try:
        found = place.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return found if len(found) == 64 else None


def _remember(place: Path, digest: str) -> None:
    """Best effort: without it the file is read once more."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(digest, encoding="ascii")
        os.replace(temporary, place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
