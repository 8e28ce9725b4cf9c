"""Forgetting of a fine-tuned model over the share of injected pre-training text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from acclimate.laws.form import NOT_NEGATIVE, POSITIVE, SHARE, Array, Form, Parameter, Values
from acclimate.types.errors import UsageError


def forgetting(outcome: Literal["loss", "drift"] = "loss", *, size: bool = False) -> Form:
    """The general loss after fine-tuning on D tokens, of which a share p besides was pre-training text.

    Formula: L = L_start + A D^beta / ((1 + B p) N)^alpha; of ``drift`` the second term alone;
        without ``size`` N is in A

    Columns: replay p in [0, 1], the part of pre-training (general) text; tokens D of fine-tuning (any unit);
        start, the general loss of the base; parameters N with ``size``; loss, or drift [nats/token].

    Identified: p that all have B p >> 1 tell A / B^alpha alone: the table needs p = 0 and a p near 1 / B. One number of
        tokens leaves beta and A loose. Predictions count. [ours]

    Args:
        outcome: ``drift`` is a change that is 0 at the start: KL(base || tuned), or the loss less the base's. That KL
            follows this form is ours.
        size: whether the table holds several model sizes.

    Example:
        >>> import numpy as np
        >>> values = {"A": 0.8, "beta": 0.3, "B": 200.0, "alpha": 0.6}
        >>> table = {"replay": np.array([0.0, 0.01]), "tokens": np.array([4.0, 4.0]), "start": np.array([3.0, 3.0])}
        >>> forgetting().curve(table, values).round(5)
        array([4.21257, 3.62724])

    Reference: arXiv 2502.06042, ICML 2025 [second-hand]; its exponents were not readable, check before quoting.
    """
    if outcome not in ("loss", "drift"):
        raise UsageError(f"Forgetting is fitted to 'loss' or 'drift', not '{outcome}'.")
    from_start = outcome == "loss"

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        protected = 1 + values["B"] * table["replay"]
        protected = protected * table["parameters"] if size else protected
        change: Array = values["A"] * table["tokens"] ** values["beta"] * protected ** -values["alpha"]
        return table["start"] + change if from_start else change

    parameters = (
        Parameter("A", low=0.0),
        Parameter("beta", (0.2, 0.5, 1.0), 0.0, 3.0),
        Parameter("B", (3.0, 30.0, 300.0), 0.0, 1e5),
        Parameter("alpha", (0.2, 0.5, 1.0), 0.0, 5.0),
    )
    inputs = ("replay", "tokens", *(("start",) if from_start else ()), *(("parameters",) if size else ()))
    left = "L = L_start + " if from_start else "drift = "
    ranges = {"replay": SHARE, "tokens": POSITIVE, "start": NOT_NEGATIVE, "parameters": POSITIVE}
    units = {
        "replay": "part of tokens",
        "tokens": "any",
        "start": "nats/token",
        "parameters": "any",
        outcome: "nats/token",
    }
    return Form(
        "forgetting", f"{left}A D^beta / {'((1 + B p) N)' if size else '(1 + B p)'}^alpha", inputs, outcome,
        parameters, curve,
        source="arXiv 2502.06042, ICML 2025 [second-hand]", units={name: units[name] for name in (*inputs, outcome)},
        ranges={name: ranges[name] for name in inputs}, varying=("replay",),
    )  # fmt: skip
