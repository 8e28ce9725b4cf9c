"""A formula with named parameters, apart from any data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
"""A table: name -> one number a row, [n]; every column has the same length."""
Values = Mapping[str, float]
"""Parameters: name -> value."""


@dataclass(frozen=True)
class Parameter:
    """One unknown of a form: its bounds, and where fits begin.

    Args:
        starts: values within the bounds; a fit begins at every combination of all parameters' starts.
    """

    name: str
    starts: tuple[float, ...]
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
    """

    name: str
    formula: str
    inputs: tuple[str, ...]
    outcome: str
    parameters: tuple[Parameter, ...]
    curve: Callable[[Columns, Values], Array]
    log: bool = True
    delta: float = 1e-3
    source: str = "[ours]"

    def residuals(self, table: Columns, values: Values) -> Array:
        """Predicted less measured, of logarithms where ``log``; [n]."""
        predicted = self.curve(table, values)
        if not self.log:
            return predicted - table[self.outcome]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(predicted) - np.log(table[self.outcome])
