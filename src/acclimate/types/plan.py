"""What a method is, what it may ask of the harness, and what it may know when it asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from acclimate.types.central import Callback, GradientTransform, Metrics, RoutedTerm
from acclimate.types.dials import Controller, Dial
from acclimate.types.stream import Batches, GradientTaker
from acclimate.types.token_weighting import TokenSelection, TokenWeighting

Evidence = Literal["paper", "from code", "from reviews", "second-hand", "ours", "unverified"]
"""Stated by the paper; read in its code; said by a reviewer, by others; chosen here; recalled and not checked."""


@dataclass(frozen=True)
class PlanContext:
    """What a method may know about the run when it plans: once, as soon as its length is known."""

    lora_scaling: Mapping[str, float] = field(default_factory=dict)
    """Scaling s of dW = s B A, keyed by the name of the adapted module; empty under full tuning."""
    total_steps: int = 0
    """Of the run."""
    lora_experts: Mapping[str, int] = field(default_factory=dict)
    """E of an adapted module whose weight is a stack of E experts' matrices."""
    strength: Dial | None = None
    """Multiplies the strength of what holds the model, where a forgetting budget moves it."""
    budgeted: bool = False
    """The run has a forgetting budget, by which its last weights are settled."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of the trained tokens, by source, as the run begins: where the dials ``share/<source>`` stand, if they move."""


class Tuned(Protocol):
    """A run after its last step: the ends of its way, and what can be tried between them."""

    @property
    def origin(self) -> str:
        """What ``start`` is, in words."""
        ...

    @property
    def start(self) -> Mapping[str, Tensor]:
        """Weights that training started from, by names of trained parameters, this rank's parts; of an adapter B is
        zero, and A left out."""
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
    """What a method adds to the harness beside what is learned; every slot may be empty.

    ``update_scale`` maps the step's metrics to a factor on the *update* (Adam would cancel a factor on the gradient).
    ``controllers`` move the dials of terms and transforms. With ``moves_shares`` there is also a dial
    ``share/<source>`` of each source that is trained on, which acts two steps later. ``start`` has the weights to start
    from, by names of trained parameters, where that is not the base; ``after`` settles which weights the run ends with.
    ``batches`` changes what the steps are made of. ``takes`` names parameters, trained or frozen, whose gradient goes
    elsewhere after each backward. ``frozen`` keeps the weights where they are: nothing is updated. ``notes`` tell the
    user what to know.
    """

    transforms: tuple[GradientTransform, ...] = ()
    update_scale: Callable[[Metrics], float] | None = None
    controllers: tuple[Controller, ...] = ()
    moves_shares: bool = False
    callbacks: tuple[Callback, ...] = ()
    start: Mapping[str, Tensor] | None = None
    after: After | None = None
    batches: Batches | None = None
    takes: Mapping[str, GradientTaker] | None = None
    frozen: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What readers ask of a method; `acclimate methods`, model cards and docs/reference/methods.md show it."""

    stores: str
    costs: str  # a step, beyond that of sft
    needs: str
    reference: str
    evidence: tuple[Evidence, ...] = ()  # labels of the claims in its docstring; none of a control
    strength: str | None = None  # what a forgetting budget scales: a field of the method, or words


class Method:
    """An anti-forgetting method: its fields are its hyper-parameters, the rest is what it contributes.

    ``neutral`` is a setting at which the method is bitwise another one, ``({"weight": 0}, "sft")``, or None. A field
    annotated with :class:`~acclimate.stores.store.Statistic` names a store that has to be made first. Nothing but
    ``plan`` depends on the run. The docstring's first paragraph says what it does.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None]
    facts: ClassVar[Facts]

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        """Which routes learn what; if no method of the run has any, cross-entropy on the domain."""
        return ()

    @property
    def weighting(self) -> TokenWeighting | None:
        """Weighs the tokens of every cross-entropy of the run."""
        return None

    @property
    def selection(self) -> TokenSelection | None:
        """Chooses the labels of every cross-entropy of the run."""
        return None

    @property
    def references(self) -> Mapping[str, str]:
        """Name -> path of the frozen models, besides ``base``, that its terms compare with."""
        return {}

    def plan(self, context: PlanContext) -> Plan:
        """What it adds to the run; asked once."""
        return Plan()

    @classmethod
    def described(cls) -> dict[str, Any]:
        """What it does, the first paragraph of its docstring, and its facts."""
        return {"summary": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")} | asdict(cls.facts)
