"""Which part of the trained tokens each source gets, as a function of the tokens so far."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from acclimate.types.errors import ConfigError


class Shares(Protocol):
    """``tokens -> {source: share}``; the shares sum to 1.

    The mixer goes by a source's *quota*, the integral of its share over the trained tokens.
    """

    @property
    def moving(self) -> bool:
        """Whether they are not the same throughout."""
        ...

    def __call__(self, tokens: float) -> dict[str, float]:
        """Shares after so many trained tokens of all sources."""
        ...

    def quota(self, tokens: float, *names: str) -> float:
        """What belongs to these sources together of so many tokens."""
        ...

    def reached(self, quota: float, *names: str) -> float:
        """Tokens of all sources at which these together have that quota; ``inf`` if they never do."""
        ...

    def begin(self, step: int, tokens: float) -> None:
        """A step is about to be dealt, after so many tokens."""
        ...

    @property
    def pushed(self) -> dict[str, Any]:
        """Shares that were given while training and may still have to act; JSON."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What acts now; JSON."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], pushed: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Piece:
    """From ``begin`` tokens on a share is ``share + slope * (tokens - begin)``."""

    begin: float
    quota: Mapping[str, float]  # up to its beginning
    share: Mapping[str, float]
    slope: Mapping[str, float]

    def until(self, tokens: float, names: tuple[str, ...]) -> float:
        past = tokens - self.begin
        return sum(self.quota[n] + self.share[n] * past + self.slope[n] / 2 * past * past for n in names)

    def where(self, quota: float, names: tuple[str, ...]) -> float:
        """Tokens at which the sources have the quota; ``inf`` if they do not grow so far."""
        left = quota - sum(self.quota[n] for n in names)
        share, slope = sum(self.share[n] for n in names), sum(self.slope[n] for n in names)
        if left <= 0:
            return self.begin
        if slope == 0:
            return self.begin + left / share if share > 0 else math.inf
        root = share + math.sqrt(max(share * share + 2 * slope * left, 0.0))
        return self.begin + 2 * left / root if root > 0 else math.inf


class Known:
    """Shares that are known from the start, so that nothing of them is saved."""

    def begin(self, step: int, tokens: float) -> None:
        """Nothing depends on the step."""

    @property
    def pushed(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], pushed: Mapping[str, Any]) -> None:
        """They have no state."""


class Scheduled(Known):
    """Shares in pieces: :func:`constant`, :func:`stages` or :func:`linear`."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces

    @property
    def moving(self) -> bool:
        return len(self.pieces) > 1

    def __call__(self, tokens: float) -> dict[str, float]:
        piece = self.pieces[self._at(tokens)]
        return {name: share + piece.slope[name] * (tokens - piece.begin) for name, share in piece.share.items()}

    def quota(self, tokens: float, *names: str) -> float:
        return self.pieces[self._at(tokens)].until(tokens, names)

    def reached(self, quota: float, *names: str) -> float:
        pieces = self.pieces
        for piece, after in pairwise(pieces):
            if sum(after.quota[n] for n in names) >= quota:
                return min(piece.where(quota, names), after.begin)
        return pieces[-1].where(quota, names)

    def _at(self, tokens: float) -> int:
        return max(bisect_right(self.pieces, tokens, key=lambda piece: piece.begin) - 1, 0)


def constant(shares: Mapping[str, float]) -> Scheduled:
    """The same shares throughout.

    Example:
        >>> constant({"law": 1, "web": 3})(500)
        {'law': 0.25, 'web': 0.75}
    """
    return Scheduled([constant_piece(0.0, dict.fromkeys(shares, 0.0), normalised(shares))])


def stages(knots: Mapping[float, Mapping[str, float]]) -> Scheduled:
    """Shares that stay as they are from knot to knot.

    Args:
        knots: trained tokens of all sources -> share of each from there on; the first is at 0.

    Raises:
        ConfigError: no knot at 0, a knot of other sources, or one that shares nothing.

    Example:
        >>> late = stages({0: {"law": 0.25, "web": 0.75}, 800: {"law": 0.75, "web": 0.25}})
        >>> late(799)["law"], late(800)["law"], late.quota(1000, "law")
        (0.25, 0.75, 350.0)
    """
    shares = checked(knots)
    pieces: list[Piece] = []
    for place, share in shares.items():
        quota = {name: pieces[-1].until(place, (name,)) if pieces else 0.0 for name in share}
        pieces.append(constant_piece(float(place), quota, share))
    return Scheduled(pieces)


def linear(knots: Mapping[float, Mapping[str, float]]) -> Scheduled:
    """Shares that go in straight lines from knot to knot, and stay at the last.

    Args:
        knots: trained tokens of all sources -> share of each; the first is at 0.

    Raises:
        ConfigError: no knot at 0, a knot of other sources, or one that shares nothing.

    Example:
        >>> moving = linear({0: {"law": 0.25, "web": 0.75}, 1000: {"law": 0.75, "web": 0.25}})
        >>> moving(500)
        {'law': 0.5, 'web': 0.5}
        >>> moving.quota(1000, "law")
        500.0
    """
    shares = checked(knots)
    places, each = list(shares), list(shares.values())
    pieces: list[Piece] = []
    quota = dict.fromkeys(each[0], 0.0)
    for begin, end, share, after in zip(places, places[1:], each, each[1:], strict=False):
        slope = {name: (after[name] - share[name]) / (end - begin) for name in share}
        pieces.append(Piece(float(begin), quota, share, slope))
        quota = {name: quota[name] + (share[name] + after[name]) / 2 * (end - begin) for name in share}
    return Scheduled([*pieces, constant_piece(float(places[-1]), quota, each[-1])])


def checked(knots: Mapping[float, Mapping[str, float]]) -> dict[float, dict[str, float]]:
    """The same in order, each summing to 1."""
    places = sorted(knots)
    if not places or places[0] != 0:
        raise ConfigError(f"shares: the knots are at {', '.join(map(str, places)) or 'no'} tokens; give one at 0.")
    if other := next((place for place in places if set(knots[place]) != set(knots[0])), None):
        raise ConfigError(
            f"shares: the knot at {other:g} is for {', '.join(knots[other])}, the first for {', '.join(knots[0])}."
        )
    return {place: normalised({name: knots[place][name] for name in knots[0]}) for place in places}


def normalised(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares that sum to 1.

    Raises:
        ConfigError: one is below 0 or no number, or all are 0.
    """
    total = sum(shares.values())
    if bad := next((name for name, share in shares.items() if not 0 <= share < math.inf), None):
        raise ConfigError(f"shares: that of '{bad}' is {shares[bad]:g}; accepted: finite numbers of 0 or more.")
    if total == 0:
        raise ConfigError(f"shares: those of {', '.join(shares)} are all 0; give one of them more.")
    return {name: share / total for name, share in shares.items()}


def constant_piece(begin: float, quota: Mapping[str, float], shares: Mapping[str, float]) -> Piece:
    """Shares that stay as they are from there on."""
    return Piece(begin, quota, shares, dict.fromkeys(shares, 0.0))
