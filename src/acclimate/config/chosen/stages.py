"""Numbers that change from stage to stage of a run, as a file writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def read_stages(value: Any, read: Callable[[Any], float], accepted: str) -> float | dict[float, float]:
    """A number, or one for each stage of the run, by the part of it from which on the stage holds; in order.

    Args:
        read: a number from what is written; a ValueError if it is none.
        accepted: what is, in words.

    Raises:
        ValueError: no such number, or no stage from 0 on.

    >>> read_stages({0.8: 0.5, "0": 0.2}, float, "a number")
    {0.0: 0.2, 0.8: 0.5}
    """
    if not isinstance(value, Mapping):
        return _read(value, read, accepted)
    found: dict[float, float] = {}
    for place, one in value.items():
        try:
            at = math.nan if isinstance(place, bool) else float(place)
        except (TypeError, ValueError, OverflowError):
            at = math.nan
        if not 0 <= at < 1:
            raise ValueError(f"{place!r} is no part of the run; a stage begins at a part from 0 to below 1: {accepted}")
        if at in found:
            raise ValueError(f"two stages begin at {at:g}; keep one")
        found[at] = _read(one, read, accepted)
    if 0 not in found:
        raise ValueError(f"no stage begins at 0, where the run does; accepted: {accepted}")
    return dict(sorted(found.items()))


def _read(value: Any, read: Callable[[Any], float], accepted: str) -> float:
    try:
        return read(value)
    except ValueError:
        raise ValueError(f"{value!r} is not accepted; accepted: {accepted}") from None


def share_stages(value: Mapping[Any, Any]) -> float | dict[float, float]:
    """Of ``share``.

    Raises:
        ValueError: no share, or none above 0.
    """
    found = read_stages(value, _part, "a part from 0 to 1 for each stage, as {0: 0.2, 0.8: 0.5}")
    if isinstance(found, dict) and not any(found.values()):
        raise ValueError("every stage is 0; share: 0 measures a source and does not train on it")
    return found


def _part(value: Any) -> float:
    try:
        part = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, OverflowError):
        part = math.nan
    if not 0 <= part <= 1:
        raise ValueError
    return part
