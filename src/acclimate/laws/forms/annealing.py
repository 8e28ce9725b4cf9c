"""The loss of a run over its learning rates: how far it went, and how much it annealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy.signal import lfilter

from acclimate.laws.form import NOT_NEGATIVE, Array, Form, Parameter, Values
from acclimate.types.errors import UsageError

MOMENTUM = 0.999
"""lambda of S2. [paper]"""
Warmup = Literal["peak", "literal"]


def sums(
    rates: Sequence[float] | Array, *, warmup_steps: int = 0, warmup: Warmup = "peak", momentum: float = MOMENTUM
) -> tuple[Array, Array]:
    """S1 and S2 of a schedule after each of its steps, [T] each.

    Formula: S1_t = sum_(i <= t) eta_i
        m_t = momentum m_(t-1) + eta_(t-1) - eta_t, m_0 = 0
        S2_t = sum_(i <= t) m_i

    A continued run has sums of its own, from its own first step on. [paper]

    Args:
        rates: eta, [T] the learning rate of each optimizer step, >= 0.
        warmup_steps: how many of the first steps warm up.
        warmup: ``peak`` counts them with the largest rate, so that they give S2 nothing, as the authors' script does
            [from code]; ``literal`` counts them as they are, so that S2 falls below 0 at first, which fits the
            script's own losses better [ours].
        momentum: in [0, 1).

    Raises:
        UsageError: rates are empty, negative or not finite, or more steps warm up than there are.

    Example:
        >>> forwards, annealed = sums([1.0, 1.0, 0.5], momentum=0.5)
        >>> forwards, annealed
        (array([1. , 2. , 2.5]), array([0. , 0. , 0.5]))

    Reference: arXiv 2408.11029 [paper]; the authors' script for warm-up [from code].
    """
    eta = np.array(rates, dtype=np.float64)
    if eta.ndim != 1 or not eta.size or not np.isfinite(eta).all() or (eta < 0).any():
        raise UsageError("A schedule is one learning rate a step, each finite and 0 or more.")
    if warmup not in ("peak", "literal"):
        raise UsageError(f"warmup is 'peak' or 'literal', not '{warmup}'.")
    if not 0 <= warmup_steps <= len(eta):
        raise UsageError(f"{warmup_steps} steps warm up, of a schedule of {len(eta)}.")
    if warmup == "peak":
        eta[:warmup_steps] = eta.max()
    drops = -np.diff(eta, prepend=eta[0])
    return np.cumsum(eta), np.cumsum(lfilter([1.0], [1.0, -momentum], drops))


def annealing() -> Form:
    """The loss of one model on one corpus, at any step of any schedule.

    Formula: L = L0 + A S1^-alpha - C S2, all parameters >= 0

    Columns: s1 (> 0) and s2 of :func:`sums` [sum of learning rates], loss [nats/token].

    Identified: a constant schedule has S2 = 0, which leaves C loose; one run that anneals is enough. [ours]

    Example:
        >>> form = annealing()
        >>> values = {"L0": 2.6, "A": 0.4, "alpha": 0.5, "C": 0.4}
        >>> form.curve({"s1": np.array([4.0]), "s2": np.array([0.5])}, values)
        array([2.6])

    Reference: arXiv 2408.11029 [paper]; Huber's delta 1e-3 on log loss and bounds [from code]. L0, A and C begin at
    the table's least squares instead of the script's grid [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        return values["L0"] + values["A"] * table["s1"] ** -values["alpha"] - values["C"] * table["s2"]

    parameters = (
        Parameter("L0", low=0.0),
        Parameter("A", low=0.0),
        Parameter("alpha", (0.1, 0.4, 0.8), 0.0, 10.0),
        Parameter("C", low=0.0),
    )
    units = {"s1": "sum of learning rates", "s2": "sum of learning rates", "loss": "nats/token"}
    return Form(
        "annealing", "L = L0 + A S1^-alpha - C S2", ("s1", "s2"), "loss", parameters, curve,
        source="arXiv 2408.11029 [paper][from code]", units=units, ranges={"s1": NOT_NEGATIVE}, varying=("s1",),
    )  # fmt: skip
