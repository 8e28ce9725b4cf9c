"""The schema of `search`: what `method: auto` tries, and what that may cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, field_validator, model_validator

from acclimate.config.source_schema import Section
from acclimate.types.errors import listed

if TYPE_CHECKING:
    from acclimate.config.schema import RunConfig

Run = TypeVar("Run", bound="RunConfig")

AUTO = "auto"
CONTROL = "sft"
"""Always among what is tried: a low learning rate is the poor man's anchor."""
RATES = 3
"""At the least: of two, nothing shows whether the better one is the best."""


class Rates(Section):
    """Learning rates of the final run, by what is tuned."""

    full: list[float] | None = Field(None, description="of all weights")
    lora: list[float] | None = Field(None, description="of an adapter")

    @field_validator("full", "lora")
    @classmethod
    def _enough(cls, value: list[float] | None) -> list[float] | None:
        return None if value is None else _rates(value)


class SearchSection(Section):
    """What `method: auto` tries before it trains."""

    methods: list[str | dict[str, Any]] = Field(
        [CONTROL, "mol"],
        min_length=1,
        description="methods that are tried, each a name or a section of name and settings; sft always is",
    )
    learning_rates: list[float] | Rates | None = Field(
        None,
        description="of the final run, at least three; null: half, once and twice what is usual for a model of this "
        "size, of all weights and of an adapter (docs/howto/adapt.md)",
    )
    shares: list[float] | None = Field(
        None,
        min_length=1,
        description="parts of all trained tokens that the domain gets, the first one for every learning rate; null: "
        "what its sources say, and then half as much other text beside each of its tokens",
    )
    lora: list[bool] | None = Field(
        None, min_length=1, description="true: an adapter, false: all weights; null: as `lora` says, then the other"
    )
    length: float = Field(0.15, gt=0, le=0.5, description="of the longest probe, in parts of the budget's tokens")
    cost: float = Field(
        1.0, gt=0, le=10, description="of all probes together, in forwards of one run as it is configured"
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _specs(cls, value: Any) -> Any:
        """One sentence, where a union would give one a branch."""
        wrong = (
            next((spec for spec in value if not isinstance(spec, str | dict)), None)
            if isinstance(value, list)
            else None
        )
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no method; accepted: a name, or a section as {{name: mol, kl_weight: 2}}")
        return value

    @field_validator("learning_rates", mode="before")
    @classmethod
    def _listed_or_by_kind(cls, value: Any) -> Any:
        known = isinstance(value, dict) and value and set(value) <= set(Rates.model_fields)
        if value is None or known or isinstance(value, list | Rates):
            return value
        raise ValueError(
            f"{value!r} lists no learning rates; accepted: [1e-4, 2e-4, 4e-4], or full and lora with a list each"
        )

    @field_validator("methods")
    @classmethod
    def _nameable(cls, value: list[str | dict[str, Any]]) -> list[str | dict[str, Any]]:
        names = [spec if isinstance(spec, str) else spec.get("name") for spec in value]
        if AUTO in names:
            raise ValueError(f"'{AUTO}' is what chooses among these; name the methods that it may choose")
        if any(not isinstance(name, str) for name in names):
            raise ValueError("a method's section needs a name, as {name: mol, kl_weight: 2} has it")
        _once(value)
        return value

    @field_validator("learning_rates")
    @classmethod
    def _enough(cls, value: list[float] | Rates | None) -> list[float] | Rates | None:
        return _rates(value) if isinstance(value, list) else value

    @field_validator("shares")
    @classmethod
    def _parts(cls, value: list[float] | None) -> list[float] | None:
        for share in value or ():
            if not 0 < share < 1:
                raise ValueError(f"{share:g} is no share of the domain that leaves some of the other text; give 0.5")
        _once(value or ())
        return value

    @field_validator("lora")
    @classmethod
    def _kinds(cls, value: list[bool] | None) -> list[bool] | None:
        _once(value or ())
        return value

    @model_validator(mode="after")
    def _rates_are_used(self) -> SearchSection:
        if isinstance(self.learning_rates, Rates) and self.lora is not None:
            for kind, given in ((True, self.learning_rates.lora), (False, self.learning_rates.full)):
                if given is not None and kind not in self.lora:
                    name = "lora" if kind else "full"
                    raise ValueError(f"learning_rates.{name} has no effect, since search.lora does not try it")
        return self

    def rates(self, lora: bool) -> list[float] | None:
        """The given ones, of an adapter or of all weights; None where the usual ones are tried."""
        if isinstance(self.learning_rates, Rates):
            return self.learning_rates.lora if lora else self.learning_rates.full
        return self.learning_rates


def searching(config: Run) -> Run:
    """What `method: auto` needs of a run, and what has no effect with it, or without.

    Raises:
        ValueError: a setting is missing or has no effect, by its dotted path.
    """
    named = [spec if isinstance(spec, str) else spec.get("name") for spec in _listed(config.method)]
    if AUTO not in named:
        if config.search is not None:
            raise ValueError("search: has no effect without method: auto, which tries what it says; leave it out")
        return config
    if config.method != AUTO:
        raise ValueError(
            "method: auto stands alone and has no settings of its own; write method: auto, and what it may choose at "
            "search.methods"
        )
    section = config.search or SearchSection()
    if config.retain is None:
        raise ValueError(
            "method: auto chooses the setting that gains most on the domain within a forgetting budget, and nothing "
            "says how much may be forgotten; add retain: {kl: 0.05}"
        )
    if config.optimizer.learning_rate != type(config.optimizer)().learning_rate:
        raise ValueError(
            "optimizer.learning_rate has no effect with method: auto, which chooses it; name what may be chosen at "
            "search.learning_rates"
        )
    if config.lora is not None and section.lora == [False]:
        raise ValueError("lora: has no effect with search.lora: [false]; leave one of them out")
    if config.model.quantization is not None and False in (section.lora or [True]):
        raise ValueError("search.lora: quantised weights are frozen, so only an adapter can learn; say [true]")
    return config


def _listed(method: Any) -> Sequence[Any]:
    return method if isinstance(method, list) else [method]


def _rates(value: Sequence[float]) -> list[float]:
    for rate in value:
        if not 0 < rate <= 1:
            raise ValueError(f"{rate:g} is no learning rate; a learning rate is above 0 and at most 1")
    _once(value)
    if len(value) < RATES:
        raise ValueError(
            f"{listed(f'{rate:g}' for rate in value) or 'none'} leaves nothing to tell the best from; give at least "
            f"{RATES} learning rates"
        )
    return sorted(value)


def _once(value: Sequence[Any]) -> None:
    if twice := next((one for one in value if list(value).count(one) > 1), None):
        raise ValueError(f"{twice} is listed twice; keep one")
