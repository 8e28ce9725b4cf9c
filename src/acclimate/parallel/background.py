"""Folders that are written while the caller goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acclimate.parallel.parts import parts_written_here
from acclimate.parallel.saved import write_folder, write_parts
from acclimate.parallel.world import SAVING, World


class FolderWriter:
    """Writes one folder after the other as :func:`~acclimate.parallel.saved.write_folder` does, file by file the same.

    Behind the caller it copies the tensors, pinned where they come from a GPU, and writes in a thread. The copies' room
    is kept, since taking memory anew costs as much as the copy. The next call waits for the folder before, and raises
    what went wrong with it; so all ranks, which call alike, hear of it at the same place.

    Args:
        world: of all that write.
        behind: false has the caller wait, without a copy.
    """

    def __init__(self, world: World, behind: bool) -> None:
        self.world, self.behind = world, behind
        self._room: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def write(
        self,
        folder: Path,
        tensors: Mapping[str, Tensor],
        document: dict[str, Any],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Writes ``folder``, and calls ``then`` once it is there.

        Raises:
            RunError, PeerError: this folder, or behind the caller the one before, could not be written.
        """
        self.wait()
        if not self.behind:
            self.world.be_patient(SAVING)
            write_folder(folder, tensors, document, self.world)
            then()
            self.world.agree(None)
            self.world.hurry()
            return
        parts, text = self._copied(parts_written_here(tensors, self.world)), json.dumps(document)

        def work() -> None:
            try:
                write_parts(folder, parts, text, self.world.in_background())
                then()
            except BaseException as error:  # whoever waits must hear of it
                self._error = error

        self._thread = threading.Thread(target=work, name="acclimate-save", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the folder that is being written is there; a collective.

        Raises:
            RunError, PeerError: it could not be written.
        """
        if self._thread is None:
            return
        self.world.be_patient(SAVING)
        self._thread.join()
        self.world.agree(None)
        self.world.hurry()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def close(self) -> str | None:
        """Where a run ends with an error: lets the folder that is being written become whole, as far as the other ranks
        still take part. No collective.

        Returns:
            A sentence, if it did not.
        """
        if self._thread is None:
            return None
        self._thread.join(60 * self.world.minutes)
        if self._thread.is_alive():
            return "The checkpoint that was being written is not whole, so it is not kept."
        self._thread, error, self._error = None, self._error, None
        return None if error is None else str(error)

    @torch.no_grad()
    def _copied(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for key, part in parts.items():
            room = self._room.get(key)
            if room is None or room.shape != part.shape or room.dtype != part.dtype:
                room = torch.empty(part.shape, dtype=part.dtype, pin_memory=part.is_cuda)
            found[key] = room.copy_(part, non_blocking=True)
        self._room |= found
        if any(part.is_cuda for part in parts.values()):
            torch.cuda.synchronize()  # before the next step changes them
        return found
