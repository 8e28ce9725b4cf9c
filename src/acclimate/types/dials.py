"""Numbers that may change while training, and what moves them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from acclimate.types.errors import NonFiniteError


@dataclass(eq=False)
class Dial:
    """A number that may change while training: a term's weight, a penalty's strength.

    Its value is state of the run: checkpoints hold it, and ``dial/<name>`` of a step's metrics is the value that the
    step was taken with.

    >>> dial = Dial("kl_weight", 1.0, low=0.03, high=30.0)
    >>> dial.move(2 * float(dial)).value, dial.move(1000.0).value
    (2.0, 30.0)
    """

    name: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"The dial '{self.name}' starts at {self.value:g}, outside of {self.low:g} to {self.high:g}."
            )

    def __float__(self) -> float:
        return self.value

    def move(self, value: float) -> Dial:
        """Sets it to ``value``, or to the bound that this is beyond.

        Raises:
            NonFiniteError: ``value`` is no number.
        """
        if math.isnan(value):
            raise NonFiniteError(f"The dial '{self.name}' was to be moved from {self.value:g} to nan; it stays there.")
        self.value = min(max(value, self.low), self.high)
        return self


def share_dial(source: str) -> str:
    """Name of the dial that a source's share is, where shares move.

    >>> share_dial("law")
    'share/law'
    """
    return f"share/{source}"


def product(weight: float | Dial, strength: Dial | None) -> float:
    """The declared weight, times the strength where there is one."""
    return float(weight) if strength is None else float(weight) * float(strength)


def dials_of(parts: Iterable[object]) -> dict[str, Dial]:
    """By name, the dials that are attributes of terms and transforms.

    Raises:
        ValueError: two share a name.
    """
    found: dict[str, Dial] = {}
    for value in (value for part in parts for value in vars(part).values()):
        if isinstance(value, Dial) and found.setdefault(value.name, value) is not value:
            raise ValueError(f"Two dials are named '{value.name}'; each needs a name of its own.")
    return found


class Controller(Protocol):
    """Moves dials by what is measured while training. It runs after the probe and before everything that logs or saves.

    ``reads`` names metrics of held-out text beyond bits per byte, as ``summary.json`` does: the run then measures them,
    against its base, every ``training.eval_steps``.
    """

    @property
    def name(self) -> str:
        """Of its state in checkpoints and of its outcome; no other controller of the run has it."""
        ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def infeasible(self) -> str | None:
        """A sentence while its goal cannot be reached within the bounds of its dials: what is, and what would help."""
        ...

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        """After every optimizer step.

        Args:
            measured: the step's metrics, the same on all ranks but for ``tokens_per_second`` and ``data_seconds``: of
                training rows ``loss/<source>/<term>``, and in the steps where a probe measured ``eval/<set>/<metric>``.
            dials: of the run, by name.

        Returns:
            What it adds to the step's metrics, the same on all ranks.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain data: what a resumed run needs to go on bitwise."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
