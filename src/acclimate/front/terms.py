"""Loss terms as a plain loop names them: what is computed, on which tokens, against which reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import DIVERGENCES, Direction, Divergence
from acclimate.types.central import RoutedTerm
from acclimate.types.dials import Dial
from acclimate.types.errors import UsageError, listed, nearest

HELD = "general"
"""The route on which a term of several routes holds the model, so that a forgetting budget has what to strengthen."""


def cross_entropy(on: str | Sequence[str] = "domain", *, weight: float | Dial = 1.0) -> RoutedTerm:
    """``-log p(label)`` of the tokens on a route, in nats per token.

    Args:
        on: route, or routes, of the tokens that it sees.
        weight: factor on the term, 0 or more; a ``Dial`` may change while training.

    Raises:
        UsageError: no route, or a weight that is no number of 0 or more.

    >>> term = cross_entropy(on="domain")
    >>> term.name, term.routes, term.weight
    ('cross_entropy', ('domain',), 1.0)
    """
    routes = _routes("cross_entropy", on)
    anchors = tuple(route for route in routes if route == HELD) if len(routes) > 1 else ()
    return RoutedTerm("cross_entropy", CrossEntropy(), routes, _weight("cross_entropy", weight), anchors=anchors)


def kl(
    to: str = "base",
    on: str | Sequence[str] = "general",
    *,
    direction: Direction = "reverse",
    temperature: float = 1.0,
    weight: float | Dial = 1.0,
) -> RoutedTerm:
    """Divergence from a frozen reference on the tokens of a route, over the whole vocabulary, in nats per token.

    With p the student and q the reference: ``reverse`` is ``KL(p || q)``, ``forward`` is ``KL(q || p)``, and ``js`` is
    the Jensen-Shannon divergence. Each is exactly 0, without gradient, while student and reference are equal. A
    temperature T divides both logits by T and multiplies the nats by T^2.

    Args:
        to: name of the reference in ``Objective(references=...)``.
        on: route, or routes, of the tokens that it sees.
        direction: reverse, forward or js.
        temperature: above 0.
        weight: factor on the term, 0 or more; a ``Dial`` may change while training.

    Raises:
        UsageError: no route, an unknown direction, or a number that is out of range.

    Reference: the MoL authors' restatement, arXiv 2509.06650 [paper]; the temperature, arXiv 1503.02531 [paper].

    >>> term = kl(to="base", on="general", weight=0.5)
    >>> term.name, term.reference, term.weight
    ('reverse_kl', 'base', 0.5)
    """
    routes = _routes("kl", on)
    if direction not in DIVERGENCES:
        raise UsageError(
            f"kl: direction is '{direction}'; accepted: {listed(DIVERGENCES)}.{nearest(str(direction), DIVERGENCES)}"
        )
    if not 0 < temperature < math.inf:
        raise UsageError(f"kl: temperature is {temperature!r}; accepted: a number above 0.")
    term = Divergence(direction, temperature)
    return RoutedTerm(term.name, term, routes, _weight("kl", weight), reference=to, anchors=routes)


def _routes(term: str, on: str | Sequence[str]) -> tuple[str, ...]:
    routes = (on,) if isinstance(on, str) else tuple(on)
    if not routes or not all(isinstance(route, str) and route for route in routes):
        raise UsageError(f"{term}: on is {on!r}; accepted: the name of a route, or several names.")
    return tuple(dict.fromkeys(routes))


def _weight(term: str, weight: float | Dial) -> float | Dial:
    if isinstance(weight, Dial):
        lowest = weight.low
    elif isinstance(weight, int | float) and math.isfinite(weight):
        lowest = weight
    else:
        raise UsageError(f"{term}: weight is {weight!r}; accepted: a number of 0 or more, or a Dial.")
    if lowest < 0:
        raise UsageError(f"{term}: weight may be {lowest:g}; accepted: a number of 0 or more, or a Dial of such.")
    return weight
