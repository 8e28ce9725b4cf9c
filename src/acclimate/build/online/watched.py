"""Loss terms that online weights read and nothing learns from: their weight is 0."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.config.chosen.mixture import MixtureSection
from acclimate.config.chosen.online import BASE
from acclimate.objective.cross_entropy import CrossEntropy, ExcessCrossEntropy
from acclimate.types.central import RoutedTerm

EXCESS = "excess"
"""Name of DoReMi's watched term."""
REFERENCE = "reference"
"""Name of its reference, where that is not the base."""


def watched(section: MixtureSection | None, terms: Sequence[RoutedTerm]) -> list[RoutedTerm]:
    """What the rule reads of every route that is learned, where no term says it already.

    Watched terms go through the step as all terms do: so they are means over a source's own tokens and over all ranks,
    and stand in the log as ``loss/<source>/<name>``.

    Args:
        terms: from which something is learned.
    """
    routes = tuple(dict.fromkeys(route for routed in terms for route in routed.routes))
    if section is None:
        return []
    if section.doremi is not None:
        reference = BASE if section.doremi.reference == BASE else REFERENCE
        return [RoutedTerm(EXCESS, ExcessCrossEntropy(), routes, 0.0, reference)]
    if section.odm is not None:
        known = {route for routed in terms if isinstance(routed.term, CrossEntropy) for route in routed.routes}
        if others := tuple(route for route in routes if route not in known):
            return [RoutedTerm("cross_entropy", CrossEntropy(), others, 0.0)]
    return []
