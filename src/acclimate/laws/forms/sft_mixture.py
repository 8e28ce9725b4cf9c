"""The law of supervised fine-tuning on several sets, and its mixture of least loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acclimate.laws.form import NOT_NEGATIVE, Array, Form, Parameter, Values
from acclimate.laws.law import Law
from acclimate.laws.simplex import Optimum, minimum
from acclimate.types.errors import UsageError

SOURCE = "arXiv 2508.11953, ICML 2025 [second-hand]"


def sft_mixture() -> Form:
    """The loss on one set over its own tokens and those of all others, which count for it in part.

    Formula: L = C (N + k M^alpha)^-beta + E with 0 <= k, alpha <= 1, so that M tokens never count as more than M

    Columns: tokens N of the set itself, other_tokens M of all others (both >= 0; 1 or more where not 0); loss.

    Identified: runs at one M, or runs whose M grows with N, leave k and alpha loose. The start and four perturbations
        of each set (1/3, 1/2, 2 and 3 times) tell them [second-hand].

    Example:
        >>> values = {"C": 4.0, "k": 0.0, "alpha": 0.5, "beta": 1.0, "E": 1.0}
        >>> sft_mixture().curve({"tokens": np.array([2.0]), "other_tokens": np.array([9.0])}, values)
        array([3.])

    Reference: arXiv 2508.11953, ICML 2025 [second-hand]; that k <= 1 and alpha <= 1 keep the transfer below the actual
    amount [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        counted = table["tokens"] + values["k"] * table["other_tokens"] ** values["alpha"]
        return values["C"] * counted ** -values["beta"] + values["E"]

    parameters = (
        Parameter("C", low=0.0),
        Parameter("k", (0.02, 0.3), 0.0, 1.0),
        Parameter("alpha", (0.4, 0.9), 0.0, 1.0),
        Parameter("beta", (0.1, 0.3, 0.8), 0.01, 3.0),
        Parameter("E", low=0.0),
    )
    return Form(
        "sft_mixture", "L = C (N + k M^alpha)^-beta + E", ("tokens", "other_tokens"), "loss", parameters, curve,
        source=SOURCE, units={"tokens": "tokens", "other_tokens": "tokens", "loss": "nats/token"},
        ranges={"tokens": NOT_NEGATIVE, "other_tokens": NOT_NEGATIVE}, varying=("tokens", "other_tokens"),
    )  # fmt: skip


def sft_optimum(
    laws: Sequence[Law], total: float, *, weights: Sequence[float] | None = None, low: float = 1e-3, high: float = 1.0
) -> Optimum:
    """The parts of a token budget of least summed loss, and what equal parts give.

    Formula: min over w of sum_i L_i(N = w_i total, M = (1 - w_i) total), convex for these laws [second-hand]

    Args:
        laws: one of each set.
        total: tokens in all.
        weights: of the sets, [len(laws)]; 1 each by default.
        low: no part is 0 [second-hand]; the number is ours.
        high: of each part.

    Raises:
        UsageError: weights are not one a law, or bounds leave no mixture.

    Example:
        >>> values = {"k": 0.0, "alpha": 0.5, "beta": 1.0, "E": 0.0}
        >>> laws = [Law(sft_mixture(), {**values, "C": c}, {}, 0.0) for c in (1, 4)]
        >>> sft_optimum(laws, 1000.0).shares.round(4)  # proportional to C^(1 / (1 + beta))
        array([0.3333, 0.6667])

    Reference: arXiv 2508.11953, ICML 2025 [second-hand].
    """
    parts = np.ones(len(laws)) if weights is None else np.asarray(weights, dtype=np.float64)
    if parts.shape != (len(laws),):
        raise UsageError(f"{len(laws)} laws have one weight each; {parts.size} were given.")

    def loss(shares: Array) -> float:
        own = np.clip(shares, 0.0, 1.0) * total
        losses = [
            law.predict({"tokens": [tokens], "other_tokens": [total - tokens]})[0]
            for law, tokens in zip(laws, own.tolist(), strict=True)
        ]
        return float(np.dot(parts, losses))

    return minimum(loss, len(laws), low=low, high=high)
