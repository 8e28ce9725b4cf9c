"""The steps of a run, and how a plan changes what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from acclimate.types.central import Batch, Metrics


class Stream(Protocol):
    """Optimizer steps without end, as this rank's micro-batches, from any saved place."""

    @property
    def step(self) -> int:
        """Steps handed out so far."""
        ...

    def next_step(self) -> list[Batch]: ...

    def progress(self) -> Metrics:
        """What was handed out so far, for the log: ``trained_tokens/<source>``, ``epochs/<source>``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The place of the next step; JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken."""
        ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...


Batches = Callable[[Stream], Stream]
"""Changes the steps of a run: other rows, other labels, another cut into micro-batches."""

GradientTaker = Callable[[Tensor], None]
"""Gets a parameter's gradient after each micro-batch's backward, in place of the optimizer."""
