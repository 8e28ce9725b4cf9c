"""The next optimizer step's batches are made while this one is computed; rows of live sources when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import nullcontext
from typing import Any

from acclimate.data.deal.ahead import Ahead
from acclimate.data.deal.loader import Loader
from acclimate.types.central import Batch

Made = tuple[list[Batch], dict[str, Any], dict[str, float]]


class Prefetch:
    """A loader, one step ahead in a thread. State and progress are those of the step that was handed out.

    Args:
        loader: used by nobody else.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._state, self._progress = loader.state_dict(), loader.progress()
        self._waited = 0.0
        self._ahead: Ahead[Made] | None = None
        self._in_step = True  # the loader stands at self._state

    @property
    def step(self) -> int:
        """Of the step that was handed out."""
        step: int = self._state["step"]
        return step

    def next_step(self) -> list[Batch]:
        """This rank's micro-batches of the next optimizer step.

        Raises:
            DataError, RunError: of the loader, in the step they belong to.
        """
        started = time.perf_counter()
        live = self._loader.live
        with self._loader.all_or_none() if live else nullcontext():  # before ranks wait for each other's live rows
            if not self._in_step:
                self._loader.load_state_dict(self.state_dict())
            if self._ahead is None:
                self._ahead, self._in_step = Ahead(_steps(self._loader)), True
            batches, self._state, self._progress = next(self._ahead)
        if live:
            given = sum(place["trained"] for place in self._state["mixer"].values())
            batches = batches + self._loader.made_now(given)
        self._waited = time.perf_counter() - started
        return batches

    def progress(self) -> dict[str, float]:
        """``trained_tokens/<source>``, ``epochs/<source>``, and ``data_seconds`` that the last step waited."""
        return self._progress | self._loader.live.progress() | {"data_seconds": self._waited}

    def state_dict(self) -> dict[str, Any]:
        return self._state | self._loader.now

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken."""
        self.close()
        self._loader.load_state_dict(state)
        self._state, self._progress, self._in_step = state, self._loader.progress(), True

    def close(self) -> None:
        """Ends the threads; the next step would begin where the last one handed out ended."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead, self._in_step = None, False
        self._loader.close()


def _steps(loader: Loader) -> Generator[Made, None, None]:
    while True:
        yield loader.prepared(), loader.state_dict(), loader.progress()
