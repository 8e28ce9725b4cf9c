"""The schema of `retain`: how much may be forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, field_validator, model_validator

from acclimate.config.source_schema import Section
from acclimate.types.errors import listed, nearest

if TYPE_CHECKING:
    from acclimate.config.schema import RunConfig

Run = TypeVar("Run", bound="RunConfig")

LOW, HIGH = 0.03, 10.0
"""Of the strength. Beyond 10 it is the noise of the anchor's own gradient that moves a small model [ours, measured]."""
LARGEST_RISE = 0.5
"""A number above it was meant as percent."""


class RetainSection(Section):
    """A forgetting budget. The run learns as much of the domain as it allows, and says whether it was kept."""

    kl: float | dict[str, float] | None = Field(
        None,
        description="nats a token: KL(base || tuned) on held-out text that is not the domain's, as a mean over its "
        "sets; or {set: nats}, of which the most exhausted counts",
    )
    bits_per_byte: float | dict[str, float] | None = Field(
        None, description="the same of the relative rise of bits per byte: 1%, or 0.01"
    )
    low: float = Field(LOW, description="least strength, as a multiple of the method's declared one")
    high: float = Field(HIGH, description="largest strength")
    steer: bool = Field(
        True, description="move the method's strength; false: only watch, and choose the weights by the budget"
    )
    rescale: bool = Field(
        True,
        description="also try the weights on the line from the start to the last ones and up to half as far beyond, of "
        "which the furthest inside of the budget can become the model",
    )

    @field_validator("kl", mode="before")
    @classmethod
    def _nats(cls, value: Any) -> Any:
        return _each(value, _nats_of)

    @field_validator("bits_per_byte", mode="before")
    @classmethod
    def _rise(cls, value: Any) -> Any:
        return _each(value, _rise_of)

    @model_validator(mode="after")
    def _one_budget(self) -> RetainSection:
        given = [name for name in ("kl", "bits_per_byte") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs exactly one of kl (0.05 nats a token) and bits_per_byte (1%), got "
                f"{' and '.join(given) or 'none'}"
            )
        if not 0 < self.low <= 1 <= self.high or self.low == self.high:
            raise ValueError(
                f"low {self.low:g} and high {self.high:g} are no bounds of a strength that starts at 1; accepted: "
                "0 < low <= 1 <= high, and not both 1"
            )
        if not self.steer and (self.low, self.high) != (LOW, HIGH):
            raise ValueError("low and high have no effect with steer: false, which moves no strength; leave them out")
        return self

    @property
    def key(self) -> str:
        """Of the budget that is given, in the file."""
        return "kl" if self.kl is not None else "bits_per_byte"

    @property
    def given(self) -> float | dict[str, float]:
        value = self.kl if self.kl is not None else self.bits_per_byte
        assert value is not None
        return value


def _each(value: Any, read: Any) -> Any:
    if not isinstance(value, Mapping):
        return value if value is None else read(value)
    if not value:
        raise ValueError("is an empty mapping; accepted: a number, or a limit for each named set: {chat: ...}")
    found = {}
    for name, limit in value.items():
        try:
            found[name] = read(limit)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _nats_of(value: Any) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError(f"{value!r} is a part, and kl is in nats a token: 0.05; bits_per_byte takes percent")
    return _positive(_number(value, "0.05 (nats a token)"), "0.05 nats a token")


def _rise_of(value: Any) -> float:
    if isinstance(value, str) and (text := value.strip()).endswith("%"):
        return _positive(_number(text[:-1].strip(), "1%", value), "1%") / 100
    found = _positive(_number(value, "1% or 0.01"), "1%")
    if found > LARGEST_RISE:
        raise ValueError(
            f"{found:g} is a rise by {found:.0%}; write '{found:g}%' for {found:g} percent. Accepted: up to "
            f"{LARGEST_RISE:.0%}"
        )
    return found


def _number(value: Any, like: str, written: Any = None) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value if written is None else written!r} is no budget; accepted: a number such as {like}")
    return found


def _positive(value: float, like: str) -> float:
    if value <= 0:
        raise ValueError(
            f"{value:g} allows no change at all, which no training keeps; accepted: a number above 0 such as {like}, "
            "or no training"
        )
    return value


def retaining(config: Run) -> Run:
    """Of a run with a forgetting budget: it can be measured, and nothing else chooses the weights.

    Raises:
        ValueError: a setting that contradicts the budget, by its dotted path.
    """
    if (section := config.retain) is None:
        return config
    if not config.evaluation.validation_documents:
        raise ValueError(
            "retain: a budget is kept by held-out documents that no report uses; set evaluation.validation_documents "
            "(32 or more)"
        )
    for name in section.given if isinstance(section.given, dict) else ():
        where = f"retain.{section.key}.{name}"
        if (source := config.sources.get(name)) is None:
            roles = {known: one.role or one.route or known for known, one in config.sources.items() if one.heldout}
            others = [known for known, role in roles.items() if role != "domain"]
            raise ValueError(
                f"{where}: there is no set '{name}'; "
                + (f"accepted: {listed(others)}." if others else "none has held-out text.")
                + nearest(name, others)
            )
        if not source.heldout:
            raise ValueError(
                f"{where}: '{name}' holds no documents out, so nothing is measured there; set sources.{name}.heldout"
            )
    if "final" in config.training.model_fields_set and config.training.final == "last":
        raise ValueError(
            "training.final: last has no effect with retain, which chooses the weights inside the budget; leave it out"
        )
    vars(config).update(training=config.training.model_copy(update={"final": "best"}))
    return config
