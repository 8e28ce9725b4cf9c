"""A form and a table make a law: Huber regression from many starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import least_squares, lsq_linear

from acclimate.laws.form import Array, Columns, Form, Parameter, Values
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError

STARTS = 24
"""Tried at most: the best of all combinations by their own cost."""
FINISHED = 3
"""Starts that go further than a few steps."""
EVALUATIONS = 15
"""Of the curve, between two weighings of the residuals."""


def fit(form: Form, table: Columns, *, fixed: Values | None = None, starts: Sequence[Values] = ()) -> Law:
    """The parameters of least Huber loss.

    Formula: min over theta of sum_i h(r_i), where r is what ``form.residuals`` gives, h(r) = r^2 / 2 below ``delta``
    and delta (|r| - delta / 2) above. Bounds are kept. The method is least squares (SciPy's trust-region reflective)
    with weights min(1, delta / |r|), weighed anew until the loss stands still.

    Args:
        table: form.inputs and form.outcome, [n] each; other columns are not read.
        fixed: parameters that are known.
        starts: where to begin instead of the form's own starts; a missing parameter takes its first one, or the
            table's where it has none.

    Raises:
        UsageError: a column is missing, not finite or out of its range; what the form is about is constant; there are
            fewer rows than parameters to fit; a parameter is unknown; or no start gives a finite curve.

    Example:
        >>> from acclimate.laws.forms.power import power
        >>> share = [0.1, 0.2, 0.4, 0.8]
        >>> law = fit(power(), {"share": share, "loss": [2 + 0.5 * part**0.5 for part in share]})
        >>> {name: round(value, 3) for name, value in law.values.items()}
        {'a': 0.5, 's': 0.5, 'b': 2.0}
    """
    # 1. what is given, checked
    fixed = dict(fixed or {})
    form.known(fixed, "fixed")
    for start in starts:
        form.known(start, "starts")
    data = form.columns(table, outcome=True)
    unknown = [parameter for parameter in form.parameters if parameter.name not in fixed]
    rows = len(data[form.outcome])
    if rows < len(unknown):
        raise UsageError(
            f"The form '{form.name}' has {len(unknown)} unknown parameters ({', '.join(one.name for one in unknown)}) "
            f"and the table only {rows} row{'s' if rows > 1 else ''}."
        )
    if form.varying and all(np.ptp(data[name]) == 0 for name in form.varying):
        raise UsageError(
            f"Every row of the table has the same {' and '.join(form.varying)}, which tells the form '{form.name}' "
            f"nothing: {form.formula}. Add a run at another value."
        )
    low, high = (np.array([getattr(parameter, end) for parameter in unknown], dtype=float) for end in ("low", "high"))

    def values(theta: Array) -> dict[str, float]:
        return {**fixed, **{parameter.name: float(number) for parameter, number in zip(unknown, theta, strict=True)}}

    def residuals(theta: Array) -> Array:
        # A curve that leaves its domain is refused by a large residual: least_squares wants numbers.
        return np.nan_to_num(form.residuals(data, values(theta)), nan=1e3, posinf=1e3, neginf=-1e3)

    # 2. where to begin: combinations of starts, the cheapest first
    first = {parameter.name: parameter.starts[0] for parameter in unknown if parameter.starts}
    begin = [{**first, **start} for start in starts] or [
        dict(zip(first, numbers, strict=True))
        for numbers in itertools.product(*(one.starts for one in unknown if one.starts))
    ]
    whole = [_linear(form, data, unknown, {**fixed, **start}) for start in begin]
    thetas = [np.clip([start[one.name] for one in unknown], low, high) for start in whole]
    costs = [huber(form.residuals(data, values(theta)), form.delta) for theta in thetas]
    order = [index for index in np.argsort(costs, kind="stable")[:STARTS] if math.isfinite(costs[index])]
    if not order:
        raise UsageError(f"The form '{form.name}' has no finite value at this table for any start: {form.formula}.")
    if not unknown:
        return Law(form, fixed, data, costs[0], frozenset(fixed))

    # 3. each goes some way downhill, the lowest ones further, the lowest of these to the end
    def downhill(theta: Array, rounds: int) -> tuple[float, Array]:
        # Residuals beyond delta count by weight, renewed each round, which never climbs. least_squares' own Huber loss
        # takes their curvature as 0 and stands still where most residuals are beyond delta.
        cost = huber(residuals(theta), form.delta)
        for _ in range(rounds):
            weights = np.sqrt(np.minimum(1.0, form.delta / np.maximum(np.abs(residuals(theta)), form.delta * 1e-9)))
            end = least_squares(
                lambda there, weights=weights: weights * residuals(there),
                theta,
                bounds=(low, high),
                x_scale="jac",
                ftol=1e-9,
                xtol=1e-12,
                gtol=1e-15,  # absolute, and residuals are of a thousandth
                max_nfev=EVALUATIONS,
            )
            before, cost, theta = cost, huber(residuals(end.x), form.delta), end.x
            if before - cost <= 1e-7 * cost and end.status > 0:
                break
        return cost, theta

    begun = sorted((downhill(thetas[index], 1) for index in order), key=lambda end: end[0])
    ends = [downhill(theta, 10) for _, theta in begun[:FINISHED]]
    cost, best = downhill(min(ends, key=lambda end: end[0])[1], 100)
    return Law(form, values(best), data, cost, frozenset(fixed))


def huber(residuals: Array, delta: float) -> float:
    """sum of r^2 / 2 where |r| <= delta, else of delta (|r| - delta / 2).

    >>> huber(np.array([0.1, 3.0]), 1.0)
    2.505
    """
    size = np.abs(residuals)
    return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum())


def _linear(
    form: Form, data: Mapping[str, Array], unknown: Sequence[Parameter], given: Mapping[str, float]
) -> dict[str, float]:
    """``given`` and the parameters that the curve is linear in, by bounded least squares of the (relative) error."""
    missing = [parameter for parameter in unknown if parameter.name not in given]
    zero = {**given, **{parameter.name: 0.0 for parameter in missing}}
    if not missing:
        return zero
    with np.errstate(all="ignore"):
        rest = form.curve(data, zero)
        slopes = [form.curve(data, {**zero, parameter.name: 1.0}) - rest for parameter in missing]
    measured = data[form.outcome]
    design, target = np.stack(slopes, axis=1), measured - rest
    if form.log:
        design, target = design / measured[:, None], target / measured
    if not (np.isfinite(design).all() and np.isfinite(target).all()):
        return {**zero, **{parameter.name: math.nan for parameter in missing}}
    size = np.linalg.norm(design, axis=0)  # columns of one length: tokens and shares differ by many powers of ten
    size = np.where(size > 0, size, 1.0)
    bounds = [parameter.low for parameter in missing] * size, [parameter.high for parameter in missing] * size
    found = lsq_linear(design / size, target, bounds=bounds).x / size
    return {**zero, **{parameter.name: float(number) for parameter, number in zip(missing, found, strict=True)}}
