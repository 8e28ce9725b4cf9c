"""A form whose parameters are known: it predicts, and says which parameters the table does not tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acclimate.laws.form import Array, Columns, Form, Values

STEP = 1e-5
"""Of a finite difference, relative to a parameter."""
ROUNDING = 1e-8
"""A direction's strength below this part of the strongest is the error of the differences themselves."""
LOOSE = 1.0
"""A direction of the parameters whose relative standard error exceeds this is not told by the table. [ours]"""


@dataclass(frozen=True)
class Law:
    """A form and the parameters that a table gave it.

    Args:
        values: name -> fitted value.
        table: what it was fitted to.
        cost: sum of the Huber losses of all residuals.
        fixed: parameters that were given and not fitted.
    """

    form: Form
    values: Values
    table: Mapping[str, Array]
    cost: float
    fixed: frozenset[str] = frozenset()

    def predict(self, points: Columns) -> Array:
        """The outcome at each point, [m]. Intervals are a bootstrap's: :mod:`acclimate.laws.intervals`.

        Raises:
            UsageError: a column of form.inputs is missing, not finite or out of its range.
        """
        return self.form.curve(self.form.columns(points, outcome=False), self.values)

    @cached_property
    def residuals(self) -> Array:
        return self.form.residuals(self.table, self.values)

    @property
    def r_squared(self) -> float:
        """1 - squared residuals over the variation, both as the form measures residuals; nan of a constant outcome."""
        outcome = self.table[self.form.outcome]
        seen = np.log(outcome) if self.form.log else outcome
        spread = float(((seen - seen.mean()) ** 2).sum())
        return float(1 - (self.residuals**2).sum() / spread) if spread > 0 else float("nan")

    @property
    def free(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.form.parameters if parameter.name not in self.fixed)

    def jacobian(self) -> Array:
        """d residual / d log of each free parameter (d parameter where it is 0), [n, k]."""
        columns = []
        for name in self.free:
            size = abs(self.values[name]) or 1.0
            ends = [{**self.values, name: self.values[name] + sign * STEP * size} for sign in (1, -1)]
            above, below = (self.form.residuals(self.table, values) for values in ends)
            columns.append((above - below) / (2 * STEP))
        return np.stack(columns, axis=1)

    def loose(self) -> tuple[dict[str, float], ...]:
        """Directions of the parameters that the table does not tell: each name -> weight of its relative change.

        Along such a direction the parameters change by more than their own size within one standard error, while the
        fitted curve hardly moves; so the parameters are no finding, and only predictions near the table count. As many
        rows as parameters leave no residual to judge by: no direction is told. [ours]
        """
        if not self.free:
            return ()
        jacobian = self.jacobian()
        rows, unknown = jacobian.shape
        noise = float(np.sqrt((self.residuals**2).sum() / (rows - unknown))) if rows > unknown else float("inf")
        _, singular, directions = np.linalg.svd(jacobian, full_matrices=False)
        found = []
        for strength, direction in zip(singular, directions, strict=True):
            if strength <= ROUNDING * singular[0] or noise / strength > LOOSE:
                named = zip(self.free, direction, strict=True)
                found.append({name: float(weight) for name, weight in named if abs(weight) > 0.1})
        return tuple(found)

    def not_told(self) -> tuple[str, ...]:
        """Parameters that take part in a direction of :meth:`loose`, in the form's order."""
        moving = {name for direction in self.loose() for name in direction}
        return tuple(name for name in self.free if name in moving)
