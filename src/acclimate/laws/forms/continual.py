"""Learning dynamics of continual pre-training (CPT): losses of both corpora over schedules and replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from acclimate.laws.form import NOT_NEGATIVE, POSITIVE, SHARE, Array, Form, Parameter, Values
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError

Role = Literal["general", "domain"]
Base = Literal["known", "unknown"]
SOURCE = "arXiv 2505.07796, ICML 2025, equations 4 and 8, appendix G [paper]"


def continual(role: Role = "general", *, replay: bool = False, base: Base = "known") -> Form:
    """The loss on the general or the domain corpus while a pre-trained model goes on with the domain.

    Formula: L = L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt f + B (1 - (1 + E S1_cpt)^-beta) g
        without replay f = g = 1; B > 0 of the general corpus, < 0 of the domain
        general: f = exp(a1 r_pt), g = 1 - exp(-a2 r_cpt)
        domain:  f = exp(a1 r_cpt), g = exp(a2 r_cpt) - 1, r_pt + r_cpt = 1

    Columns: s1_pt, s2_pt and s1_cpt, s2_cpt, the sums of :func:`acclimate.laws.forms.annealing.sums` of the base's
        schedule and of this one, each from its own start; replay, the part of pre-training text r_pt; loss
        [nats/token].

    Args:
        role: which corpus the loss is of.
        replay: whether the table holds runs of several replay ratios.
        base: ``unknown`` fits S1_pt and leaves S2_pt to L0: the base's learning rate is taken as annealed to 0, and a
            public corpus stands for its text [paper].

    Identified: B and beta are not told apart (B 29.1 and beta .001 are nearly B .366 and beta .189), so beta is held
        in [.01, 2], and only :func:`shift` and predictions count. One base leaves C1 and L0 apart by nothing: fix C1
        at 0. [ours]

    Example:
        >>> [parameter.name for parameter in continual(base="unknown").parameters]
        ['L0', 'A', 'alpha', 'C2', 'B', 'E', 'beta', 'S1_pt']

    Reference: arXiv 2505.07796, ICML 2025 [paper]. Bounds and starts [ours].
    """
    if role not in ("general", "domain"):
        raise UsageError(f"The role of a corpus is 'general' or 'domain', not '{role}'.")
    if base not in ("known", "unknown"):
        raise UsageError(f"A base is 'known' or 'unknown', not '{base}'.")
    known = base == "known"

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        before = table["s1_pt"] if known else values["S1_pt"]
        more, less = _factors(role, table["replay"], values) if replay else (1.0, 1.0)
        loss = values["L0"] + values["A"] * (before + table["s1_cpt"]) ** -values["alpha"]
        loss = loss - values["C2"] * table["s2_cpt"] * more + _shift(values, table["s1_cpt"]) * less
        return loss - values["C1"] * table["s2_pt"] if known else loss

    parameters = (
        Parameter("L0", low=0.0),
        Parameter("A", low=0.0),
        Parameter("alpha", (0.3, 0.6, 1.5), 0.0, 10.0),
        *((Parameter("C1", low=0.0),) if known else ()),
        Parameter("C2", low=0.0),
        Parameter("B", low=0.0) if role == "general" else Parameter("B", high=0.0),
        Parameter("E", (20.0, 200.0, 5000.0), 1e-2, 1e6),
        Parameter("beta", (0.1, 0.4), 0.01, 2.0),
        *((Parameter("a1", (0.05,), -2.0, 2.0), Parameter("a2", (1.0, 4.0), 1e-3, 20.0)) if replay else ()),
        *(() if known else (Parameter("S1_pt", (2.0, 10.0), 1e-3, 1e4),)),
    )
    f, g = {
        "general": ("exp(a1 r_pt)", "(1 - exp(-a2 r_cpt))"), "domain": ("exp(a1 r_cpt)", "(exp(a2 r_cpt) - 1)")
    }[role] if replay else ("", "")  # fmt: skip
    formula = (
        f"L = L0 + A (S1_pt + S1_cpt)^-alpha{' - C1 S2_pt' if known else ''} - C2 S2_cpt {f}".rstrip()
        + f" + B (1 - (1 + E S1_cpt)^-beta) {g}".rstrip()
    )
    inputs = (*(("s1_pt", "s2_pt") if known else ()), "s1_cpt", "s2_cpt", *(("replay",) if replay else ()))
    ranges = {"s1_pt": POSITIVE, "s1_cpt": NOT_NEGATIVE, "replay": SHARE}
    units = dict.fromkeys(inputs, "sum of learning rates") | {"replay": "part of tokens", "loss": "nats/token"}
    return Form(
        "continual", formula, inputs, "loss", parameters, curve, source=SOURCE,
        units={name: units[name] for name in (*inputs, "loss")},
        ranges={name: limits for name, limits in ranges.items() if name in inputs},
        varying=("replay",) if replay else ("s1_cpt",),
    )  # fmt: skip


def _shift(values: Values, s1: Array) -> Array:
    shifted: Array = values["B"] * (1 - (1 + values["E"] * s1) ** -values["beta"])
    return shifted


def _factors(role: str, replay: Array, values: Values) -> tuple[Array, Array]:
    new = 1 - replay
    if role == "general":
        return np.exp(values["a1"] * replay), 1 - np.exp(-values["a2"] * new)
    return np.exp(values["a1"] * new), np.exp(values["a2"] * new) - 1


def shift(law: Law, s1: float, replay: float | None = None) -> float:
    """What the change of corpus alone adds to the loss at a reference S1_cpt [nats/token]: this is told, B is not.

    Formula: B (1 - (1 + E S1)^-beta) g

    Args:
        law: of a :func:`continual` form.
        s1: reference sum of learning rates, within those of the table.
        replay: r_pt, of a form with replay.

    Example:
        >>> values = {"L0": 3.0, "A": 0.5, "alpha": 0.5, "C1": 0.3, "C2": 0.3, "B": 29.121, "E": 100.0, "beta": 0.001}
        >>> round(shift(Law(continual(), values, {}, 0.0), 4.0), 3)  # 594M [paper]
        0.174
    """
    at = np.array(float(s1))
    return float(_shift(law.values, at) * _strength(law, replay))


def _strength(law: Law, replay: float | None) -> float:
    """g at a replay ratio."""
    if ("a2" in law.values) != (replay is not None):
        needs = "needs its replay ratio" if replay is None else "was fitted without replay"
        raise UsageError(f"This law {needs}: {law.form.formula}.")
    if replay is None:
        return 1.0
    role: Role = "general" if law.values["B"] >= 0 else "domain"
    return float(_factors(role, np.array(float(replay)), law.values)[1])


def turning_length(change: Callable[[Array], Array], rate: float, most_steps: float = 1e9) -> float | None:
    """The least number of steps after which a loss that rose is back at its start; 0 if it never rose, None for never.

    Args:
        change: S1_cpt [n] -> loss less the loss at the start [nats/token], of the general corpus or a weighted sum of
            both; a schedule that ends annealed subtracts C2 S2.
        rate: the learning rate, so that S1_cpt = rate x steps.
        most_steps: a turn beyond them is "never" [ours].

    Example:
        >>> turning_length(lambda s1: 1 - (1 + s1) ** -0.5 - 0.25 * s1**0.5, rate=1e-3)  # at s1 = 6.4
        6397.44...
        >>> turning_length(lambda s1: s1, rate=1e-3) is None
        True

    Reference: arXiv 2505.07796 [paper]; the search [ours].
    """
    if not rate > 0:
        raise UsageError(f"A turning length needs a learning rate above 0, not {rate:g}.")
    steps = np.geomspace(1.0, most_steps, 2000)
    changes = change(rate * steps)
    above = np.flatnonzero(changes > 0)
    if not above.size:
        return 0.0
    back = np.flatnonzero(changes[above[0] :] <= 0)
    if not back.size:
        return None
    end = int(above[0] + back[0])
    return float(brentq(lambda n: float(change(np.array([rate * n]))[0]), steps[end - 1], steps[end]))


def change(law: Law, s1_pt: float, replay: float | None = None) -> Callable[[Array], Array]:
    """What :func:`turning_length` takes, at a constant learning rate: S1_cpt [n] -> loss less the loss at the start.

    Formula: A (S1_pt + S1)^-alpha - A S1_pt^-alpha + B (1 - (1 + E S1)^-beta) g

    Args:
        law: of a :func:`continual` form.
        s1_pt: of the base.
        replay: r_pt, of a form with replay.

    Example:
        >>> values = {"L0": 3.0, "A": 0.49, "alpha": 0.497, "C1": 0.3, "C2": 0.3, "B": 0.366, "E": 28.0, "beta": 0.189}
        >>> change(Law(continual(), values, {}, 0.0), 7.2)(np.array([1.0, 4.0])).round(3)
        array([0.161, 0.18 ])
    """
    given, strength = law.values, _strength(law, replay)

    def at(s1: Array) -> Array:
        learned = (s1_pt + s1) ** -given["alpha"] - s1_pt ** -given["alpha"]
        changed: Array = given["A"] * learned + _shift(given, s1) * strength
        return changed

    return at


def critical_sum(law: Law, replay: float | None = None, most: float = 1e6) -> float | None:
    """The critical point: the largest S1_pt of a base whose general loss ever comes back, at a constant learning rate.

    Beyond it the turning length is infinite. None of a loss that comes back, or never rises, from any base up to
    ``most``. B and alpha are not told, so this is an order of magnitude. [ours]

    Args:
        law: of a general :func:`continual` form.
        replay: r_pt, of a form with replay.
        most: the largest S1_pt, and the largest S1_cpt that counts as "ever".

    Example:
        >>> values = {"L0": 3.0, "A": 0.49, "alpha": 0.497, "C1": 0.3, "C2": 0.3, "B": 0.366, "E": 28.0, "beta": 0.189}
        >>> round(critical_sum(Law(continual(), values, {}, 0.0)), 2)
        2.24

    Reference: that there is such a point, arXiv 2505.07796 [paper]; how it is found [ours].
    """
    if law.values["B"] < 0:
        raise UsageError("A critical point is of the general corpus; this law is the domain's.")

    def never(s1_pt: float) -> bool:
        return turning_length(change(law, s1_pt, replay), 1e-3, most * 1e3) is None

    low, high = 1e-6, most  # the change grows with S1_pt, so that bisection finds the place
    if not never(high):
        return None
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if never(middle) else (middle, high)
    return low


def out_of_domain() -> Form:
    """The loss on a third corpus as a mixture of the two that are modelled.

    Formula: L_ood = l_cpt L_cpt + l_pt L_pt

    Columns: domain, general, loss [nats/token], at the same steps.

    Identified: where both losses move together (one run, one share), the two weights are loose. [ours]

    Example:
        >>> from acclimate.laws.fit import fit
        >>> table = {"domain": [2.5, 2.4, 2.2], "general": [3.2, 3.3, 3.3], "loss": [3.1544, 3.2259, 3.1955]}
        >>> {name: round(value, 3) for name, value in fit(out_of_domain(), table).values.items()}  # C4 [paper]
        {'l_cpt': 0.152, 'l_pt': 0.867}

    Reference: arXiv 2505.07796 [paper]. Huber's delta as in the others [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        return values["l_cpt"] * table["domain"] + values["l_pt"] * table["general"]

    return Form(
        "out_of_domain", "L_ood = l_cpt L_cpt + l_pt L_pt", ("domain", "general"), "loss",
        (Parameter("l_cpt"), Parameter("l_pt")), curve, source=SOURCE,
        units=dict.fromkeys(("domain", "general", "loss"), "nats/token"),
        ranges={"domain": POSITIVE, "general": POSITIVE},
        varying=("domain", "general"),
    )  # fmt: skip
