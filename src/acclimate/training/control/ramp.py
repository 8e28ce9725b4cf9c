"""The anchor ramp that follows drift: general text comes in as it is needed. Plain numbers, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from acclimate.paired.metrics import DRIFT
from acclimate.types.dials import Dial, share_dial


def ramped(shares: Mapping[str, float], anchors: Sequence[str], part: float) -> dict[str, float]:
    """Shares in which the anchors have ``part`` of theirs, and the others the rest, as they had it.

    Example:
        >>> ramped({"domain": 0.5, "general": 0.5}, ["general"], 0.2)
        {'domain': 0.9, 'general': 0.1}
    """
    own = sum(shares[name] for name in anchors)
    rest = (1 - part * own) / (1 - own)
    return {name: share * (part if name in anchors else rest) for name, share in shares.items()}


class AnchorRamp:
    """Moves the shares of the anchors from a part of them to the whole, as held-out text drifts [ours].

        part = start + (1 - start) min(1, d / drift)      d the largest mean drift that was measured so far

    At step 0 the KL's gradient is 0, and rows that hold the model would hold nothing yet. The part never falls: what
    was let in once stays, so that share and drift cannot swing against each other.

    Args:
        shares: the whole ones, of all sources.
        anchors: sources whose shares grow.
        sets: held-out sets of theirs, whose mean drift counts.
        start: part at no drift.
        drift: nats a token at which the shares are whole.
    """

    name = "anchor_ramp"
    reads = (DRIFT,)
    infeasible: str | None = None

    def __init__(
        self, shares: Mapping[str, float], anchors: Sequence[str], sets: Sequence[str], start: float, drift: float
    ) -> None:
        self.shares, self.anchors, self.sets = dict(shares), tuple(anchors), tuple(sets)
        self.start, self.drift = start, drift
        self._largest = 0.0

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        found = [measured[key] for name in self.sets if (key := f"eval/{name}/{DRIFT}") in measured]
        if not found:
            return {}
        self._largest = max(self._largest, fmean(found))
        part = self.start + (1 - self.start) * min(1.0, self._largest / self.drift)
        for name, share in ramped(self.shares, self.anchors, part).items():
            dials[share_dial(name)].move(share)
        return {"ramp/part": part}

    def state_dict(self) -> dict[str, Any]:
        return {"largest": self._largest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._largest = state["largest"]
