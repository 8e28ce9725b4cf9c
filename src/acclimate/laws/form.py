"""A formula with named parameters, apart from any data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from acclimate.types.errors import UsageError, nearest

Array = NDArray[np.float64]
Columns = Mapping[str, Array | Sequence[float]]
"""A table: name -> one number a row, [n]; every column has the same length."""
Values = Mapping[str, float]
"""Parameters: name -> value."""
Range = tuple[float, float]

SHARE: Range = (0.0, 1.0)
NOT_NEGATIVE: Range = (0.0, math.inf)
POSITIVE: Range = (math.nextafter(0.0, 1.0), math.inf)


@dataclass(frozen=True)
class Parameter:
    """One unknown of a form: its bounds, and where fits begin.

    Args:
        starts: values within the bounds; a fit begins at every combination of all parameters' starts. Empty of a
            parameter that the curve is linear in, together with the others of that kind: the table then gives its
            start by bounded least squares, whatever the units.
    """

    name: str
    starts: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Form:
    """What a law says before anything is measured.

    Args:
        formula: as a reader would write it.
        inputs: columns that :attr:`curve` reads.
        outcome: the column that it predicts.
        curve: inputs [n] and parameters -> predicted outcome [n].
        log: residuals are of logarithms: a relative error. Then outcome and curve must be positive.
        delta: where the Huber loss turns from square to absolute, in units of the residual.
        source: paper or code, with the label of its evidence.
        units: of inputs and outcome, for readers.
        ranges: column -> least and greatest value that it may hold.
        varying: inputs of which one at least must differ between rows, or the form's own question has no answer.
    """

    name: str
    formula: str
    inputs: tuple[str, ...]
    outcome: str
    parameters: tuple[Parameter, ...]
    curve: Callable[[Mapping[str, Array], Values], Array]
    log: bool = True
    delta: float = 1e-3
    source: str = "[ours]"
    units: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    varying: tuple[str, ...] = ()

    def residuals(self, table: Mapping[str, Array], values: Values) -> Array:
        """Predicted less measured, of logarithms where ``log``; [n]."""
        with np.errstate(all="ignore"):  # a curve that leaves its domain gives nan or infinity
            predicted = self.curve(table, values)
            return predicted - table[self.outcome] if not self.log else np.log(predicted) - np.log(table[self.outcome])

    def columns(self, table: Columns, *, outcome: bool) -> dict[str, Array]:
        """The columns that the form reads, checked; others are left out.

        Args:
            outcome: whether the column that is predicted must be there too.

        Raises:
            UsageError: a column is missing, of another length, not finite or out of its range.
        """
        needed = (*self.inputs, self.outcome) if outcome else self.inputs
        if missing := [name for name in needed if name not in table]:
            raise UsageError(
                f"The form '{self.name}' reads {', '.join(needed)}; the table has no {', '.join(missing)}."
                + nearest(missing[0], set(table) - set(needed))
            )
        data = {name: np.atleast_1d(np.asarray(table[name], dtype=np.float64)) for name in needed}
        rows = len(data[needed[0]])
        for name, column in data.items():
            if column.shape != (rows,):
                raise UsageError(f"Column '{name}' has shape {column.shape}; '{needed[0]}' has {rows} rows.")
            if (bad := np.flatnonzero(~np.isfinite(column))).size:
                raise UsageError(f"Row {bad[0] + 1} of the table holds no finite number under '{name}'.")
            low, high = self.ranges.get(name, (-math.inf, math.inf))
            if name == self.outcome and self.log:
                low = max(low, POSITIVE[0])
            if (bad := np.flatnonzero((column < low) | (column > high))).size:
                raise UsageError(
                    f"Row {bad[0] + 1} of the table holds {column[bad[0]]:g} under '{name}'; "
                    f"{said((low, high))} is accepted."
                )
        return data

    def known(self, names: Iterable[str], what: str) -> None:
        """Raises a UsageError unless all ``names`` are parameters; ``what`` says where they were given."""
        own = [parameter.name for parameter in self.parameters]
        for name in names:
            if name not in own:
                raise UsageError(
                    f"{what}: the form '{self.name}' has no parameter '{name}', only {', '.join(own)}."
                    + nearest(name, own)
                )


def said(limits: Range) -> str:
    """A range in words.

    >>> said((0.0, 1.0)), said(NOT_NEGATIVE), said(POSITIVE)
    ('0 to 1', '0 or more', 'more than 0')
    """
    low, high = limits
    if limits == POSITIVE:
        return "more than 0"
    return f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
