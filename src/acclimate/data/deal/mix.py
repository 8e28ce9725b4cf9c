"""Rows of several sources become one stream at a ratio counted in trained tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from acclimate.config.source_schema import AUTO, SourceSection
from acclimate.data.deal.live import Live
from acclimate.data.deal.pack import Row
from acclimate.data.deal.passes import RowSource
from acclimate.data.deal.shares import Shares
from acclimate.data.prepare.routes import has_route
from acclimate.types.errors import ConfigError, RunError

ROUNDING = 1e-12
"""Shares whose sum is so near to 1 are left as they are, so that those which a run has written down are read as they
were."""


def resolve_shares(
    sections: Mapping[str, SourceSection], sizes: Mapping[str, int | None] | None = None
) -> dict[str, float]:
    """Shares of the sources, summing to 1. Sources without one divide what the others leave.

    Half of it goes to those of route general, half to the others, and inside each half by size.

    Args:
        sizes: trained tokens of each; None, or of a source where nobody knows them: equal parts.

    Raises:
        ConfigError: the given shares leave nothing for the sources without one.

    Example:
        >>> sections = {name: SourceSection(path=name, route=route)
        ...             for name, route in {"notes": "domain", "faq": "domain", "general": "general"}.items()}
        >>> resolve_shares(sections, {"notes": 30_000, "faq": 10_000, "general": 5_000})
        {'notes': 0.375, 'faq': 0.125, 'general': 0.5}
    """
    given = {name: section.share for name, section in sections.items() if isinstance(section.share, float | int)}
    open_names = [name for name in sections if name not in given]
    left = 1.0 - sum(given.values())
    if open_names and left <= 1e-9:
        names = ", ".join(f"sources.{name}.share" for name in open_names)
        raise ConfigError(
            f"sources: the given shares sum to {sum(given.values()):g}, which leaves nothing for {names}; "
            "lower the given ones or give every source a share."
        )
    equal = {name: left / len(open_names) for name in open_names if sections[name].share is None}
    open_shares = equal | _by_route(sections, left - sum(equal.values()), sizes or {})
    shares = {name: given[name] if name in given else open_shares[name] for name in sections}
    total = sum(shares.values())
    return shares if abs(total - 1) <= ROUNDING else {name: share / total for name, share in shares.items()}


def _by_route(sections: Mapping[str, SourceSection], left: float, sizes: Mapping[str, int | None]) -> dict[str, float]:
    """Of sources with ``share: auto``."""
    names = [name for name, section in sections.items() if section.share == AUTO]
    general = [name for name in names if has_route(name, sections[name], "general")]
    halves = [half for half in (general, [name for name in names if name not in general]) if half]
    found: dict[str, float] = {}
    for half in halves:
        known = [sizes.get(name) or 0 for name in half]
        weights = known if all(known) else [1] * len(half)
        found |= {
            name: left / len(halves) * (weight / sum(weights)) for name, weight in zip(half, weights, strict=True)
        }
    return found


class Mixer:
    """Gives the next row to one of the sources that are not ahead of their quota.

    Of these it takes the one that would be the first to fall a whole row behind: the quota reaches ``trained + longest
    row`` at the fewest tokens. So every count stays within one (longest) row of its quota, also where shares move as
    they were planned: not below, because rows are served by earliest deadline and the shares sum to 1; not above,
    because nobody is served while ahead. Giving the row to the largest deficit instead is not enough: with three
    sources and uneven rows, one drifts 1.5 rows away. There is no randomness here.

    Live sources are not served here, but beside a step (:class:`~acclimate.data.deal.live.Live`): the others share
    their turns, and reckon with as many tokens in all as belong to their own.

    Args:
        sources: rows of each, in the order of the configuration, which breaks ties.
        shares: of all of them.

    Raises:
        ConfigError: all of them are live.
    """

    def __init__(self, sources: Mapping[str, RowSource], shares: Shares) -> None:
        self.sources = {name: source for name, source in sources.items() if not source.live}
        self.shares = shares
        self.live = Live({name: source for name, source in sources.items() if source.live}, shares, self.sources)
        self.trained = dict.fromkeys(self.sources, 0)
        """Trained tokens given out so far, by source."""
        if not self.sources:
            raise ConfigError(
                f"sources: {', '.join(sources)} make their rows while training, beside rows that are there already; "
                "give another source."
            )
        self._longest = max(source.longest for source in self.sources.values())

    @property
    def total(self) -> float:
        """Trained tokens of all sources that belong to those given out."""
        return self.live.total(sum(self.trained.values()))

    def next_row(self) -> tuple[str, Row]:
        """The next row of the stream and the source it is from."""
        total = self.total
        deadlines = {
            name: self.shares.reached(trained + self._longest, name)
            for name, trained in self.trained.items()
            if trained <= self.shares.quota(total, name) * (1 + 1e-12)  # rounding must not make everyone ahead
        }
        name = min(deadlines, key=lambda name: deadlines[name])
        return name, self._take(name)

    def rows_beside(self, name: str) -> list[Row]:
        """Rows of the other sources until none is below its quota of what belongs to the trained tokens of ``name``."""
        rows = []
        total = self.shares.reached(self.trained[name], name) * (1 - 1e-12)
        total = self.total if math.isinf(total) else total  # it is a row ahead of all that it will ever have
        for other in self.sources:
            while other != name and self.trained[other] < self.shares.quota(total, other):
                rows.append(self._take(other))
        return rows

    def _take(self, name: str) -> Row:
        row = self.sources[name].next_row()
        self.trained[name] += row.trained
        return row

    @property
    def epochs(self) -> dict[str, float]:
        """Passes over each source so far."""
        return {name: source.epochs for name, source in self.sources.items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: source.state_dict() | {"trained": self.trained[name]} for name, source in self.sources.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state`` was taken.

        Raises:
            RunError: the state belongs to other sources, or their documents have changed.
        """
        if set(state) != set(self.sources):
            raise RunError(
                f"The checkpoint's data position is for the sources {', '.join(state)}; "
                f"this run trains on {', '.join(self.sources)}."
            )
        for name, source in self.sources.items():
            source.load_state_dict(state[name])
            self.trained[name] = state[name]["trained"]

    def close(self) -> None:
        for source in self.sources.values():
            source.close()
