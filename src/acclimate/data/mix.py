"""Rows of several sources become one stream at a ratio counted in trained tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acclimate.data.pack import Row
from acclimate.data.passes import RowSource
from acclimate.errors import ConfigError, RunError
from acclimate.source_schema import SourceSection


def resolve_shares(sections: Mapping[str, SourceSection]) -> dict[str, float]:
    """Shares of the sources, summing to 1. Sources without one divide equally what the others leave.

    Raises:
        ConfigError: the given shares leave nothing for the sources without one.

    Example:
        >>> sections = {"law": SourceSection(path="a", share=0.5), "web": SourceSection(path="b"),
        ...             "chat": SourceSection(path="c")}
        >>> resolve_shares(sections)
        {'law': 0.5, 'web': 0.25, 'chat': 0.25}
    """
    given = {name: section.share for name, section in sections.items() if section.share is not None}
    open_names = [name for name in sections if name not in given]
    left = 1.0 - sum(given.values())
    if open_names and left <= 1e-9:
        names = ", ".join(f"sources.{name}.share" for name in open_names)
        raise ConfigError(
            f"sources: the given shares sum to {sum(given.values()):g}, which leaves nothing for {names}; "
            "lower the given ones or give every source a share."
        )
    shares = {name: given.get(name, left / max(len(open_names), 1)) for name in sections}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


class Mixer:
    """Gives the next row to one of the sources that are not ahead of their share.

    Of these it takes the one that would be the first to fall a whole row behind: the smallest
    ``(trained + longest row) / share``. So every count stays within one (longest) row of ``share * total``:
    not below, because rows are served by earliest deadline and the shares sum to 1; not above, because
    nobody is served while ahead. Giving the row to the largest deficit instead is not enough: with three
    sources and uneven rows, one drifts 1.5 rows away. There is no randomness here.

    Args:
        sources: rows of each, in the order of the configuration, which breaks ties.
        shares: part of all trained tokens, for each of them; normalised here.
    """

    def __init__(self, sources: Mapping[str, RowSource], shares: Mapping[str, float]) -> None:
        total = sum(shares[name] for name in sources)
        self.sources = dict(sources)
        self.shares = {name: shares[name] / total for name in sources}
        self.trained = dict.fromkeys(sources, 0)
        """Trained tokens given out so far, by source."""
        self._longest = max(source.longest for source in sources.values())

    def next_row(self) -> tuple[str, Row]:
        """The next row of the stream and the source it is from."""
        total = sum(self.trained.values())
        deadlines = {
            name: (self.trained[name] + self._longest) / share
            for name, share in self.shares.items()
            if self.trained[name] <= share * total * (1 + 1e-12)  # rounding must not make everyone ahead
        }
        name = min(deadlines, key=lambda name: deadlines[name])
        return name, self._take(name)

    def rows_beside(self, name: str) -> list[Row]:
        """Rows of the other sources until none is below its share of what belongs to the trained tokens of ``name``."""
        rows = []
        total = self.trained[name] / self.shares[name] * (1 - 1e-12)
        for other, share in self.shares.items():
            while other != name and self.trained[other] < share * total:
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
