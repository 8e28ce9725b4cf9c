"""The schedule of a mixture: which share each source has at which point of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acclimate.config.load import RunConfig
from acclimate.data.deal.mix import resolve_shares
from acclimate.data.deal.shares import Shares, constant

CameTo = dict[str, float | dict[float, float]]


@dataclass(frozen=True)
class Asked:
    """Trained tokens of each source that steps ask for.

    Args:
        schedule: of the run.
        count: the source whose tokens a step counts, or ``all``.
        step_tokens: counted trained tokens of a step.
    """

    schedule: Shares
    count: str
    step_tokens: float

    def __call__(self, before: int) -> dict[str, float]:
        """By source, of the step after so many."""
        last, now = self.until(before), self.until(before + 1)
        return {name: now[name] - last[name] for name in now}

    def until(self, steps: int) -> dict[str, float]:
        """By source, of the first so many steps."""
        total = self.total(steps)
        return {name: self.schedule.quota(total, name) for name in self.schedule(0.0)}

    def mean(self, steps: int) -> dict[str, float]:
        """By source, of one of the first so many steps."""
        if not self.schedule.moving:
            return self.by(self.schedule(0.0))
        return {name: tokens / steps for name, tokens in self.until(steps).items()}

    def by(self, shares: Mapping[str, float]) -> dict[str, float]:
        """By source, of a step that is dealt by these shares."""
        total = self.step_tokens / shares.get(self.count, 1.0)
        return {name: share * total for name, share in shares.items()}

    def total(self, steps: int) -> float:
        """Of all sources, after so many steps."""
        counted = steps * self.step_tokens
        return counted if self.count == "all" else self.schedule.reached(counted, self.count)

    def shares(self, steps: int) -> dict[str, float]:
        """Of all tokens of the first so many steps."""
        if not self.schedule.moving:
            return self.schedule(0.0)
        total = self.total(steps)
        return {name: tokens / total for name, tokens in self.until(steps).items()}


def schedule_of(
    config: RunConfig, used: Sequence[str], sizes: Mapping[str, int | None], counted: float
) -> tuple[Shares, CameTo]:
    """The schedule of the sources that are trained on, and what ``share: auto`` came to.

    Args:
        sizes: trained tokens of each; None of a stream.
        counted: trained tokens of the run by the budget's count.

    Raises:
        ConfigError: shares that leave nothing for a source.
    """
    shares = resolve_shares({name: config.sources[name] for name in used}, sizes)
    return constant(shares), dict(shares)
