"""Which runs tell a law's parameters apart: a D-optimal choice among candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acclimate.laws.form import Array, Columns, Form
from acclimate.laws.law import Law

RIDGE = 1e-3
"""Added to the information of each parameter: a form with more parameters than runs still compares. [ours]"""


def choose_runs(candidates: Columns, forms: Sequence[Form], count: int) -> list[int]:
    """The candidates that tell most of the parameters of all forms; always the same ones.

    Formula: the rows that maximise sum over forms of log det (J^T J + 1e-3 I). J [rows, parameters] is the slope of a
        form's residuals by the logarithms of its parameters, at its first starts. Rows are added one by one, then
        exchanged as long as that helps. [ours; the criterion is the textbooks' D-optimality]

    Args:
        candidates: inputs of the forms, [n] each.
        count: rows that are chosen, at most n.

    Returns:
        Numbers of the rows, ascending.

    Example:
        >>> from acclimate.laws.anchored import drift_forms
        >>> share = np.array([0.25, 0.5, 0.75, 0.9])
        >>> choose_runs({"share": share, "weight": np.ones(4)}, drift_forms({"share"}), 3)
        [0, 2, 3]
    """
    slopes = [_slopes(form, candidates) for form in forms]
    many = len(next(iter(candidates.values())))

    def worth(rows: Sequence[int]) -> float:
        return sum(_information(slope[list(rows)]) for slope in slopes)

    rows: list[int] = []
    while len(rows) < min(count, many):
        rows.append(max((row for row in range(many) if row not in rows), key=lambda row: worth([*rows, row])))
    best, improved = worth(rows), True
    while improved:
        improved = False
        for place in range(len(rows)):
            for row in sorted(set(range(many)) - set(rows)):
                other = [*rows[:place], row, *rows[place + 1 :]]
                if (found := worth(other)) > best + 1e-9:
                    rows, best, improved = other, found, True
    return sorted(rows)


def _slopes(form: Form, candidates: Columns) -> Array:
    """[n, parameters], each in units of what a residual may be off without being an outlier."""
    values = {parameter.name: parameter.starts[0] for parameter in form.parameters}
    table = {name: np.asarray(candidates[name], dtype=np.float64) for name in form.inputs}
    table[form.outcome] = form.curve(table, values)
    return Law(form, values, table, 0.0).jacobian() / form.delta


def _information(slope: Array) -> float:
    return float(np.linalg.slogdet(slope.T @ slope + RIDGE * np.eye(slope.shape[1]))[1])
