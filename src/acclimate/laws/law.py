"""A form whose parameters are known: it predicts, and says which parameters the table does not tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acclimate.laws.form import Array, Columns, Form, Values

STEP = 1e-6
"""Of a finite difference, relative to a parameter."""
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
    table: Columns
    cost: float
    fixed: frozenset[str] = frozenset()

    def predict(self, points: Columns) -> Array:
        """The outcome at each point, [m]. Intervals are a bootstrap's: :mod:`acclimate.laws.intervals`."""
        return self.form.curve(points, self.values)

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
        fitted curve hardly moves; so the parameters are no finding, and only predictions near the table count. [ours]
        """
        jacobian = self.jacobian()
        noise = float(np.sqrt((self.residuals**2).sum() / max(1, len(self.residuals) - jacobian.shape[1])))
        _, singular, directions = np.linalg.svd(jacobian, full_matrices=True)
        strengths = np.zeros(jacobian.shape[1])
        strengths[: len(singular)] = singular
        found = []
        for strength, direction in zip(strengths, directions, strict=True):
            if strength <= 1e-9 * strengths[0] or noise / strength > LOOSE:
                named = zip(self.free, direction, strict=True)
                found.append({name: float(weight) for name, weight in named if abs(weight) > 0.1})
        return tuple(found)
