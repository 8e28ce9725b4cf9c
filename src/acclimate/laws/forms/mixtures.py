"""Losses over the shares of several sources, and the shares of least loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from acclimate.laws.form import POSITIVE, SHARE, Array, Form, Parameter, Range, Values
from acclimate.laws.law import Law
from acclimate.laws.simplex import Optimum, minimum
from acclimate.types.errors import UsageError

ADDITIVE = "arXiv 2507.09404 [second-hand]"
JOINT = "arXiv 2507.09404, the joint form [unverified]"


def column(source: str) -> str:
    """The column of a source's share.

    >>> column("law")
    'share/law'
    """
    return f"share/{source}"


def exponential_mixture(sources: Sequence[str]) -> Form:
    """The data mixing law: the loss on one set, as it is with the text that several sources supply.

    Formula: L = c + k exp(sum_j t_j r_j), k >= 0

    Columns: ``share/SOURCE`` of each source, which sum to 1 in a row; loss [nats/token].

    Identified: the shares sum to 1, so that k and a constant in all t_j are the same thing; ``fixed={"k": 1.0}``
        settles it. Two mixtures of two sources leave the rest loose. [ours]

    Args:
        sources: names, two or more.

    Example:
        >>> exponential_mixture(["law", "web"]).formula
        'L = c + k exp(t_law r_law + t_web r_web)'

    Reference: arXiv 2403.16952 [unverified]. Bounds and starts [ours].
    """
    names = _checked(sources)

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        return values["c"] + values["k"] * np.exp(sum(values[f"t_{name}"] * table[column(name)] for name in names))

    starts = (-2.0, -0.3, 0.7) if len(names) <= 4 else (-1.0, 0.3)
    parameters = (
        Parameter("c", low=0.0),
        Parameter("k", low=0.0),
        *(Parameter(f"t_{name}", starts, -20.0, 20.0) for name in names),
    )
    formula = f"L = c + k exp({' + '.join(f't_{name} r_{name}' for name in names)})"
    return _form("exponential_mixture", formula, names, (), parameters, curve, "arXiv 2403.16952 [unverified]")


def additive_mixture(sources: Sequence[str], *, budget: bool = True, size: bool = False) -> Form:
    """The loss over shares, tokens and model size, each a term of its own: the best shares depend on no budget [ours].

    Formula: L = E + 1 / sum_i C_i h_i^g_i + B / D^beta + A / N^alpha

    Columns: ``share/SOURCE`` of each source, tokens D with ``budget``, parameters N with ``size`` (> 0); loss.

    Identified: a source of constant share has C and g loose, one number of tokens B, beta and E. [ours]

    Args:
        sources: names, two or more.
        budget, size: whether the table holds several numbers of tokens, several model sizes.

    Example:
        >>> additive_mixture(["law", "web"]).formula
        'L = E + 1 / (C_law h_law^g_law + C_web h_web^g_web) + B / D^beta'

    Reference: arXiv 2507.09404 [second-hand]. Bounds and starts [ours].
    """
    names = _checked(sources)

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        loss = values["E"] + 1 / _mixed(table, values, names)
        loss = loss + values["B"] * table["tokens"] ** -values["beta"] if budget else loss
        return loss + values["A"] * table["parameters"] ** -values["alpha"] if size else loss

    parameters = (
        *_own(names),
        *((Parameter("B", low=0.0), Parameter("beta", (0.2, 0.6), 0.01, 3.0)) if budget else ()),
        *((Parameter("A", low=0.0), Parameter("alpha", (0.2, 0.6), 0.01, 3.0)) if size else ()),
    )
    formula = f"L = E + 1 / ({_words(names)}){' + B / D^beta' * budget}{' + A / N^alpha' * size}"
    inputs = ("tokens",) * budget + ("parameters",) * size
    return _form("additive_mixture", formula, names, inputs, parameters, curve, ADDITIVE)


def joint_mixture(sources: Sequence[str], *, size: bool = False) -> Form:
    """As the additive one, but the shares also scale what tokens and size bring: the best shares depend on the budget.

    Formula: L = E + 1 / sum_i C_i h_i^g_i + B (sum_i b_i h_i)^gB / D^beta + A (sum_i a_i h_i)^gA / N^alpha

    The weights b and a of the first source are 1: (sum_i B_i h_i)^gB, written so that B alone depends on units. [ours]

    Columns: as of :func:`additive_mixture`.

    Identified: as there; and one mixture at each number of tokens leaves b_i loose, equal b_i leave gB loose. [ours]

    Args:
        sources: names, two or more.
        size: whether the table holds several model sizes.

    Example:
        >>> joint_mixture(["law", "web"]).formula
        'L = E + 1 / (C_law h_law^g_law + C_web h_web^g_web) + B (h_law + b_web h_web)^gB / D^beta'

    Reference: arXiv 2507.09404; this form [unverified]. Bounds and starts [ours].
    """
    names = _checked(sources)
    terms = (("B", "tokens", "beta", "D"), *((("A", "parameters", "alpha", "N"),) if size else ()))

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        loss = values["E"] + 1 / _mixed(table, values, names)
        for letter, amount, fall, _ in terms:
            weight = table[column(names[0])]
            for name in names[1:]:
                weight = weight + values[f"{letter.lower()}_{name}"] * table[column(name)]
            loss = loss + values[letter] * weight ** values[f"g{letter}"] * table[amount] ** -values[fall]
        return loss

    parameters = list(_own(names))
    formula = f"L = E + 1 / ({_words(names)})"
    for letter, _, fall, symbol in terms:
        weights = [f"{letter.lower()}_{name}" for name in names[1:]]
        parameters += [Parameter(letter, low=0.0), *(Parameter(name, (1.0,), 1e-3, 1e3) for name in weights)]
        parameters += [Parameter(f"g{letter}", (0.5, 1.0), 0.01, 5.0), Parameter(fall, (0.2, 0.6), 0.01, 3.0)]
        words = " + ".join([f"h_{names[0]}", *(f"{weight} h_{weight[2:]}" for weight in weights)])
        formula += f" + {letter} ({words})^g{letter} / {symbol}^{fall}"
    inputs = ("tokens", *(("parameters",) if size else ()))
    return _form("joint_mixture", formula, names, inputs, tuple(parameters), curve, JOINT)


def optimum(
    laws: Sequence[Law],
    sources: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    low: float = 1e-6,
    high: float = 1.0,
    **at: float,
) -> Optimum:
    """The shares of least weighted loss over several sets, and what equal shares give.

    Formula: min over the simplex of sum_i weight_i L_i(h), by :func:`acclimate.laws.simplex.minimum`

    Args:
        laws: one of each set, of any form of this module.
        sources: as the forms were made with; the order of the shares.
        weights: of the sets, [len(laws)]; 1 each by default.
        low, high: bounds of every share.
        at: the other inputs: tokens, parameters.

    Raises:
        UsageError: weights are not one a law, or an input is missing.

    Example:
        >>> form = exponential_mixture(["law", "web"])
        >>> first = {"c": 2.0, "k": 1.0, "t_law": -1.0, "t_web": 0.0}
        >>> second = {"c": 2.0, "k": 1.0, "t_law": 0.0, "t_web": -1.0}
        >>> best = optimum([Law(form, first, {}, 0.0), Law(form, second, {}, 0.0)], ["law", "web"])
        >>> best.shares.round(4), round(best.value, 5)
        (array([0.5, 0.5]), 5.21306)
    """
    parts = np.ones(len(laws)) if weights is None else np.asarray(weights, dtype=np.float64)
    if parts.shape != (len(laws),):
        raise UsageError(f"{len(laws)} laws have one weight each; {parts.size} were given.")

    def loss(shares: Array) -> float:
        point = {column(name): [share] for name, share in zip(sources, np.clip(shares, 0, 1).tolist(), strict=True)}
        point |= {name: [value] for name, value in at.items()}
        return float(sum(part * law.predict(point)[0] for part, law in zip(parts, laws, strict=True)))

    return minimum(loss, len(sources), low=low, high=high)


def _checked(sources: Sequence[str]) -> tuple[str, ...]:
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"A mixture has two sources or more, each named once; these were given: {', '.join(names)}.")
    return names


def _own(names: Sequence[str]) -> tuple[Parameter, ...]:
    starts = (0.3, 3.0) if len(names) <= 5 else (1.0,)
    return (
        Parameter("E", low=0.0),
        *(Parameter(f"C_{name}", starts, 1e-6, 1e6) for name in names),
        *(Parameter(f"g_{name}", (0.4,), 0.01, 5.0) for name in names),
    )


def _mixed(table: Mapping[str, Array], values: Values, names: Sequence[str]) -> Array:
    mixed: Array = sum(
        (values[f"C_{name}"] * table[column(name)] ** values[f"g_{name}"] for name in names), np.array(0.0)
    )
    return mixed


def _words(names: Sequence[str]) -> str:
    return " + ".join(f"C_{name} h_{name}^g_{name}" for name in names)


def _form(
    name: str,
    formula: str,
    names: Sequence[str],
    more: tuple[str, ...],
    parameters: tuple[Parameter, ...],
    curve: Callable[[Mapping[str, Array], Values], Array],
    source: str,
) -> Form:
    shares = tuple(column(one) for one in names)
    ranges: dict[str, Range] = dict.fromkeys(shares, SHARE) | dict.fromkeys(more, POSITIVE)
    units = dict.fromkeys(shares, "part of tokens") | dict.fromkeys(more, "any") | {"loss": "nats/token"}
    return Form(
        name, formula, (*shares, *more), "loss", parameters, curve, source=source, units=units, ranges=ranges,
        varying=shares,
    )  # fmt: skip
