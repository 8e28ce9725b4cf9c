"""Shares that are given while training, and act a fixed number of steps later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from acclimate.data.deal.shares.quota import Piece, Scheduled, constant_piece, normalised
from acclimate.types.errors import ConfigError

DELAY = 2
"""Steps until pushed shares act: while a step is computed the loader makes the one after it."""
REMEMBERED = 4
"""Changes of the shares that are kept; what the mixer still asks about lies after them."""
SAME = 1e-12
"""Relative: shares that are pushed again are no change, so what nobody moves is dealt bitwise as a constant is."""


class Delayed(Scheduled):
    """Shares that are given while training, and act :data:`DELAY` steps later, however far ahead the loader is.

    Nobody knows them in advance, so the mixer reckons that the present ones stay. Two sources are within one row of
    their quota as ever; of more, one falls further behind if the shares jump against it again and again.

    Args:
        shares: until the first that are pushed act.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        whole = abs(sum(shares.values()) - 1) <= SAME  # then as they are, so that what is dealt is bitwise the same
        first = dict(shares) if whole else normalised(shares)
        super().__init__([constant_piece(0.0, dict.fromkeys(shares, 0.0), first)])
        self._pushed: dict[int, dict[str, float]] = {}  # by the step from which they act
        self._acting: dict[int, dict[str, float]] = {0: first}  # the same of those that have begun to

    @property
    def moving(self) -> bool:
        return True

    def push(self, step: int, shares: Mapping[str, float]) -> None:
        """After step ``step`` (from 1) is done: step ``step + 2`` is the first that is dealt by ``shares``.

        Raises:
            ConfigError: other sources than before, or a share that is not above 0, under which a budget would not end.
        """
        if set(shares) != set(self.pieces[-1].share):
            raise ConfigError(
                f"Shares are pushed for {', '.join(shares)}; the run has {', '.join(self.pieces[-1].share)}."
            )
        if low := next((name for name, share in shares.items() if not share > 0), None):
            raise ConfigError(f"The share of '{low}' is pushed to {shares[low]:g}; accepted: numbers above 0.")
        kept, given = {at: earlier for at, earlier in self._pushed.items() if at > step}, normalised(shares)
        last = list((self._pushed or self._acting).values())[-1]
        if any(not math.isclose(share, last[name], rel_tol=SAME) for name, share in given.items()):
            kept[step + DELAY] = given
        self._pushed = kept  # a new one: another thread may look into the old

    def begin(self, step: int, tokens: float) -> None:
        if (shares := self._pushed.get(step)) is not None:
            last = self.pieces[-1]
            quota = {name: last.until(tokens, (name,)) for name in shares}
            self.pieces = [*self.pieces[1 - REMEMBERED :], constant_piece(tokens, quota, shares)]
            self._acting = dict([*self._acting.items()][1 - REMEMBERED :]) | {step: shares}

    def of_step(self, step: int) -> dict[str, float]:
        """Shares by which ``step`` (from 1) was dealt: one of the last few."""
        return self._acting[max(at for at in self._acting if at <= step)]

    @property
    def pushed(self) -> dict[str, Any]:
        return {str(step): shares for step, shares in self._pushed.items()}

    def state_dict(self) -> dict[str, Any]:
        acting = {str(step): shares for step, shares in self._acting.items()}
        return {"pieces": [asdict(piece) for piece in self.pieces], "acting": acting}

    def load_state_dict(self, state: Mapping[str, Any], pushed: Mapping[str, Any]) -> None:
        self.pieces = [Piece(**piece) for piece in state["pieces"]]
        self._acting = {int(step): dict(shares) for step, shares in state["acting"].items()}
        self._pushed = {int(step): dict(shares) for step, shares in pushed.items()}
