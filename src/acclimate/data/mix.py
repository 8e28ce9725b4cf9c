"""Rows of several sources become one stream at a ratio counted in trained tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acclimate.data.pack import PackedSource, Row
from acclimate.errors import ConfigError, RunError
from acclimate.schema import SourceSection


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
        sources: packed sources in the order of the configuration, which breaks ties.
        shares: part of all trained tokens, for each of them; normalised here.
    """

    def __init__(self, sources: Mapping[str, PackedSource], shares: Mapping[str, float]) -> None:
        total = sum(shares[name] for name in sources)
        self.sources = dict(sources)
        self.shares = {name: shares[name] / total for name in sources}
        self.trained = dict.fromkeys(sources, 0)
        """Trained tokens given out so far, by source."""
        self._epoch = dict.fromkeys(sources, 0)
        self._position = dict.fromkeys(sources, 0)
        self._rows = {name: source.rows(0) for name, source in sources.items()}
        self._longest = max(row.trained for rows in self._rows.values() for row in rows)

    def next_row(self) -> tuple[str, Row]:
        """The next row of the stream and the source it is from."""
        total = sum(self.trained.values())
        deadlines = {
            name: (self.trained[name] + self._longest) / share
            for name, share in self.shares.items()
            if self.trained[name] <= share * total * (1 + 1e-12)  # rounding must not make everyone ahead
        }
        name = min(deadlines, key=lambda name: deadlines[name])
        row = self._rows[name][self._position[name]]
        self.trained[name] += row.trained
        self._position[name] += 1
        if self._position[name] == len(self._rows[name]):
            self._start(name, self._epoch[name] + 1, 0)
        return name, row

    @property
    def epochs(self) -> dict[str, float]:
        """Passes over each source so far."""
        return {name: self._epoch[name] + self._position[name] / len(self._rows[name]) for name in self.sources}

    def state_dict(self) -> dict[str, Any]:
        return {
            name: {
                "epoch": self._epoch[name],
                "position": self._position[name],
                "rows": len(self._rows[name]),
                "trained": self.trained[name],
            }
            for name in self.sources
        }

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
        for name in self.sources:
            saved = state[name]
            self._start(name, saved["epoch"], saved["position"])
            self.trained[name] = saved["trained"]
            if len(self._rows[name]) != saved["rows"]:
                raise RunError(
                    f"Source '{name}' had {saved['rows']} rows when the checkpoint was written and has "
                    f"{len(self._rows[name])} now: its documents or data settings have changed, so the run "
                    "cannot continue where it stopped."
                )

    def _start(self, name: str, epoch: int, position: int) -> None:
        if epoch != self._epoch[name]:
            self._rows[name] = self.sources[name].rows(epoch)
        self._epoch[name], self._position[name] = epoch, position
