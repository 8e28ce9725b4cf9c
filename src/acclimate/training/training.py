"""Everything one training run consists of, built and named; the loop reads it, checkpoints save it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from acclimate.gradient.chain import Chain
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.objective.objective import Objective
from acclimate.parallel.world import SOLO, World
from acclimate.training.callbacks.rollback import KeptState
from acclimate.training.checkpoint import saved_state, states
from acclimate.training.control.online.alignment import Alignment
from acclimate.training.control.online.influence import Influence
from acclimate.training.probe import Probe
from acclimate.training.stop import StopRequest
from acclimate.training.weights import Weights
from acclimate.types.central import Callback, Metrics
from acclimate.types.dials import Controller, Dial
from acclimate.types.stream import Stream


@dataclass
class Training:
    """The state of a run between two optimizer steps.

    ``learning_rate`` maps a 0-based step to its rate. ``update_scale`` (a method's slot) maps the step's metrics to
    a factor on the update, applied to that step's rate, since AdamW would cancel a factor on the gradient.
    After a step comes ``alignment``, which runs its rows again, then ``probe``, then ``controllers``, which move
    ``dials``, then ``callbacks``.
    ``kept`` are weights and moments of an earlier step, to which a callback may go back.
    ``document_name`` turns a document id into words for messages. ``seconds`` is the time of all steps since the run
    began, over all sessions; ``forwards`` their work in tokens through one forward, over all ranks. ``ended`` says why
    no step follows although there are fewer than ``total_steps``, after which the schedule is.
    """

    model: CausalModel
    objective: Objective
    data: Stream
    weights: Weights
    gradients: Chain
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    total_steps: int
    document_name: Callable[[int], str]
    update_scale: Callable[[Metrics], float] | None = None
    world: World = SOLO
    stop: StopRequest = field(default_factory=StopRequest)
    dials: Mapping[str, Dial] = field(default_factory=dict)
    alignment: Alignment | Influence | None = None
    probe: Probe | None = None
    controllers: Sequence[Controller] = ()
    callbacks: Sequence[Callback] = ()
    kept: KeptState | None = None
    step: int = 0
    seconds: float = 0.0
    forwards: float = 0.0
    ended: str | None = None

    def __post_init__(self) -> None:
        for parts in (self.controllers, self.callbacks):
            states(parts)  # refuses a name that another has

    @property
    def stopping(self) -> bool:
        return self.stop.agreed > 0

    @property
    def done(self) -> bool:
        """Whether no step follows."""
        return self.ended is not None or self.step >= self.total_steps

    def end(self, why: str) -> None:
        """This step is the run's last."""
        self.ended = why

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint is made of, tensors and plain data; every rank calls it."""
        return saved_state(self)

    def counted_forwards(self, *others: Reference) -> float:
        """Of the student, its references and others, since they were loaded, on this rank."""
        references = (*self.objective.references.values(), *others)
        models = {id(reference.model): reference.model for reference in references}
        return sum(model.forwards for model in (models | {id(self.model): self.model}).values())
