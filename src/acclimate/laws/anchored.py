"""Ours: drift and gain of an anchored run, as functions of domain share, anchor weight, learning rate and tokens.

An anchored run learns a domain and is held to its base on general text (``mol``, ``replay``). With share 1 or weight 0
it is plain fine-tuning. Every form here has few parameters, since six short runs are to tell them, and these limits: no
tokens, no drift and no gain; more anchor, less drift. Several compete, since which is right is not known [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from acclimate.laws.form import Array, Form, Parameter, Values
from acclimate.types.errors import UsageError, listed, nearest

INPUTS = ("share", "weight", "rate", "tokens")
"""Columns: domain share in (0, 1], weight of the anchor, peak learning rate, trained domain tokens."""
DRIFT = "drift"
"""Column: KL(base || tuned), nats a token, on held-out general text."""
GAIN = "gain"
"""Column: fall of bits per byte on held-out domain text."""
TOKENS = 1e4
RATE = 1e-4
"""Units of a formula's t and e, so that parameters are near 1."""

TURNING = "turning"
Factor = Callable[[Mapping[str, Array], Values], Array]


def drift_forms(varied: Collection[str]) -> tuple[Form, ...]:
    """Competing forms of drift, with parameters only for what the runs vary.

    Formula, where t is tokens / 1e4, e is rate / 1e-4 and q is weight (1 - share)::

        root         A t^b e^g / sqrt(1 + B q)
        injection    A t^b e^g / (1 + B q)^a
        floor        A t^b e^g (f + (1 - f) exp(-q / k))
        balance      1 / (1 / (A t^b e^g) + K sqrt(q))
        saturating   A (1 - exp(-t e^g / T)) / sqrt(1 + B q)

    ``balance`` is the one whose factors do not part: what is not held drifts on with tokens and rate, and what is held
    comes to rest where the anchor's pull, which grows with drift, balances the domain's. All rise with tokens.

    Args:
        varied: of :data:`INPUTS`, those that differ between runs; what is the same in all is part of A.

    Raises:
        UsageError: an input has another name, or none varies.

    Reference: ``injection`` has the shape of arXiv 2502.06042 at one model size [second-hand], where q is the share of
        pre-training data and the outcome a loss. The other shapes, and all uses for a KL, are [ours].

    >>> [form.name for form in drift_forms({"share"})]
    ['root', 'injection', 'floor', 'balance']
    """
    moved, held = _split(varied)
    power, powers = _power(moved)
    shapes: dict[str, tuple[Factor, tuple[Parameter, ...], str]] = {"": (_one, (), "")}
    if held:
        strength = Parameter("B", (10.0,), 0.0, 1e4)
        exponent = Parameter("a", (0.5,), 0.0, 3.0)
        floor = (Parameter("f", (0.3,), 0.0, 1.0), Parameter("k", (0.2,), 1e-3, 1e2))
        shapes = {
            "root": (_root, (strength,), " / sqrt(1 + B q)"),
            "injection": (_injection, (strength, exponent), " / (1 + B q)^a"),
            "floor": (_floor, floor, " (f + (1 - f) exp(-q / k))"),
            "balance": (
                _balance(power),
                (Parameter("K", (5.0,), 0.0, 1e4),),
                " / (1 + K D sqrt(q)), D what stands before",
            ),
        }
    forms = [
        _form(name or "power", DRIFT, held | moved, power, shape, (*powers, *own), _power_words(moved) + words)
        for name, (shape, own, words) in shapes.items()
    ]
    shape, own, words = shapes["root" if held else ""]
    if moved:
        risen = (Parameter("A", (0.3,), 1e-6, 1e2), *_approach(moved), *own)
        said = f"A (1 - exp(-{_x_words(moved)})){words}"
        forms.append(_form("saturating", DRIFT, held | moved, _saturating(_reached(moved)), shape, risen, said))
    return tuple(forms)


def turning_form(varied: Collection[str]) -> Form:
    """Drift that falls again: A t^b e^g exp(-t / H) / sqrt(1 + B q), at its largest at t = b H.

    Args:
        varied: of :data:`INPUTS`; tokens are among them.

    Reference: [ours]. A loss of general text that rises and then falls is that of arXiv 2407.17467 [paper], with other
        terms.

    >>> turning_form({"tokens"}).formula
    'drift = A t^b exp(-t / H)'
    """
    moved, held = _split(varied)
    power, powers = _power(moved)
    shape, own, words = (_root, (Parameter("B", (10.0,), 0.0, 1e4),), " / sqrt(1 + B q)") if held else (_one, (), "")
    own = (*powers, Parameter("H", (3.0, 30.0), 0.05, 1e4), *own)
    said = f"{_power_words(moved)} exp(-t / H){words}"
    return _form(TURNING, DRIFT, held | moved, _turning(power), shape, own, said)


def gain_forms(varied: Collection[str]) -> tuple[Form, ...]:
    """Competing forms of gain, each with and without an effect of the anchor.

    Formula, where t is tokens / 1e4, e is rate / 1e-4, q is weight (1 - share) and x is t e^g / T::

        power        A t^b e^g            or    A t^b e^g (1 + c q)
        saturating   A (1 - exp(-x))      or    A (1 - exp(-x)) (1 + c q)
        shift        A (1 - 1 / sqrt(1 + x))    and so on
        peaked       A (1 - exp(-x)) exp(-e / h), where the rate varies

    Args:
        varied: of :data:`INPUTS`, those that differ between runs.

    Raises:
        UsageError: an input has another name, or none varies.

    Reference: ``shift`` has the shape of the shift term of arXiv 2505.07796, with beta at 1/2, since its height and its
        beta are not told apart [paper; ours]. The others are [ours].

    >>> [form.name for form in gain_forms({"share"})]
    ['flat', 'flat, anchored']
    """
    moved, held = _split(varied)
    power, powers = _power(moved)
    scale = Parameter("A", (0.3,), -1e2, 1e2)
    shapes: dict[str, tuple[Factor, tuple[Parameter, ...], str]] = {
        "power" if moved else "flat": (power, (scale, *powers[1:]), _power_words(moved))
    }
    if moved:
        reached, own, x = _reached(moved), (scale, *_approach(moved)), _x_words(moved)
        shapes["saturating"] = _saturating(reached), own, f"A (1 - exp(-{x}))"
        shapes["shift"] = _shift(reached), own, f"A (1 - 1 / sqrt(1 + {x}))"
        if "rate" in moved:
            peak = Parameter("h", (10.0, 100.0), 0.1, 1e4)
            shapes["peaked"] = _peaked(reached), (*own, peak), f"A (1 - exp(-{x})) exp(-e / h)"
    effect = Parameter("c", (0.0,), -1.0, 1.0)
    forms = []
    for name, (rise, own, words) in shapes.items():
        forms.append(_form(name, GAIN, held | moved, rise, _one, own, words))
        if held:
            anchored = f"{name}, anchored"
            forms.append(_form(anchored, GAIN, held | moved, rise, _effect, (*own, effect), f"{words} (1 + c q)"))
    return tuple(forms)


def _split(varied: Collection[str]) -> tuple[set[str], set[str]]:
    """What moves the weights (tokens, rate), and what holds them (share, weight)."""
    for name in varied:
        if name not in INPUTS:
            raise UsageError(f"A law of anchored runs reads {listed(INPUTS)}; '{name}' is none.{nearest(name, INPUTS)}")
    if not varied:
        raise UsageError(f"No law follows from runs that differ in nothing; {listed(INPUTS)} must vary.")
    return {"tokens", "rate"} & set(varied), {"share", "weight"} & set(varied)


def _form(
    name: str, outcome: str, inputs: set[str], first: Factor, second: Factor, own: tuple[Parameter, ...], words: str
) -> Form:
    asked = inputs | ({"share", "weight"} if inputs & {"share", "weight"} else set())  # q is of both
    source = "arXiv 2502.06042 [second-hand], used for a KL [ours]" if name == "injection" else "[ours]"
    source = "shape of arXiv 2505.07796 [paper], beta 1/2 [ours]" if name.startswith("shift") else source
    return Form(
        name,
        f"{outcome} = {words}",
        tuple(sorted(asked)),
        outcome,
        own,
        lambda table, values: first(table, values) * second(table, values),
        log=outcome == DRIFT,
        delta=0.1 if outcome == DRIFT else 0.02,
        source=source,
    )


def _power(moved: set[str]) -> tuple[Factor, tuple[Parameter, ...]]:
    exponents = {"tokens": Parameter("b", (0.3, 0.9), 0.0, 2.0), "rate": Parameter("g", (1.0,), 0.0, 3.0)}
    names = {"tokens": "b", "rate": "g"}

    def factor(table: Mapping[str, Array], values: Values) -> Array:
        grown = [_units(table, name) ** values[names[name]] for name in sorted(moved)]
        return values["A"] * np.prod(grown, axis=0) if grown else values["A"] * np.ones(_rows(table))

    own = (Parameter("A", (0.3,), 1e-6, 1e2), *(exponents[name] for name in sorted(moved)))
    return factor, own


def _approach(moved: set[str]) -> tuple[Parameter, ...]:
    """Of x = t e^g / T."""
    rate = (Parameter("g", (1.0,), 0.0, 3.0),) if "rate" in moved else ()
    return (Parameter("T", (0.3, 3.0), 1e-3, 1e3), *rate)


def _power_words(moved: set[str]) -> str:
    return " ".join(["A", *(["t^b"] if "tokens" in moved else []), *(["e^g"] if "rate" in moved else [])])


def _x_words(moved: set[str]) -> str:
    return " ".join([*(["t"] if "tokens" in moved else []), *(["e^g"] if "rate" in moved else [])]) + " / T"


def _rows(table: Mapping[str, Array]) -> int:
    return len(next(iter(table.values())))


def _units(table: Mapping[str, Array], name: str) -> Array:
    return table[name] / (TOKENS if name == "tokens" else RATE)


def _pull(table: Mapping[str, Array]) -> Array:
    return table["weight"] * (1 - table["share"])


def _reached(moved: set[str]) -> Factor:
    """x = t e^g / T; what does not vary is part of T."""

    def x(table: Mapping[str, Array], values: Values) -> Array:
        tokens = _units(table, "tokens") if "tokens" in moved else np.ones(_rows(table))
        return tokens * (_units(table, "rate") ** values["g"] if "rate" in moved else 1.0) / values["T"]

    return x


def _one(table: Mapping[str, Array], values: Values) -> Array:
    return np.ones(_rows(table))


def _root(table: Mapping[str, Array], values: Values) -> Array:
    return (1 + values["B"] * _pull(table)) ** -0.5


def _injection(table: Mapping[str, Array], values: Values) -> Array:
    return (1 + values["B"] * _pull(table)) ** -values["a"]


def _floor(table: Mapping[str, Array], values: Values) -> Array:
    return values["f"] + (1 - values["f"]) * np.exp(-_pull(table) / values["k"])


def _balance(free: Factor) -> Factor:
    """1 / (1 / free + K sqrt(q)), over ``free``: stiffnesses add."""
    return lambda table, values: 1 / (1 + values["K"] * free(table, values) * np.sqrt(_pull(table)))


def _effect(table: Mapping[str, Array], values: Values) -> Array:
    return 1 + values["c"] * _pull(table)


def _saturating(x: Factor) -> Factor:
    return lambda table, values: -values["A"] * np.expm1(-x(table, values))


def _turning(power: Factor) -> Factor:
    return lambda table, values: power(table, values) * np.exp(-_units(table, "tokens") / values["H"])


def _shift(x: Factor) -> Factor:
    return lambda table, values: values["A"] * (1 - (1 + x(table, values)) ** -0.5)


def _peaked(x: Factor) -> Factor:
    rise = _saturating(x)
    return lambda table, values: rise(table, values) * np.exp(-_units(table, "rate") / values["h"])
