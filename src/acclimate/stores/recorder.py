"""What takes a statistic while the ordinary loop runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from acclimate.model.causal import CausalModel
from acclimate.types.central import Callback, Metrics, Stage, TrainingState
from acclimate.types.plan import Plan


@dataclass(frozen=True)
class Recorded:
    """The statistic by the base's own parameter names, what was found beside it, and where a path ended."""

    statistic: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    end: Mapping[str, Tensor] = field(default_factory=dict)


class Recorder(Callback, ABC):
    """A gradient transform of the first stage, which sees raw gradients, and a callback, which sees moved weights.

    Its sums are transform state: checkpoints hold them, so a recording resumes as a run does.
    """

    kind: ClassVar[str]
    moves: ClassVar[bool] = False
    """Whether the weights are trained meanwhile; otherwise nothing is updated."""
    average: ClassVar[str] = "token"
    """``objective.average`` of the loss whose gradient it sees."""
    stage: Stage = Stage.OBSERVE

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Of the recorder itself, for the manifest."""

    def plan(self, model: CausalModel) -> Plan:
        """What it adds to the run that records.

        Args:
            model: as it is trained, with its adapter.
        """
        return Plan(transforms=(self,), callbacks=(self,), frozen=not self.moves)

    @abstractmethod
    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """The sums, by parameter name."""

    @abstractmethod
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> Metrics: ...

    @abstractmethod
    def result(self, training: TrainingState, state: Mapping[str, Tensor]) -> Recorded:
        """After the last step."""
