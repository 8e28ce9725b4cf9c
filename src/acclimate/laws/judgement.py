"""Laws of anchored runs over a table: which forms compete, and what other runs tell of their noise."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from acclimate.laws.anchored import DRIFT, GAIN, TURNING, drift_forms, gain_forms, turning_form
from acclimate.laws.competing import Judged, compete
from acclimate.laws.form import Array, Columns
from acclimate.laws.intervals import Prior
from acclimate.types.errors import UsageError, listed, nearest

TURNS = 0.5
"""From this weight on a drift that falls again is believed [ours]."""
USUAL = {DRIFT: 0.097, GAIN: 0.0106}
"""Outcome -> how far runs usually lie off their laws: parts of drift itself, and of the largest gain of a table.

Of 20 fits of drift and 9 of gain to runs of SmolLM2-135M on medical text (benchmarks/2026-11-30-law-noise.md) [ours].
"""
BEND = 0.308
"""What learning rates from 2e-5 to 5e-4 add to drift's, of 4 fits: its slope in the rate falls from 2.6 to 0.5, and no
form bends so. A narrower range adds less, by the square of its logarithm, as a curve lies off its chord [ours]."""
BENT = 25.0
USUAL_FREEDOM = 4.0
"""As many degrees of freedom these scales count. Fits differ no more than small samples do, but one model and one
corpus are too few to trust them more [ours]."""


@dataclass(frozen=True)
class Judgement:
    """Competing laws of anchored runs.

    Args:
        turning: the weight of a drift that falls again, beside the forms that rise; None where it was not tried.
    """

    judged: Judged
    turning: float | None = None


def judge(
    outcome: str,
    table: Columns,
    varied: Collection[str],
    groups: Sequence[object] | None = None,
    *,
    unit: str = "",
    prior: Prior | None = None,
) -> Judgement:
    """The forms of drift or gain over a table, with the noise that other runs show.

    Drift that falls again is a rare thing, and six runs seldom deny it. So :func:`turning_form` is tried beside the
    forms that rise, and joins them where it has half of the weight or more [ours].

    Args:
        outcome: :data:`DRIFT` or :data:`GAIN`, a column of the table.
        table: :data:`INPUTS`, or those of them that are known, and the outcome; [n] each.
        varied: of :data:`INPUTS`, those that laws are over.
        groups: the run of each row, [n]; None: each row is a run.
        prior: None: :func:`usual_noise`.

    Raises:
        UsageError: as :func:`~acclimate.laws.competing.compete` and :func:`usual_noise`.

    Example:
        >>> runs = {"tokens": [1e4, 2e4, 4e4, 8e4, 1.6e5], "drift": [0.1, 0.14, 0.21, 0.28, 0.41]}
        >>> found = judge("drift", runs, {"tokens"}, unit="nats/token")
        >>> round(found.judged.predict({"tokens": [1e5]})[0].value, 2), found.turning < 0.5
        (0.32, True)
    """
    prior = prior or _prior(outcome, table, varied)
    forms = drift_forms(varied) if outcome == DRIFT else gain_forms(varied)
    judged = compete(forms, table, groups, unit=unit, prior=prior)
    if outcome == GAIN or "tokens" not in varied:
        return Judgement(judged)
    both = compete([*forms, turning_form(varied)], table, groups, unit=unit, prior=prior)
    weight = None if both.reason is not None else both.weights.get(TURNING)
    return Judgement(both if (weight or 0.0) >= TURNS else judged, weight)


def _prior(outcome: str, table: Columns, varied: Collection[str]) -> Prior | None:
    """None for a table that is wrong: the forms say where."""
    measured, rates = (np.asarray(table.get(name, [1.0]), dtype=np.float64) for name in (outcome, "rate"))
    if not (np.isfinite(measured).all() and np.isfinite(rates).all() and (rates > 0).all()):
        return None
    return usual_noise(outcome, measured, float(rates.max() / rates.min()) if "rate" in varied else 1.0)


def usual_noise(outcome: str, measured: Array, span: float = 1.0) -> Prior:
    """What other runs tell of the noise of these, for ``compete(..., prior=)``.

    Args:
        outcome: :data:`DRIFT` or :data:`GAIN`.
        measured: it, of the runs at hand, [n]; one of them is not 0.
        span: the largest learning rate over the smallest, 1 or more.

    Raises:
        UsageError: the outcome has another name, or all of a gain is 0.

    Example:
        >>> usual_noise(DRIFT, np.array([0.1, 0.3])).scale, usual_noise(GAIN, np.array([0.1, 0.2])).scale
        (0.097, 0.00212)
    """
    if outcome not in USUAL:
        raise UsageError(f"Noise is known of {listed(USUAL)}; '{outcome}' is neither.{nearest(outcome, USUAL)}")
    if outcome == DRIFT:
        bend = BEND * (math.log(span) / math.log(BENT)) ** 2
        return Prior(math.hypot(USUAL[DRIFT], bend), USUAL_FREEDOM)
    if not np.any(measured):
        raise UsageError("gain is 0 in every row, so it has no noise to be in parts of; leave gain out.")
    return Prior(USUAL[GAIN] * float(np.abs(measured).max()), USUAL_FREEDOM)
