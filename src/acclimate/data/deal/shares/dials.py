"""Shares as dials: controllers move them, and the loader deals by them two steps later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acclimate.data.deal.shares.delayed import Delayed
from acclimate.types.dials import Dial, share_dial
from acclimate.types.errors import ConfigError
from acclimate.types.stream import Stream

LOWEST = 1e-4
"""Of a share that is moved: at 0 a budget that counts the source would not end."""


def share_dials(shares: Mapping[str, float]) -> dict[str, Dial]:
    """By name, a dial of each source's share, where it begins.

    Raises:
        ConfigError: a share begins below the least that a dial may stand at.
    """
    if low := next((source for source, share in shares.items() if share < LOWEST), None):
        raise ConfigError(
            f"sources.{low}.share: a share that is moved while training begins at {LOWEST:g} or more; this one is "
            f"{shares[low]:g}."
        )
    return {share_dial(name): Dial(share_dial(name), share, LOWEST, 1.0) for name, share in shares.items()}


class DialledShares:
    """A controller that hands what the dials ``share/<source>`` stand at to the loader, after every step.

    It comes after the controllers that move them. They may stand at any numbers within their bounds: the shares are
    these over their sum. What a controller sets after step n deals step n + 2, however far ahead the loader is; shares
    on their way are in its state. So ``dial/share/<source>`` of step n is what step n + 1 was dealt by.

    Args:
        shares: the loader's.
        stream: of the loader, which knows the step that was handed out.
    """

    name = "shares"
    reads: tuple[str, ...] = ()
    infeasible: str | None = None

    def __init__(self, shares: Delayed, stream: Stream) -> None:
        self._shares, self._stream = shares, stream
        self.dials = share_dials(shares(0.0))
        """By name."""

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        sources = self._shares(0.0)
        self._shares.push(self._stream.step, {name: float(dials[share_dial(name)]) for name in sources})
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own: dials and loader have theirs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is none."""
