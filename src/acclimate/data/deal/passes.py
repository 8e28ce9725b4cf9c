"""Endless rows of one source, pass after pass, from any saved place."""

from __future__ import annotations

from typing import Any, Protocol

from acclimate.data.deal.pack import PackedSource, Row, Rows
from acclimate.types.errors import DataError, RunError


class RowSource(Protocol):
    """What the mixer draws from."""

    @property
    def live(self) -> bool:
        """Its rows are made from the current weights, when a step is asked for: see :mod:`acclimate.data.deal.live`."""
        ...

    @property
    def longest(self) -> int:
        """Most trained tokens that a row of it is reckoned with."""
        ...

    @property
    def sequence_length(self) -> int: ...

    @property
    def epochs(self) -> float:
        """Passes so far."""
        ...

    def next_row(self) -> Row: ...

    def state_dict(self) -> dict[str, Any]:
        """The place of the next row; JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...


class Passes:
    """Passes over a prepared corpus, each in another order.

    Raises:
        DataError: no label has an active route.
    """

    live = False

    def __init__(self, packed: PackedSource) -> None:
        if not packed.trained_tokens:
            raise DataError(f"Source '{packed.name}' has no token on a route that the method learns from.")
        self.packed = packed
        self.sequence_length = packed.sequence_length
        self._epoch, self._position = 0, 0
        self._rows: Rows = packed.rows(0)
        self.longest = int(self._rows.trained.max())

    @property
    def epochs(self) -> float:
        return self._epoch + self._position / len(self._rows)

    def next_row(self) -> Row:
        row = self._rows[self._position]
        self._position += 1
        if self._position == len(self._rows):
            self._start(self._epoch + 1, 0)
        return row

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "position": self._position, "rows": len(self._rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken.

        Raises:
            RunError: the documents have changed.
        """
        self._start(state["epoch"], state["position"])
        check_rows(self.packed.name, state["rows"], len(self._rows))

    def close(self) -> None:
        """Nothing runs in the background."""

    def _start(self, epoch: int, position: int) -> None:
        if epoch != self._epoch:
            self._rows = self.packed.rows(epoch)
        self._epoch, self._position = epoch, position


def check_rows(name: str, saved: int, rows: int) -> None:
    """Refuses to continue on documents that pack into another number of rows than when the state was taken."""
    if rows != saved:
        raise RunError(
            f"Source '{name}' had {saved} rows when the checkpoint was written and has {rows} now: its documents or "
            "data settings have changed, so the run cannot continue where it stopped."
        )
