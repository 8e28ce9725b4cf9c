"""Whether all ranks see one folder, before anything relies on it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from acclimate.disk.files import unwritable
from acclimate.parallel.world import World
from acclimate.types.errors import RunError, listed

SEEN_WITHIN = 60.0
"""Seconds for a file to appear on another machine: NFS may believe a listing for as long [second-hand: nfs(5),
acdirmax]."""


def check_shared(folder: Path, key: str, world: World, within: float = SEEN_WITHIN) -> None:
    """Rank 0 leaves a file in ``folder``, and all look for it. A collective.

    Args:
        key: of the configuration, by which a user names the folder.
        within: seconds that it may take to be seen.

    Raises:
        RunError: a rank does not see it; the sentence names rank and machine.
    """
    if world.size == 1:
        return
    name = world.agree(f".seen.{uuid.uuid4().hex}.partial")  # swept with others of its kind, if this process is killed
    with world.all_or_none():
        if world.is_main:
            try:
                (folder / name).touch()
            except OSError as error:
                raise unwritable(folder / name, error) from error
    found = world.gather((socket.gethostname(), _sees(folder, name, within)))
    if world.is_main:
        with suppress(OSError):
            (folder / name).unlink()
    blind = [f"rank {rank} on {host}" for rank, (host, sees) in enumerate(found) if not sees]
    with world.all_or_none():
        if blind and world.is_main:
            more = [f"{len(blind) - 3} more"] if len(blind) > 3 else []
            raise RunError(
                f"{key}: '{folder.absolute()}' is not one folder for all processes: what rank 0 on {found[0][0]} "
                f"writes there is not seen by {listed([*blind[:3], *more]).replace(' or ', ' and ')}. Give a folder of "
                "a file system that all machines mount at the same path."
            )


def _sees(folder: Path, name: str, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        with suppress(OSError):
            if name in os.listdir(
                folder
            ):  # a listing is asked for anew where a single name may be remembered as absent
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(1.0, within / 10))
