"""A form and a table make a law: Huber regression from many starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import least_squares

from acclimate.laws.form import Array, Columns, Form, Values
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError

STARTS = 64
"""Tried at most: the best of all combinations by their own cost."""


def fit(form: Form, table: Columns, *, fixed: Values | None = None, starts: Sequence[Values] = ()) -> Law:
    """The parameters of least Huber loss.

    Formula: min over theta of sum_i h(r_i), where r is what ``form.residuals`` gives, h(r) = r^2 / 2 below ``delta``
    and delta (|r| - delta / 2) above. Bounds are kept. The method is trust-region reflective (SciPy's least_squares).

    Args:
        table: form.inputs and form.outcome, [n] each.
        fixed: parameters that are known.
        starts: where to begin instead of the form's own starts; missing parameters take their first one.

    Raises:
        UsageError: a column is missing or holds no finite number, there are fewer rows than parameters to fit, or no
            start gives a finite curve.
    """
    fixed = dict(fixed or {})
    data = _checked(form, table, len(form.parameters) - len(fixed))
    unknown = [parameter for parameter in form.parameters if parameter.name not in fixed]
    low, high = ([getattr(parameter, end) for parameter in unknown] for end in ("low", "high"))

    def values(theta: Array) -> dict[str, float]:
        return {**fixed, **{parameter.name: float(number) for parameter, number in zip(unknown, theta, strict=True)}}

    def residuals(theta: Array) -> Array:
        # A curve that leaves its domain is refused by a large residual: least_squares wants numbers.
        return np.nan_to_num(form.residuals(data, values(theta)), nan=1e3, posinf=1e3, neginf=-1e3)

    # 1. where to begin: combinations of starts, the cheapest first
    first = {parameter.name: parameter.starts[0] for parameter in unknown}
    begin = [{**first, **start} for start in starts] or [
        dict(zip(first, numbers, strict=True)) for numbers in itertools.product(*(one.starts for one in unknown))
    ]
    thetas = [np.clip([start[one.name] for one in unknown], low, high) for start in begin]
    costs = [_huber(form.residuals(data, values(theta)), form.delta) for theta in thetas]
    order = [index for index in np.argsort(costs, kind="stable")[:STARTS] if math.isfinite(costs[index])]
    if not order:
        raise UsageError(f"the form '{form.name}' has no finite value at this table for any start: {form.formula}")

    # 2. each goes downhill; the lowest end counts
    ends = [
        least_squares(
            residuals, thetas[index], bounds=(low, high), loss="huber", f_scale=form.delta, x_scale="jac", max_nfev=400
        )
        for index in order
    ]
    best = min(ends, key=lambda end: float(end.cost))
    return Law(form, values(best.x), data, float(best.cost), frozenset(fixed))


def _huber(residuals: Array, delta: float) -> float:
    size = np.abs(residuals)
    return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum())


def _checked(form: Form, table: Mapping[str, Array], unknown: int) -> dict[str, Array]:
    needed = (*form.inputs, form.outcome)
    if missing := [name for name in needed if name not in table]:
        raise UsageError(f"the form '{form.name}' reads {', '.join(needed)}; the table has no {', '.join(missing)}")
    data = {name: np.asarray(column, dtype=np.float64) for name, column in table.items()}
    for name in needed:
        if (bad := np.flatnonzero(~np.isfinite(data[name]))).size:
            raise UsageError(f"row {bad[0] + 1} of the table holds no finite number under '{name}'")
    rows = len(data[form.outcome])
    if rows < unknown:
        raise UsageError(f"the form '{form.name}' has {unknown} unknown parameters and the table only {rows} rows")
    return data
