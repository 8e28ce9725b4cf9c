"""How many probes of which length: successive halving, by thirds, within a cost that is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acclimate.config.chosen.search import CONTROL
from acclimate.types.errors import ConfigError
from acclimate.verbs.search.candidate import Candidate

KEPT = 3
"""One in so many goes on from a rung to the next, which is so many times as long: each rung then costs the same."""
SHORTEST = 3
"""Steps: a probe has a rise, a peak and a fall of its learning rate."""
MOST_RUNGS = 4

Cost = Callable[[Candidate, int], float]
"""(candidate, steps) to forwards."""


@dataclass(frozen=True)
class Rung:
    """Probes of one length."""

    steps: int
    probes: int
    """At most: those that go on, and the best of sft where it is none of them."""


@dataclass(frozen=True)
class Ladder:
    """What is tried, and what that costs at most."""

    rungs: tuple[Rung, ...]
    tried: tuple[Candidate, ...]
    untried: tuple[Candidate, ...]
    """For want of cost."""
    cost: float
    """Forwards of all probes at most."""


def going_on(count: int) -> int:
    """Of so many probes of a rung, how many the next one has.

    >>> going_on(12), going_on(4), going_on(2)
    (4, 2, 1)
    """
    return math.ceil(count / KEPT)


def ladder(found: Sequence[Candidate], required: int, longest: int, limit: float, cost: Cost) -> Ladder:
    """The most candidates that ``limit`` pays for, over as few rungs as that allows.

    Of the first rung every candidate is counted, of a later one the dearest that could be in it, so no choice on the
    way costs more. Candidates are left out from the end of their order; the required ones never are: where they are too
    dear, all probes are shorter.

    Args:
        found: in the order in which they are tried.
        required: so many of them are not left out.
        longest: steps of the last rung.
        limit: forwards.
        cost: of a probe.

    Raises:
        ConfigError: nothing that is long enough to tell anything can be paid for.
    """
    if longest < SHORTEST:
        raise ConfigError(
            f"search.length: a probe may have {longest} steps, and one of fewer than {SHORTEST} tells nothing; raise "
            "the budget or search.length, or name a method and its learning rate."
        )
    for count in range(len(found), required - 1, -1):
        for rungs in range(1, MOST_RUNGS + 1):
            if (made := _ladder(found, count, rungs, longest, cost)) is not None and made.cost <= limit:
                return made
    for steps in range(longest - 1, SHORTEST - 1, -1):
        if (made := _ladder(found, required, 1, steps, cost)) is not None and made.cost <= limit:
            return made
    least = _ladder(found, required, 1, SHORTEST, cost)
    assert least is not None
    raise ConfigError(
        f"search.cost: {required} probes of {SHORTEST} steps cost {least.cost:,.0f} forwards, more than the "
        f"{limit:,.0f} that they may; raise search.cost or the budget, or try fewer methods."
    )


def _ladder(found: Sequence[Candidate], count: int, rungs: int, longest: int, cost: Cost) -> Ladder | None:
    """Of the first ``count`` candidates; None where its shortest probes would be too short, or one rung does it all."""
    tried = found[:count]
    lengths = [longest // KEPT**more for more in range(rungs - 1, -1, -1)]
    controls = [one for one in tried if one.label == CONTROL]
    if lengths[0] < SHORTEST:
        return None
    made, total, going = [], 0.0, count
    for steps in lengths:
        costs = sorted((cost(one, steps) for one in tried), reverse=True)
        control = max(cost(one, steps) for one in controls) if going < count else 0.0
        total += sum(costs[:going]) + control
        made.append(Rung(steps, going + (going < count)))
        going = going_on(going)
    return Ladder(tuple(made), tuple(tried), tuple(found[count:]), total)
