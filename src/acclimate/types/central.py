"""The few types that every room shares.

Shapes: B rows, T positions in a row, N selected tokens, D hidden size, V vocabulary size.
Losses are in nats per token; evaluation is in bits per byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from acclimate.types.token_weighting import TokenSelection, TokenWeighting

IGNORE = -100
"""Label of a position from which nothing is learned."""
PAD_DOCUMENT = -1
"""Document id of padding."""

METHOD_ROUTES = ("domain", "general")
"""Routes that every method knows; a method may leave one of them untrained."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Route:
    """One entry of the run's route table: where a token came from and whose terms it gets.

    ``source`` is the name of the corpus in the configuration, ``name`` the route that loss terms
    select (``domain`` and ``general`` are the two every method knows).
    """

    source: str
    name: str


@dataclass
class Batch:
    """One micro-batch of packed rows. Labels are already shifted: ``labels[b, t]`` is the token after
    ``input_ids[b, t]``, and ``route[b, t]`` is the route of that *label*."""

    input_ids: Tensor  # [B, T] int64
    labels: Tensor  # [B, T] int64, IGNORE where nothing is learned
    position_ids: Tensor  # [B, T] int64, restarts at 0 at each document
    document: Tensor  # [B, T] int64, id within the run, PAD_DOCUMENT for padding
    route: Tensor  # [B, T] int64, index into the run's route table
    weights: Tensor | None = None  # [B, T] float, per-token loss weights; None means 1
    place: Tensor | None = None  # [B, T] int64, number of each *label* in its document, from 0; None: position + 1

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return Batch(**moved)


@dataclass
class Chunk:
    """What a loss term may see: N tokens that are routed to it."""

    logits: Tensor  # [N, V] in objective.logits_dtype, float32 unless asked otherwise
    labels: Tensor  # [N] int64
    document: Tensor  # [N] int64
    reference_logits: Tensor | None = None  # [N, V], of the reference this term asked for


@runtime_checkable
class LossTerm(Protocol):
    """Maps a chunk to nats per token, shape [N]. A term never reduces: the objective divides."""

    @property
    def needs_reference(self) -> bool: ...

    def __call__(self, chunk: Chunk) -> Tensor: ...


@dataclass(frozen=True)
class RoutedTerm:
    """A loss term, the routes whose tokens it sees, its weight, and the reference it compares with.

    ``name`` labels the metric (``loss/<source>/<name>``). ``reference`` is a key of
    :attr:`Method.references` (``base`` is always known), None for a term without one.
    """

    name: str
    term: LossTerm
    routes: tuple[str, ...]
    weight: float = 1.0
    reference: str | None = None
    weighting: TokenWeighting | None = None
    selection: TokenSelection | None = None


class Stage(IntEnum):
    """Order of gradient transforms, whatever methods are combined."""

    OBSERVE = 0
    BOOST = 1
    PENALTY = 2
    PROJECT = 3
    CLIP = 4


class GradientTransform(Protocol):
    """Edits gradients in place, once per optimizer step, after all micro-batches are summed."""

    @property
    def stage(self) -> Stage: ...

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """Returns the state, keyed by parameter *name*; it is saved with the run."""
        ...

    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> Metrics: ...


class Callback:
    """Called by the loop; override what you need. ``state_dict`` travels in checkpoints."""

    def on_step_end(self, state: Any, metrics: Metrics) -> None:
        """After each optimizer step; may add to ``metrics``, which later callbacks see."""

    def on_train_end(self, state: Any) -> None:
        """After the last step."""

    def close(self) -> None:
        """Called last, also when the loop stops with an error."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Gets what :meth:`state_dict` gave when the checkpoint was written."""
