"""Priorities: a race of all rows without replacement, in which rows of a source of high priority come early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from acclimate.data.deal.shares.quota import Known

MOST_ITERATIONS = 200
"""Of Newton's method, which comes to the root from one side; it needs a few."""


class Race(Known):
    """Quotas of a race: every row of source d has a clock of ``Exp(1) / pi_d``, and rows go in the order of clocks.

    ``quota_d = N_d (1 - e^(-pi_d t))``, where t solves ``sum_d N_d (1 - e^(-pi_d t)) = tokens``: what is expected of a
    source among so many. It is the order of HuatuoGPT-II, whose next item is drawn with probability pi of its source
    over the sum of pi of all that are left [from code]. Which rows of a source come first is as random as in a race,
    since each pass has its own order. How many come is not drawn but dealt, within one row of the expected [ours].

    After the last token all begin again at equal shares; a run ends before.

    Args:
        sizes: N, trained tokens of each source.
        priorities: pi of each, above 0; only their ratios count.

    Example:
        >>> race = Race({"law": 100, "web": 100}, {"law": 16, "web": 1})
        >>> [round(race.quota(n, "law"), 2) for n in (50, 100, 150)]
        [46.2, 87.72, 100.0]
        >>> round(race(0)["law"], 4), round(race.quota(200, "web"), 6)
        (0.9412, 100.0)

    Reference:
        arXiv 2311.09774 and FreedomIntelligence/HuatuoGPT-II [from code].
    """

    moving = True

    def __init__(self, sizes: Mapping[str, int], priorities: Mapping[str, float]) -> None:
        highest = max(priorities[name] for name in sizes)
        self._rows = {name: (float(size), priorities[name] / highest) for name, size in sizes.items()}
        self._tokens = math.fsum(sizes.values())

    def __call__(self, tokens: float) -> dict[str, float]:
        if tokens >= self._tokens:
            return dict.fromkeys(self._rows, 1 / len(self._rows))
        at = _time(tokens, list(self._rows.values()))
        logs = {name: math.log(size * priority) - priority * at for name, (size, priority) in self._rows.items()}
        most = max(logs.values())
        speeds = {name: math.exp(log - most) for name, log in logs.items()}
        total = sum(speeds.values())
        return {name: speed / total for name, speed in speeds.items()}

    def quota(self, tokens: float, *names: str) -> float:
        own = [self._rows[name] for name in names]
        if tokens >= self._tokens:
            return sum(size for size, _ in own) + (tokens - self._tokens) * len(own) / len(self._rows)
        return _run(_time(tokens, list(self._rows.values())), own)

    def reached(self, quota: float, *names: str) -> float:
        own = [self._rows[name] for name in names]
        over = quota - sum(size for size, _ in own)
        if over >= 0:
            return self._tokens + over * len(self._rows) / len(own)
        return _run(_time(quota, own), list(self._rows.values()))


def _time(tokens: float, rows: Sequence[tuple[float, float]]) -> float:
    """t at which so many tokens of these sources are past: ``sum_d N_d (1 - e^(-pi_d t)) = tokens``.

    The logarithm of what is left is convex and falls with t, so from below Newton's method never passes the root.
    """
    whole = sum(size for size, _ in rows)
    left = whole - tokens
    if tokens <= 0:
        return 0.0
    at = math.log(whole / left) / max(priority for _, priority in rows)
    for _ in range(MOST_ITERATIONS):
        logs = [math.log(size) - priority * at for size, priority in rows]
        most = max(logs)
        parts = [math.exp(log - most) for log in logs]
        total = sum(parts)
        above = most + math.log(total) - math.log(left)
        step = above * total / sum(part * priority for part, (_, priority) in zip(parts, rows, strict=True))
        at += step
        if step <= 1e-15 * at:
            break
    for _ in range(2 if tokens < left else 0):  # near the start the logarithm of what is left tells little
        speed = sum(size * priority * math.exp(-priority * at) for size, priority in rows)
        at -= (_run(at, rows) - tokens) / speed
    return at


def _run(at: float, rows: Sequence[tuple[float, float]]) -> float:
    """Tokens of these sources whose clock is before t."""
    return sum(-size * math.expm1(-priority * at) for size, priority in rows)
