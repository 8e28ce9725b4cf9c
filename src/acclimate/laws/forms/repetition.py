"""What repeating a corpus is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from acclimate.laws.form import POSITIVE, Array, Form, Parameter, Values
from acclimate.types.errors import UsageError

SOURCE = "arXiv 2305.16264 and the authors' repository datablations [from code]"
PUBLISHED: Values = {
    "A": math.exp(6.255414), "B": math.exp(7.3049974), "E": math.exp(0.6254804), "alpha": 0.3526596, "beta": 0.3526596,
    "R_D": 15.387756, "R_N": 5.309743,
}  # fmt: skip
"""Tokens and parameters in ones; the repository prints the logarithms of A, B and E. [from code]"""
NEARLY_FRESH = 4
"""Epochs up to which repeated text is nearly as good as new. [from code]"""
VANISHED = 16
"""Epochs by which another one brings next to nothing. [from code]"""


def saturated(unique: Array | float, total: Array | float, constant: float) -> Array:
    """U + U R* (1 - exp(-R / R*)), R = total / U - 1; the total itself where there is less of it than unique."""
    unique, total = np.asarray(unique, dtype=np.float64), np.asarray(total, dtype=np.float64)
    kept = np.minimum(unique, total)
    worth: Array = kept + kept * constant * -np.expm1(-(total / kept - 1) / constant)
    return worth


def effective_epochs(epochs: Array | float, constant: float = PUBLISHED["R_D"]) -> Array:
    """How many epochs of fresh text so many epochs of the same text are worth.

    Formula: 1 + R* (1 - exp(-(epochs - 1) / R*)) for epochs >= 1, else epochs

    Args:
        epochs: > 0.
        constant: R*, 15.39 [from code].

    Example:
        >>> effective_epochs(np.array([2, 4, 8, 16, 40])).round(3)
        array([ 1.968,  3.726,  6.624, 10.582, 15.167])

    Reference: arXiv 2305.16264 and datablations [from code].
    """
    if (np.asarray(epochs) <= 0).any():
        raise UsageError("Epochs are more than 0.")
    return saturated(1.0, epochs, constant)


def effective_tokens(unique: Array | float, tokens: Array | float, constant: float = PUBLISHED["R_D"]) -> Array:
    """D': how many fresh tokens are worth what ``tokens`` of a corpus of ``unique`` ones are.


    >>> float(effective_tokens(1e6, 16e6).round(-4))
    10580000.0
    """
    return np.asarray(unique) * effective_epochs(np.asarray(tokens) / np.asarray(unique), constant)


def another_epoch(epochs: Array | float, constant: float = PUBLISHED["R_D"]) -> Array:
    """Of the next epoch's tokens, the part that counts: exp(-R / R*) at R = epochs - 1, from 1 down to 0.

    >>> another_epoch(np.array([1, 4, 16])).round(2)
    array([1.  , 0.82, 0.38])
    """
    worth: Array = np.exp(-np.maximum(np.asarray(epochs, dtype=np.float64) - 1, 0) / constant)
    return worth


def repetition(*, size: bool = False) -> Form:
    """The loss over tokens of which only some are unique.

    Formula: L = E + B / D'^beta with D' = U + U R_D (1 - exp(-(D / U - 1) / R_D))
        and with ``size`` + A / N'^alpha, N' likewise with R_N, U_N = min(N, G (G U)^(beta / alpha)),
        G = (alpha A / (beta B))^(1 / (alpha + beta)): the size that Chinchilla's law finds best for U tokens

    Columns: unique U, tokens D (> 0, one unit; with ``size`` both in ones), parameters N with ``size``; loss.

    Identified: without rows of several epochs R_D is loose; with one number of unique tokens the rest is told. [ours]

    Args:
        size: whether the table holds several model sizes.

    Example:
        >>> table = {"unique": np.array([1e8]), "tokens": np.array([4e8]), "parameters": np.array([1e8])}
        >>> repetition(size=True).curve(table, PUBLISHED).round(3)
        array([4.464])

    Reference: arXiv 2305.16264 and datablations [from code]. Bounds and starts [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        loss = values["E"] + values["B"] * saturated(table["unique"], table["tokens"], values["R_D"]) ** -values["beta"]
        if not size:
            return loss
        alpha, beta = values["alpha"], values["beta"]
        best = (alpha * values["A"] / (beta * values["B"])) ** (1 / (alpha + beta))  # G
        fitting = best * (best * np.minimum(table["unique"], table["tokens"])) ** (beta / alpha)
        return loss + values["A"] * saturated(fitting, table["parameters"], values["R_N"]) ** -alpha

    published = PUBLISHED if size else None  # U_N is not linear in A and B
    parameters = (
        Parameter("E", low=0.0),
        Parameter("B", (published["B"],) if published else (), 0.0 if not published else 1e-9),
        Parameter("beta", (0.15, 0.35, 0.6), 0.01, 3.0),
        Parameter("R_D", (4.0, 15.0, 50.0), 0.1, 1e4),
        *(
            (
                Parameter("A", (published["A"],), 1e-9),
                Parameter("alpha", (0.35,), 0.01, 3.0),
                Parameter("R_N", (5.0,), 0.1, 1e4),
            )
            if published
            else ()
        ),
    )
    inputs = ("unique", "tokens", *(("parameters",) if size else ()))
    units = {"unique": "tokens", "tokens": "tokens", "parameters": "parameters", "loss": "nats/token"}
    worth = "D_eff = U + U R_D (1 - exp(-(D/U - 1) / R_D))"
    return Form(
        "repetition", f"L = E{' + A / N_eff^alpha' * size} + B / D_eff^beta, {worth}", inputs, "loss", parameters,
        curve, source=SOURCE, units={name: units[name] for name in (*inputs, "loss")},
        ranges=dict.fromkeys(inputs, POSITIVE), varying=("tokens", "unique"),
    )  # fmt: skip
