"""Which probe is chosen, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from acclimate.config.chosen.search import CONTROL
from acclimate.types.errors import RunError
from acclimate.verbs.search.candidate import Candidate

EXPONENT = 0.32
"""Of the token horizon: the best learning rate falls as ``tokens ** -0.32`` (arXiv 2409.19913, pre-training)
[second-hand]; that it holds for tuning is assumed [ours]."""
MOST = 2.0
"""Times the final learning rate, beyond which a probe would tell of another regime [ours]."""
REACH = 2.0
"""Times the budget, which a probe may drift whose method has a strength: the final run's controller moves it, and the
strengths that it may set, 0.03 to 10, end a factor of 2.2 apart (benchmarks/2026-11-30-budget.md) [ours]."""
ENOUGH = 0.98
"""Of the best gain: what gains so much is not told from it, and the one that forgot least is taken [ours]."""


@dataclass(frozen=True)
class Found:
    """What a probe showed, on documents that no report uses."""

    name: str
    candidate: Candidate
    steps: int
    outcome: Literal["finished", "diverged"]
    gain: float | None = None
    """Fall of bits per byte on the domain, in percent, mean over its sets."""
    spent: float | None = None
    """Of the budget, 1 being all of it: of the most exhausted set."""
    forwards: float = 0.0
    seconds: float = 0.0
    steered: bool = False
    """Whether the final run's controller moves the strength of its method."""

    def held(self, power: float) -> float:
        """The gain that is left within the budget.

        ``gain * min(1, excess ** -power)``, where excess is ``spent``, or half of it where a controller can hold the
        method (:data:`REACH`). A model a part ``a`` of the way from the base to the tuned one has at least
        ``a * gain`` where gain is concave along the way, and drifts ``a ** 2`` as far, since KL is flat at the base:
        power 1/2. Bits per byte have a slope there, so that they change with ``a``: power 1 [ours].

        >>> Found("a", CANDIDATE, 3, "finished", gain=20.0, spent=8.0, steered=True).held(0.5)
        10.0
        """
        if self.gain is None or self.spent is None:
            return -math.inf
        excess = self.spent / REACH if self.steered else self.spent
        return self.gain * min(1.0, excess**-power) if self.gain > 0 and excess > 0 else self.gain


CANDIDATE = Candidate("mol", 1e-4, 0.5, None)
"""Of the example above."""


def probe_rate(rate: float, steps: int, total: int) -> float:
    """The learning rate of a probe that stands for a run of ``total`` steps at ``rate``.

    ``rate * min(2, (total / steps) ** 0.32)``. A probe is the whole run in small: its schedule rises, peaks and falls
    as the run's does. The best rate of a short run is higher than that of a long one, so a probe at the final rate
    would choose too high a one.

    >>> round(probe_rate(1e-4, 6, 41) / 1e-4, 2), probe_rate(1e-4, 1, 1000) / 1e-4
    (1.85, 2.0)
    """
    times: float = (total / steps) ** EXPONENT
    return min(1.0, rate * min(MOST, times))


def ranked(found: Sequence[Found], power: float) -> list[Found]:
    """By the gain within the budget, the largest first."""
    return sorted((one for one in found if one.outcome == "finished"), key=lambda one: -one.held(power))


def go_on(found: Sequence[Found], count: int, power: float) -> list[Candidate]:
    """The candidates of the next rung: the best ``count``, and the best of sft where it is none of them."""
    order = [one.candidate for one in ranked(found, power)]
    best = next((one for one in order if one.label == CONTROL), None)
    chosen = order[:count]
    return chosen if best is None or best in chosen else [*chosen, best]


def check_some_finished(found: Sequence[Found]) -> None:
    """
    Raises:
        RunError: all probes of a rung diverged.
    """
    if any(one.outcome == "finished" for one in found):
        return
    rates = sorted({one.candidate.learning_rate for one in found})
    span = f"from {rates[0]:g} to {rates[-1]:g}" if len(rates) > 1 else f"of {rates[0]:g}"
    every = f"All {len(found)} probes" if len(found) > 1 else "The only probe"
    raise RunError(
        f"{every} of {found[0].steps} steps diverged (a loss or gradient was not finite), at learning rates {span}. So "
        f"nothing is chosen. Start a run of another name with lower ones, such as search.learning_rates: "
        f"[{rates[0] / 10:.0e}, {rates[0] / 3:.0e}]. If they diverge as well, a document is broken, or the model is."
    )


def choose(found: Sequence[Found], power: float) -> tuple[Found, str]:
    """The probe whose setting is trained, of the last rung, and why in a sentence.

    Of those with 98 % of the largest gain within the budget, the one that spent least of it: what a probe has not spent
    yet is left for the drift that grows with tokens, and so small a difference in gain tells nothing.

    Raises:
        RunError: all of them diverged.
    """
    check_some_finished(found)
    order = ranked(found, power)
    best = order[0]
    largest = best.held(power)
    alike = [one for one in order if one.held(power) >= ENOUGH * largest] if largest > 0 else [best]
    chosen = min(alike, key=lambda one: (one.spent or 0.0, one.forwards))
    if largest <= 0:
        return chosen, f"No probe gained anything on the domain; of all, {chosen.candidate.says} lost least."
    said = f"{chosen.candidate.says} gained most within the budget"
    if chosen is not best:
        said = (
            f"{chosen.candidate.says} spent least of the budget among those with {ENOUGH:.0%} of the largest gain "
            f"within it ({best.candidate.says})"
        )
    return chosen, f"Of {len(found)} probes of {chosen.steps} steps, {said}."
