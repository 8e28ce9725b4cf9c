"""What a method may ask of the harness, and what it may know when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from acclimate.types.central import Callback, GradientTransform, Metrics, RoutedTerm
from acclimate.types.dials import Controller
from acclimate.types.token_weighting import TokenSelection, TokenWeighting


@dataclass(frozen=True)
class PlanContext:
    """What a method may know about the run when it plans."""

    full_tuning: bool
    lora_scaling: Mapping[str, float] = field(default_factory=dict)
    """Scaling s of dW = s B A, keyed by the name of the adapted module; empty under full tuning."""
    validation_documents: int = 0
    """Held-out documents of each source that a choice may look at."""
    total_steps: int = 0
    """Of the run. 0 while nobody knows: which sources a plan learns from decides how many steps the budget buys."""


class Tuned(Protocol):
    """A run after its last step: the ends of its way, and what can be tried between them."""

    @property
    def start(self) -> Mapping[str, Tensor]:
        """Weights of the base by names of trained parameters, this rank's parts; for an adapter's B zero, its A left
        out."""
        ...

    @property
    def end(self) -> Mapping[str, Tensor]:
        """The trained weights of the same names."""
        ...

    def place(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Puts weights of these names into the model."""
        ...

    def measure(self) -> list[dict[str, Any]]:
        """Records, as ``summary.json`` has them, of the model as it is now on the validation documents, which no report
        uses; those that the base has too hold its value, ``base``. None without such documents."""
        ...


@dataclass(frozen=True)
class Settled:
    """What was chosen after training: a sentence for the user, and all that led to it, which the run keeps."""

    says: str
    record: Mapping[str, Any]


class After(Protocol):
    """What becomes of the weights after the last step; every rank calls it."""

    def __call__(self, tuned: Tuned) -> Settled: ...


@dataclass(frozen=True)
class Plan:
    """What a method adds to the harness; every slot may be empty.

    ``terms`` says which routes learn what; if no method of the run has any, cross-entropy on the domain.
    ``weighting`` weighs the tokens of every cross-entropy, ``selection`` chooses its labels. ``references`` names
    frozen models besides ``base`` (values are model paths). ``update_scale`` maps the step's metrics to a factor on
    the *update* (Adam would cancel a factor on the gradient). ``controllers`` move the dials of terms and transforms.
    ``start`` has the weights to start from, by names of trained parameters, where that is not the base; ``after``
    settles which weights the run ends with.
    ``statistics`` are the stores it reads, checked against base and weights; ``notes`` tell the user what to know.
    """

    terms: tuple[RoutedTerm, ...] = ()
    weighting: TokenWeighting | None = None
    selection: TokenSelection | None = None
    references: Mapping[str, str] = field(default_factory=dict)
    transforms: tuple[GradientTransform, ...] = ()
    update_scale: Callable[[Metrics], float] | None = None
    controllers: tuple[Controller, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    start: Mapping[str, Tensor] | None = None
    after: After | None = None
    statistics: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def routes(self) -> tuple[str, ...]:
        """Names of the routes that some term learns from."""
        return tuple(dict.fromkeys(name for routed in self.terms for name in routed.routes))

    @property
    def required_references(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.reference for r in self.terms if r.reference is not None))


class Method(Protocol):
    """An anti-forgetting method: its fields are its hyper-parameters, ``plan`` what it contributes.

    ``neutral`` is a setting at which the method is bitwise another one, ``({"weight": 0}, "sft")``, or None. A field
    annotated with :class:`~acclimate.statistics.store.Statistic` names a store that has to be made first.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None]

    def plan(self, context: PlanContext) -> Plan: ...
