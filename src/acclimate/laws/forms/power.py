"""Power laws, and what the critical mixture ratio (CMR) makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from acclimate.laws.fit import fit
from acclimate.laws.form import POSITIVE, SHARE, Array, Form, Parameter, Range, Values
from acclimate.laws.law import Law
from acclimate.types.errors import UsageError

CMR = "CMR, arXiv 2407.17467, EMNLP 2024 [paper]"
RANGES: Mapping[str, Range] = {"share": SHARE, "tokens": POSITIVE, "parameters": POSITIVE}


def power(of: str = "share", outcome: str = "loss", *, offset: bool = True, log: bool = True) -> Form:
    """A power of one column: CMR's loss over share, its gain over tokens, and its critical share over tokens.

    Formula: outcome = a of^s + b

    Args:
        of: the input, > 0: ``share`` of the domain, ``tokens`` or ``parameters``.
        outcome: ``loss`` [nats/token], ``change`` of it, or ``share``.
        offset: without it b is 0: how a turning repeat count moves with model size [ours].
        log: a relative error; False for an outcome that may be 0 or negative, such as a change.

    Raises:
        UsageError: the input is no column that a power law is known of.

    Example:
        >>> form = power("tokens", "share")
        >>> published = {"a": 0.22524761, "s": 0.26944345, "b": -0.48139982}  # 460M, T in 0.2B tokens [paper]
        >>> form.curve({"tokens": np.array([100.0])}, published).round(3)
        array([0.298])

    Reference: CMR, arXiv 2407.17467, EMNLP 2024 [paper]. Bounds and starts [ours].
    """
    if of not in RANGES:
        raise UsageError(f"A power of '{of}' is not known; {', '.join(RANGES)} are accepted.")

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        raised: Array = values["a"] * table[of] ** values["s"]
        return raised + values["b"] if offset else raised

    parameters = (
        Parameter("a"),
        Parameter("s", (-1.0, -0.4, -0.15, 0.15, 0.4, 1.0), -3.0, 3.0),
        *((Parameter("b"),) if offset else ()),
    )
    formula = f"{outcome} = a {of}^s" + (" + b" if offset else "")
    ranges = {of: (POSITIVE[0], RANGES[of][1]), **({"share": SHARE} if outcome == "share" else {})}
    return Form("power", formula, (of,), outcome, parameters, curve, log, source=CMR, ranges=ranges, varying=(of,))


def rise_and_fall() -> Form:
    """How the general loss rises at first and falls again, at one share, over tokens.

    Formula: change = a2 tokens^s2 + a3 tokens^s3 + b2 with a2 >= 0 >= a3

    Columns: tokens (> 0, any unit), change [nats/token] from the base.

    Example:
        >>> tokens = np.array([1.0, 2, 4, 8, 16, 32])
        >>> law = fit(rise_and_fall(), {"tokens": tokens, "change": 0.9 * tokens**0.3 - 0.7 * tokens**0.35})
        >>> [round(number, 1) for number in turning_point(law.values)]
        [7.0, 0.2]

    Reference: CMR, arXiv 2407.17467 [paper]. Bounds and starts [ours].
    """

    def curve(table: Mapping[str, Array], values: Values) -> Array:
        tokens = table["tokens"]
        return values["a2"] * tokens ** values["s2"] + values["a3"] * tokens ** values["s3"] + values["b2"]

    parameters = (
        Parameter("a2", low=0.0),
        Parameter("s2", (0.1, 0.3, 0.6), 0.01, 3.0),
        Parameter("a3", high=0.0),
        Parameter("s3", (0.2, 0.5, 1.0), 0.01, 3.0),
        Parameter("b2"),
    )
    formula = "change = a2 tokens^s2 + a3 tokens^s3 + b2"
    return Form(
        "rise_and_fall", formula, ("tokens",), "change", parameters, curve, log=False, source=CMR,
        ranges={"tokens": POSITIVE}, varying=("tokens",),
    )  # fmt: skip


def turning_point(values: Values) -> tuple[float, float] | None:
    """Where the general loss is highest, and how high: (tokens, change); None of a curve that does not turn.

    Formula: T = (-a2 s2 / (a3 s3))^(1 / (s3 - s2)), the limit of CMR's T0 for a large lambda [ours]

    Args:
        values: a2, s2, a3, s3 of :func:`rise_and_fall`; b2 where there is one.

    Example:
        >>> tokens, change = turning_point({"a2": 0.9, "s2": 0.3, "a3": -0.7, "s3": 0.35})
        >>> round(tokens, 4), round(change, 5)
        (6.9816, 0.23032)
    """
    a2, s2, a3, s3 = (values[name] for name in ("a2", "s2", "a3", "s3"))
    if not (a2 > 0 > a3 and 0 < s2 < s3):  # otherwise it only rises, only falls, or falls first
        return None
    tokens = (-a2 * s2 / (a3 * s3)) ** (1 / (s3 - s2))
    return tokens, a2 * tokens**s2 + a3 * tokens**s3 + values.get("b2", 0.0)


def penalised_turning_point(domain: Values, general: Values, weight: float) -> float | None:
    """CMR's T0: tokens where F = dL_dom + weight (dL_gen - limit) turns down for good; None where it does not.

    Formula: a1 s1 T^s1 + weight (a2 s2 T^s2 + a3 s3 T^s3) = 0, the greatest root below :func:`turning_point`

    Args:
        domain: a and s of a :func:`power` of tokens, the domain's change.
        general: a2, s2, a3, s3 of :func:`rise_and_fall`.
        weight: lambda, 100 to 7000 in the paper [paper].

    Reference: CMR, arXiv 2407.17467, equation 7 [paper].
    """
    turn = turning_point(general)
    if turn is None:
        return None

    def slope(log_tokens: float) -> float:
        tokens = math.exp(log_tokens)
        up = general["a2"] * general["s2"] * tokens ** general["s2"]
        down = general["a3"] * general["s3"] * tokens ** general["s3"]
        return float(domain["a"] * domain["s"] * tokens ** domain["s"] + weight * (up + down))

    # The domain's own fall moves the turn forwards; far before it there may be another root, where F begins to rise.
    grid = math.log(turn[0]) - np.geomspace(1e-9, 30.0, 600)
    before = next((low for low in grid if slope(low) > 0), None)
    return None if before is None else float(math.exp(brentq(slope, before, math.log(turn[0]) + 1e-9)))


def largest_share(shares: Array, losses: Array, limit: float) -> float | None:
    """The largest share whose loss stays within the limit, all smaller ones included; None if the smallest exceeds it.

    Between two shares the loss is a straight line. Nothing beyond the largest share is claimed.

    Args:
        shares: [K] in (0, 1], any order.
        losses: [K] of the general set, or its change; same unit as the limit.

    Example:
        >>> largest_share(np.array([0.25, 0.5, 0.75]), np.array([2.0, 2.5, 3.0]), 2.75)
        0.625
    """
    order = np.argsort(shares)
    shares, over = np.asarray(shares)[order], np.asarray(losses)[order] - limit
    beyond = np.flatnonzero(over > 0)
    if not beyond.size:
        return float(shares[-1])
    if (first := int(beyond[0])) == 0:
        return None
    part = -over[first - 1] / (over[first] - over[first - 1])
    return float(shares[first - 1] + part * (shares[first] - shares[first - 1]))


@dataclass(frozen=True)
class CriticalRatio:
    """What short runs at several shares say of the largest one.

    Args:
        measured: the largest share that was run and is feasible; None where none is.
        interpolated: between it and the next one, where the general change reaches the limit. [ours]
        general: share -> its law of the general change.
        turned: share -> whether the general loss has turned before the budget's end.
    """

    measured: float | None
    interpolated: float | None
    general: Mapping[float, Law]
    turned: Mapping[float, bool]


def critical_ratio(share: Array, tokens: Array, general: Array, domain: Array, limit: float = 0.05) -> CriticalRatio:
    """The largest domain share that is feasible at the largest number of tokens.

    A share is feasible if the general loss has turned before the end, ends at most ``limit`` above the base, and the
    domain's loss has fallen. [paper; that a fitted curve decides is ours]

    Args:
        share: [n] of domain tokens, each value with at least 5 rows.
        tokens: [n] > 0.
        general, domain: [n] change of both losses from the base [nats/token].
        limit: epsilon; the paper's is 0.05 [paper].

    Raises:
        UsageError: of what :func:`acclimate.laws.fit.fit` refuses, or all rows have one share.

    Reference: CMR, arXiv 2407.17467 [paper].
    """
    values = np.unique(share)
    if len(values) < 2:
        raise UsageError(f"Every row has the share {values[0]:g}: the largest feasible one needs runs at two or more.")
    laws, ends, turned, learned = {}, [], {}, []
    last = float(np.max(tokens))
    for value in values.tolist():
        rows = share == value
        law = fit(rise_and_fall(), {"tokens": tokens[rows], "change": general[rows]})
        laws[value], turn = law, turning_point(law.values)
        # A loss that never rose has nothing to turn.
        rose = float(law.predict({"tokens": [last]})[0])
        turned[value] = (turn is not None and turn[0] < last) or rose <= 0
        ends.append(rose)
        learned.append(bool(domain[rows][np.argmax(tokens[rows])] < 0))
    feasible = [
        turned[one] and end <= limit and fell for one, end, fell in zip(values.tolist(), ends, learned, strict=True)
    ]
    if not any(feasible):
        return CriticalRatio(None, None, laws, turned)
    best = max(index for index, is_one in enumerate(feasible) if is_one)
    between = largest_share(values[best : best + 2], np.array(ends[best : best + 2]), limit)
    return CriticalRatio(float(values[best]), between, laws, turned)
