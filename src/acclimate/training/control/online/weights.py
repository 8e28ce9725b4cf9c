"""The controller that moves shares by a rule: it reads a number of each source and turns the sources' dials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acclimate.types.dials import Dial, share_dial

Vector = NDArray[np.float64]
"""[K], a number for each source."""


LEAST = 1e-30
"""Of a rule's own share: one that is rounded to 0 would never come back."""


class Rule(Protocol):
    """How shares follow from what is read of each source."""

    @property
    def reads(self) -> str:
        """The metric of a step, with ``{source}`` in the name's place."""
        ...

    def scores(self, last: Vector, read: Vector, shares: Vector, rate: float, step: int) -> Vector:
        """Scores after step ``step`` (from 1), of the last ones and of what was read, which is nan where nothing is."""
        ...

    def shares(self, shares: Vector, scores: Vector, step: int) -> Vector:
        """Shares by these scores, above 0 and summing to 1."""
        ...


class OnlineWeights:
    """Moves the shares of sources among them by a rule. What they have together stays as it is.

    The rule keeps its own shares, which a dial's bounds do not cut: what comes back from below the least share comes
    back as soon as it would have.

    Args:
        rule: of what is read.
        shares: of all trained tokens, by source that is moved, as the run begins.
    """

    name = "online"
    reads: tuple[str, ...] = ()
    infeasible: str | None = None

    def __init__(self, rule: Rule, shares: Mapping[str, float]) -> None:
        self.rule, self.sources, self.together = rule, tuple(shares), sum(shares.values())
        self.prior: Vector = np.array([share / self.together for share in shares.values()])
        self.shares, self.scores, self.step = self.prior.copy(), np.zeros(len(shares)), 0

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        """Adds ``online/score/<source>`` and ``online/drift``, the largest ``|ln(a / a at first)|``."""
        self.step += 1
        read = np.array([measured.get(self.rule.reads.format(source=name), np.nan) for name in self.sources])
        if np.isnan(read).all():
            return {}
        self.scores = self.rule.scores(self.scores, read, self.shares, measured["learning_rate"], self.step)
        self.shares = np.maximum(self.rule.shares(self.shares, self.scores, self.step), LEAST)
        for name, share in zip(self.sources, self.shares.tolist(), strict=True):
            dials[share_dial(name)].move(self.together * share)
        told = {f"online/score/{name}": score for name, score in zip(self.sources, self.scores.tolist(), strict=True)}
        return told | {"online/drift": float(np.abs(np.log(self.shares / self.prior)).max())}

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self.shares.tolist(), "scores": self.scores.tolist(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bitwise: JSON keeps every digit of a float."""
        self.shares, self.scores, self.step = np.array(state["shares"]), np.array(state["scores"]), state["step"]
