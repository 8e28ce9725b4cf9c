"""The D-CPT law: loss over model size, tokens and share, and its two uses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acclimate.laws.form import POSITIVE, SHARE, Array, Form, Parameter, Values
from acclimate.laws.forms.power import largest_share
from acclimate.laws.law import Law

GRID = np.linspace(0.0, 1.0, 2001)


def d_cpt(*, size: bool = False) -> Form:
    """The loss on one set over the set's own share and the tokens; at a fixed share it is Chinchilla's law.

    Formula: L = E + A / N^alpha + B r^eta / D^beta + C / (r + eps)^gamma; without ``size`` the term of N is in E

    Columns: share r of the set itself in [0, 1] (the general set's is 1 less the domain's), tokens D (> 0, any unit),
        parameters N with ``size``; loss [nats/token].

    Identified: fit from 3 shares on with many checkpoints [second-hand]. Two shares leave eps, gamma and C loose, one
        checkpoint B and beta. [ours]

    Example:
        >>> [parameter.name for parameter in d_cpt().parameters]
        ['E', 'B', 'eta', 'beta', 'C', 'eps', 'gamma']

    Reference: arXiv 2406.01375, NeurIPS 2024 [second-hand]. Bounds and starts [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        share = table["share"]
        loss = values["E"] + values["B"] * share ** values["eta"] * table["tokens"] ** -values["beta"]
        loss = loss + values["C"] * (share + values["eps"]) ** -values["gamma"]
        return loss + values["A"] * table["parameters"] ** -values["alpha"] if size else loss

    parameters = (
        Parameter("E", low=0.0),
        *((Parameter("A", low=0.0), Parameter("alpha", (0.2, 0.5), 0.01, 3.0)) if size else ()),
        Parameter("B", low=0.0),
        Parameter("eta", (0.1, 0.5), 0.0, 5.0),
        Parameter("beta", (0.2, 0.6), 0.01, 3.0),
        Parameter("C", low=0.0),
        Parameter("eps", (0.05, 0.4), 1e-3, 2.0),
        Parameter("gamma", (0.3, 1.0), 0.01, 5.0),
    )
    inputs = ("share", "tokens", *(("parameters",) if size else ()))
    formula = f"L = E{' + A / N^alpha' if size else ''} + B r^eta / D^beta + C / (r + eps)^gamma"
    ranges = {"share": SHARE, "tokens": POSITIVE, "parameters": POSITIVE}
    units = {"share": "part of tokens", "tokens": "any", "parameters": "any", "loss": "nats/token"}
    return Form(
        "d_cpt", formula, inputs, "loss", parameters, curve, source="arXiv 2406.01375, NeurIPS 2024 [second-hand]",
        units={name: units[name] for name in (*inputs, "loss")}, ranges={name: ranges[name] for name in inputs},
        varying=("share",),
    )  # fmt: skip


def share_within(general: Law, limit: float, **at: float) -> float | None:
    """The first use: the largest domain share whose general loss is within the limit; None if no share's is.

    Formula: max r_d such that L_g(1 - r_d, D) <= limit, on a grid of 1/2000

    Args:
        general: a law of the general set over its own share.
        limit: for example (1 + t) times the base's loss [nats/token].
        at: the other inputs: tokens, and parameters with size.

    Example:
        >>> values = {"E": 2.0, "B": 0.0, "eta": 1.0, "beta": 0.3, "C": 0.1, "eps": 0.1, "gamma": 1.0}
        >>> share_within(Law(d_cpt(), values, {}, 0.0), 2.5, tokens=1.0)  # 0.1 / (r + 0.1) = 0.5 at r = 0.1
        0.9

    Reference: arXiv 2406.01375 [second-hand].
    """
    return largest_share(GRID, _over_shares(general, 1 - GRID, at), limit)


def share_of_fixed_domain(domain: Law, domain_tokens: float, **at: float) -> tuple[float, float]:
    """The second use: the domain share of least domain loss where only so many domain tokens exist: (share, loss).

    Formula: min over r_d of L_d(r_d, D = D_d / r_d), on a grid of 1/2000: less share, more tokens in all

    Args:
        domain: a law of the domain set over its own share.
        domain_tokens: D_d, in the law's unit.
        at: parameters, with size.

    Example:
        >>> values = {"E": 1.0, "B": 1.0, "eta": 0.0, "beta": 1.0, "C": 0.2, "eps": 0.05, "gamma": 1.0}
        >>> share, loss = share_of_fixed_domain(Law(d_cpt(), values, {}, 0.0), 1.0)
        >>> share  # r + 0.2 / (r + 0.05) is least at the root of 0.2 less 0.05
        0.397

    Reference: arXiv 2406.01375 [second-hand].
    """
    shares = GRID[1:]
    losses = _over_shares(domain, shares, {**at, "tokens": domain_tokens / shares})
    best = int(np.argmin(losses))
    return float(shares[best]), float(losses[best])


def _over_shares(law: Law, shares: Array, at: Mapping[str, float | Array]) -> Array:
    return law.predict({"share": shares, **{name: np.broadcast_to(value, shares.shape) for name, value in at.items()}})
