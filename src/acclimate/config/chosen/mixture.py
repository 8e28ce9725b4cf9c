"""The schema of `mixture`: shares of the sources that follow a rule, in place of numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, field_validator, model_validator

from acclimate.config.chosen.online import (
    ONLINE,
    DIDSSection,
    DoGESection,
    DoReMiSection,
    ODMSection,
    OnlineSection,
    check_online,
)
from acclimate.config.chosen.stages import read_stages
from acclimate.config.source_schema import AUTO, Section
from acclimate.types.errors import listed, nearest

if TYPE_CHECKING:
    from acclimate.config.schema import RunConfig

Run = TypeVar("Run", bound="RunConfig")

RULES = ("temperature", "priorities", "ramp", *ONLINE)
LEAST_TAU = 0.1
"""Below it a smaller source would get next to nothing."""
LARGEST_PRIORITY = 1e6
LOWEST_START = 0.001
"""Of a ramp that follows drift: its shares are dials, which never stand at 0."""


class RampSection(Section):
    """The anchor ramp: sources of other routes than the domain's begin with part of their shares, which then grow."""

    start: float = Field(0.1, ge=0, lt=1, description="part of their shares with which they begin")
    until: float | None = Field(
        None, gt=0, le=1, description="part of the run at which they have their whole shares, after a straight line"
    )
    drift: float | None = Field(
        None,
        gt=0,
        description="nats a token of KL(base || tuned) on their held-out text at which they have their whole shares; "
        "needs training.eval_steps",
    )

    @model_validator(mode="after")
    def _one_measure(self) -> RampSection:
        given = [name for name in ("until", "drift") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs exactly one of until (0.3: at three tenths of the run) and drift (0.02 nats a token), got "
                f"{' and '.join(given) or 'none'}"
            )
        if self.drift is not None and self.start < LOWEST_START:
            raise ValueError(
                f"start {self.start:g} leaves nothing that drift could move; accepted with drift: {LOWEST_START:g} or "
                "more, below 1"
            )
        return self


class MixtureSection(Section):
    """How shares follow from a rule; exactly one of its keys."""

    temperature: float | dict[float, float] | None = Field(
        None,
        description="tau of shares in proportion to size ** (1 / tau), in trained tokens: 1 by size, more for more "
        "even shares; or stages by part of the run: {0: 5, 0.5: 1} is Cooldown",
    )
    priorities: dict[str, float] | None = Field(
        None,
        min_length=1,
        description="pi of each source: all rows once, those of high priority early, as {web: 16, books: 4, chat: 1}",
    )
    ramp: RampSection | None = None
    doremi: DoReMiSection | None = None
    doge: DoGESection | None = None
    odm: ODMSection | None = None
    dids: DIDSSection | None = None

    @field_validator("temperature", mode="before")
    @classmethod
    def _taus(cls, value: Any) -> Any:
        return (
            value if value is None else read_stages(value, _tau, "a tau of 0.1 or more, as 5, or stages {0: 5, 0.5: 1}")
        )

    @field_validator("priorities")
    @classmethod
    def _above_zero(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for name, priority in (value or {}).items():
            if not 0 < priority <= LARGEST_PRIORITY:
                raise ValueError(f"{name}: {priority:g} is no priority; accepted: above 0 and at most 1,000,000")
        return value

    @model_validator(mode="after")
    def _one_rule(self) -> MixtureSection:
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {listed(RULES)}, got {' and '.join(given) or 'none'}")
        return self

    @property
    def rule(self) -> str:
        """The key that is given."""
        return next(name for name in RULES if getattr(self, name) is not None)

    @property
    def online(self) -> OnlineSection | None:
        """The section of a rule that moves shares by what is measured of the sources."""
        return self.doremi or self.doge or self.odm or self.dids

    @property
    def taus(self) -> Mapping[float, float]:
        """Part of the run from which each holds -> tau."""
        value = self.temperature
        return value if isinstance(value, dict) else {0.0: value if value is not None else 1.0}


def _tau(value: Any) -> float:
    try:
        tau = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        tau = math.nan
    if not LEAST_TAU <= tau < math.inf:
        raise ValueError
    return tau


def mixing(config: Run) -> Run:
    """Of a run whose shares follow a rule or a schedule: nothing else sets them.

    Raises:
        ValueError: a setting that contradicts them, by its dotted path.
    """
    section = config.mixture
    used = {name: source for name, source in config.sources.items() if source.share != 0}
    staged = next((name for name, source in used.items() if isinstance(source.share, dict)), None)
    if config.method == AUTO and (section is not None or staged is not None):
        where = "mixture" if section is not None else f"sources.{staged}.share"
        raise ValueError(
            f"{where}: method: auto chooses one share for the whole run, and its short probes would see another part "
            "of a schedule; leave it out, or name a method"
        )
    if section is None:
        return config
    where = f"mixture.{section.rule}"
    if section.online is not None:
        if staged is not None:
            raise ValueError(f"sources.{staged}.share: stages and {where} would both move shares; keep one of them")
        check_online(config, where, section.online)
        return config
    if section.ramp is not None:
        if staged is not None:
            raise ValueError(f"sources.{staged}.share: stages and {where} would both move shares; keep one of them")
        if section.ramp.drift is not None and config.training.eval_steps is None:
            raise ValueError(
                f"{where}.drift: nothing measures drift while training; set training.eval_steps (auto, or a number), "
                "or give until in place of drift"
            )
        return config
    for name, source in used.items():
        if source.share != AUTO:
            raise ValueError(
                f"sources.{name}.share: has no effect with {where}, which sets all shares; leave it out (0 only "
                "measures a source)"
            )
        if source.streaming:
            raise ValueError(
                f"{where}: goes by the sizes of sources, and nobody knows that of '{name}', which is streamed; give "
                "shares, or streaming: false"
            )
    if section.priorities is not None:
        _check_priorities(config, section.priorities, list(used))
    return config


def _check_priorities(config: RunConfig, priorities: Mapping[str, float], used: list[str]) -> None:
    for name in priorities:
        if name not in used:
            why = "its share is 0" if name in config.sources else "there is no such source"
            raise ValueError(
                f"mixture.priorities.{name}: {why}; accepted: {listed(used)}." + nearest(name, used).rstrip(".")
            )
    if missing := next((name for name in used if name not in priorities), None):
        raise ValueError(
            f"mixture.priorities: '{missing}' has none; give it one, or sources.{missing}.share: 0 to measure it only"
        )
    if config.budget.epochs is not None and config.budget.epochs > 1:
        raise ValueError(
            f"budget.epochs: {config.budget.epochs:g} passes would repeat rows, and mixture.priorities draws each row "
            "once; accepted: 1 or less"
        )
