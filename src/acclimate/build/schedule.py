"""The schedule of a mixture: which share each source has at which point of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from acclimate.config.load import RunConfig
from acclimate.data.deal.mix import resolve_shares
from acclimate.data.deal.shares import Race, Shares, constant, linear, stages
from acclimate.data.prepare.routes import all_domain
from acclimate.training.control.ramp import ramped
from acclimate.types.errors import ConfigError, listed

QUARTERS = (0.0, 0.25, 0.5, 0.75)
CameTo = dict[str, float | dict[float, float]]
"""By source, ``share`` as a configuration would have to say it."""
Knots = dict[float, dict[str, float]]
"""Part of the run -> shares there."""


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

    def until(self, steps: float) -> dict[str, float]:
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

    def total(self, steps: float) -> float:
        """Of all sources, after so many steps."""
        counted = steps * self.step_tokens
        return counted if self.count == "all" else self.schedule.reached(counted, self.count)

    def between(self, parts: Sequence[float], steps: int) -> list[dict[str, float]]:
        """By source, from each part of the run to the next, and from the last to the end."""
        until = [self.until(part * steps) for part in (*parts, 1.0)]
        return [{name: end[name] - begin[name] for name in end} for begin, end in pairwise(until)]

    def shares(self, steps: int) -> dict[str, float]:
        """Of all tokens of the first so many steps."""
        if not self.schedule.moving:
            return self.schedule(0.0)
        total = self.total(steps)
        return {name: tokens / total for name, tokens in self.until(steps).items()}


@dataclass(frozen=True)
class Planned:
    """The schedule of a run.

    Args:
        shares: as they are planned.
        came_to: what ``share: auto`` was resolved to, of the sources where it was.
        first: shares at the first step, where something that is measured moves them to the planned ones.
        parts: of the run, from which on something else holds, or between which shares are shown.
    """

    shares: Shares
    came_to: CameTo
    parts: Sequence[float] = QUARTERS
    first: Mapping[str, float] | None = None


def schedule_of(config: RunConfig, used: Sequence[str], sizes: Mapping[str, int | None], counted: float) -> Planned:
    """The schedule of the sources that are trained on.

    Args:
        sizes: trained tokens of each; None of a stream.
        counted: trained tokens of the run by the budget's count.

    Raises:
        ConfigError: shares that leave nothing for a source, or with which the budget never ends; a race that ends
            before the run; a ramp of nothing.
    """
    section, count = config.mixture, config.budget.count
    if section is None or section.online is not None:  # which moves them from there
        knots = _stages(config, used, sizes)
        came_to: CameTo = {name: {part: shares[name] for part, shares in knots.items()} for name in used}
        if len(knots) == 1:
            return Planned(constant(knots[0.0]), dict(knots[0.0]))
        return Planned(stages(over_run(knots, counted, count)), came_to, list(knots))
    known = {name: size for name in used if (size := sizes[name]) is not None}
    if section.priorities is not None:
        whole = sum(known.values()) if count == "all" else known[count]
        if counted > whole:
            raise ConfigError(
                f"budget: {counted:,.0f} trained tokens of {'all sources' if count == 'all' else repr(count)} are more "
                f"than the {whole:,} that there are, and mixture.priorities draws each row once; accepted: epochs of 1 "
                "or less, or as many tokens."
            )
        return Planned(Race(known, section.priorities), {})
    if section.ramp is None:
        knots = {part: temperature(known, tau) for part, tau in section.taus.items()}
        if len(knots) == 1:
            return Planned(constant(knots[0.0]), {})
        return Planned(stages(over_run(knots, counted, count)), {}, list(knots))
    shares = _stages(config, used, sizes)[0.0]
    anchors = anchors_of(config, used)
    if not 0 < len(anchors) < len(used):
        raise ConfigError(
            "mixture.ramp: has no effect, since "
            + ("no source but the domain's is" if not anchors else "no source of the domain is")
            + f" trained on (sources: {listed(used)}); leave it out."
        )
    first = ramped(shares, anchors, section.ramp.start)
    if section.ramp.until is None:
        return Planned(constant(shares), dict(shares), first=first)
    knots = {0.0: first, section.ramp.until: shares}
    parts = sorted({*QUARTERS, section.ramp.until} - {1.0})
    return Planned(linear(over_run(knots, counted, count, straight=True)), dict(shares), parts)


def anchors_of(config: RunConfig, used: Iterable[str]) -> list[str]:
    """The sources that a ramp lets in: those that are not the domain's."""
    return [name for name in used if not all_domain(name, config.sources[name])]


def temperature(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    """Shares in proportion to ``size ** (1 / tau)``.

    Args:
        sizes: trained tokens of each source.
        tau: 0.1 or more; at 1 shares are by size, and the larger the more even.

    Example:
        >>> {tau: round(temperature({"en": 1000, "cs": 10}, tau)["cs"], 4) for tau in (1, 5)}
        {1: 0.0099, 5: 0.2847}

    Reference:
        arXiv 2410.04579 [second-hand].
    """
    most = max(sizes.values())
    parts = {name: (size / most) ** (1 / tau) for name, size in sizes.items()}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def over_run(knots: Knots, counted: float, count: str, straight: bool = False) -> Knots:
    """The knots by trained tokens of all sources in place of parts of the run, which are parts of what is counted.

    Args:
        knots: from 0 on.
        counted: trained tokens of ``count`` in the run.
        straight: shares go in straight lines from knot to knot; otherwise they stay until the next.

    Raises:
        ConfigError: no token is counted between two knots, so that the run would not come to the next.

    Example:
        >>> over_run({0.0: {"a": 0.2, "b": 0.8}, 0.5: {"a": 0.5, "b": 0.5}}, 1000, "a")
        {0.0: {'a': 0.2, 'b': 0.8}, 2500.0: {'a': 0.5, 'b': 0.5}}
    """
    ordered, found, at = sorted(knots.items()), Knots(), 0.0
    ends = [*ordered, (1.0, ordered[-1][1])]
    for (part, shares), (end, after) in pairwise(ends):
        found[at] = shares
        own = 1.0 if count == "all" else (shares[count] + (after if straight else shares)[count]) / 2
        if end > part and own == 0:
            raise ConfigError(
                f"sources.{count}.share: is 0 from {part:g} of the run on, and budget.count is '{count}', so no step "
                "would end there; give it more, or set budget.count: all."
            )
        at += (end - part) * counted / own if end > part else 0.0
    return found


def _stages(config: RunConfig, used: Sequence[str], sizes: Mapping[str, int | None]) -> Knots:
    """Shares of the sources at every part of the run at which one changes."""
    sections = {name: config.sources[name] for name in used}
    parts = sorted({0.0, *(part for one in sections.values() if isinstance(one.share, dict) for part in one.share)})
    found = Knots()
    for part in parts:
        here = {name: one.model_copy(update={"share": one.share_at(part)}) for name, one in sections.items()}
        if not any(one.share != 0 for one in here.values()):
            raise ConfigError(f"sources: from {part:g} of the run on every share is 0; give one of them more.")
        try:
            found[part] = resolve_shares(here, sizes)
        except ConfigError as error:
            stage = f" (from {part:g} of the run on)" if len(parts) > 1 else ""
            raise ConfigError(f"{str(error).rstrip('.')}{stage}.") from None
    return found
