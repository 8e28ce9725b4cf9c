"""The few types that every room shares.

Shapes: B rows, T positions in a row, N selected tokens, D hidden size, V vocabulary size.
Losses are in nats per token; evaluation is in bits per byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from acclimate.types.batch import Batch as Batch  # noqa: PLC0414
from acclimate.types.batch import Route as Route  # noqa: PLC0414
from acclimate.types.dials import Dial
from acclimate.types.token_weighting import TokenSelection, TokenWeighting

IGNORE = -100
"""Label of a position from which nothing is learned."""
PAD_DOCUMENT = -1
"""Document id of padding."""
WEIGHTS = "weights"
"""Column of a batch, float: a factor on each token's nats in every term; it changes no count."""
PLACE = "place"
"""Column of a batch, int64: number of each *label* in its document, from 0; without it, position + 1."""

METHOD_ROUTES = ("domain", "general")
"""Routes that every method knows; a method may leave one of them untrained."""

Metrics = dict[str, float]


@dataclass
class Chunk:
    """What a loss term may see: N tokens that are routed to it."""

    logits: Tensor  # [N, V] in objective.logits_dtype, float32 unless asked otherwise
    labels: Tensor  # [N] int64
    document: Tensor  # [N] int64
    reference_logits: Tensor | None = None  # [N, V], of the reference this term asked for
    columns: Mapping[str, Tensor] = field(default_factory=dict)  # [N, ...] each, of the batch's columns


@runtime_checkable
class LossTerm(Protocol):
    """Maps a chunk to nats per token, shape [N]. A term never reduces: the objective divides."""

    @property
    def needs_reference(self) -> bool: ...

    def __call__(self, chunk: Chunk) -> Tensor: ...


@dataclass(frozen=True)
class RoutedTerm:
    """A loss term, the routes whose tokens it sees, its weight (a number, or a dial that a controller moves), and the
    reference it compares with. On its ``anchors``, some of the routes, the term holds the model: with a forgetting
    budget a token's nats there are taken ``strength`` times.

    ``name`` labels the metric (``loss/<source>/<name>``). ``reference`` is a key of
    :attr:`Method.references` (``base`` is always known), None for a term without one.
    """

    name: str
    term: LossTerm
    routes: tuple[str, ...]
    weight: float | Dial = 1.0
    reference: str | None = None
    weighting: TokenWeighting | None = None
    selection: TokenSelection | None = None
    anchors: tuple[str, ...] = ()
    strength: Dial | None = None


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

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the state, keyed by parameter *name*; it is saved with the run."""
        ...

    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Tensor], step: int
    ) -> Metrics: ...


class TrainedWeights(Protocol):
    """The parameters that the optimizer moves, by name."""

    @property
    def masters(self) -> Mapping[str, Tensor]: ...

    def state_dict(self) -> dict[str, Tensor]: ...


class TrainingState(Protocol):
    """A run between two optimizer steps, as a callback sees it."""

    @property
    def step(self) -> int:
        """Steps that are done."""
        ...

    @property
    def total_steps(self) -> int: ...

    @property
    def stopping(self) -> bool:
        """The run was asked to stop: no step follows."""
        ...

    def end(self, why: str) -> None:
        """This step is the run's last; a sentence says why."""

    @property
    def weights(self) -> TrainedWeights: ...

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint is made of, tensors and plain data; every rank calls it."""
        ...


class Callback:
    """Called by the loop; override what you need. ``state_dict``, plain data, travels in checkpoints under ``name``."""

    name: str = ""
    """What has a state needs one, which no other callback of the run has."""

    def on_start(self, state: TrainingState) -> None:
        """Before the first step of a session, at step 0 or where a checkpoint was taken."""

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        """After each optimizer step; may add to ``metrics``, which later callbacks see."""

    def on_train_end(self, state: TrainingState) -> None:
        """After the last step."""

    def close(self) -> None:
        """Called last, also when the loop stops with an error."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Gets what :meth:`state_dict` gave when the checkpoint was written."""
