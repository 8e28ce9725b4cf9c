"""A run's forgetting budget: the sets that it is measured on, and the controller that keeps it."""

from __future__ import annotations

from acclimate.build.plan import Composition
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.objective.divergence import Divergence
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.training.control.budget import MEAN, Budget
from acclimate.training.control.nupi import pace
from acclimate.training.control.retention import Retention
from acclimate.training.schedule import factor
from acclimate.types.errors import ConfigError, listed


def budget_of(config: RunConfig, corpora: Corpora) -> Budget:
    """The budget that ``retain`` is.

    Raises:
        ConfigError: a set is the domain's, or none is left.
    """
    section = config.retain
    assert section is not None
    metric, given = DRIFT if section.kl is not None else BITS, section.given
    kept = {name: corpus for name, corpus in corpora.sources.items() if corpus.role != "domain" and len(corpus.heldout)}
    if not kept:
        raise ConfigError(
            f"retain.{section.key}: a budget is measured on held-out text that is not the domain's, and no source "
            "of role general or chat holds any out; set sources.NAME.heldout (share: 0: measured, not trained)."
        )
    if not isinstance(given, dict):
        return Budget(metric, {MEAN: given}, tuple(kept))
    for name in given:
        if name not in kept:
            raise ConfigError(
                f"retain.{section.key}.{name}: '{name}' is of role domain, which is to change; accepted: "
                f"{listed(kept)}."
            )
    return Budget(metric, given)


def retention(config: RunConfig, composition: Composition, corpora: Corpora, total_steps: int) -> Retention:
    """What moves the strength, and watches the budget where nothing is to be moved."""
    budget = budget_of(config, corpora)
    rows = _rows(composition, corpora) if budget.metric == DRIFT else {}
    end = factor(total_steps - 1, total_steps, config.schedule)

    def ahead(step: int) -> float:
        return factor(step, total_steps, config.schedule) - end

    return Retention(budget, pace(bool(rows), total_steps), rows, composition.strength is not None, ahead)


def _rows(composition: Composition, corpora: Corpora) -> dict[str, tuple[str, float]]:
    """Metrics of training rows that say how far the model is from its base where it is to stay: metric -> source and
    factor."""
    return {
        f"loss/{route.source}/{routed.name}": (route.source, 1 / routed.term.per_nat)
        for routed in composition.terms
        if routed.reference == "base" and isinstance(routed.term, Divergence)
        for route in corpora.routes
        if route.name in routed.anchors and corpora.sources[route.source].role != "domain"
    }
