"""Which shares an online rule moves, and the controller that does."""

from __future__ import annotations

from collections.abc import Mapping

from acclimate.build.mixture import Mixture
from acclimate.config.chosen.mixture import MixtureSection
from acclimate.config.chosen.online import OnlineSection
from acclimate.config.load import RunConfig
from acclimate.data.prepare.routes import has_route, role_routes
from acclimate.training.control.online import DIDS, ODM, DoGE, DoReMi, OnlineWeights, Rule
from acclimate.types.errors import ConfigError, listed, nearest


def online_weights(config: RunConfig, mixture: Mixture) -> OnlineWeights:
    """The controller of ``mixture: doremi``, ``doge``, ``odm`` or ``dids``.

    Raises:
        ConfigError: fewer than two sources would be moved; the budget counts one that is.
    """
    section = config.mixture
    assert section is not None
    assert section.online is not None
    shares = moved_shares(config, section.online, section.rule, mixture.schedule(0.0))
    return OnlineWeights(_rule(section, mixture.total_steps), shares)


def moved_shares(config: RunConfig, section: OnlineSection, name: str, shares: Mapping[str, float]) -> dict[str, float]:
    """By source, the shares that are moved, of all trained tokens.

    Args:
        name: of the rule.
        shares: of the sources that are trained on, at the first step.
    """
    where, found = f"mixture.{name}", dict(shares)
    if section.route is not None:
        found = {n: share for n, share in shares.items() if has_route(n, config.sources[n], section.route)}
        known = sorted({route for n in shares for route in role_routes(n, config.sources[n]).values()})
        if not found:
            raise ConfigError(
                f"{where}.route: no source that is trained on has the route '{section.route}' alone; the routes are "
                f"{listed(known)}.{nearest(section.route, known)}"
            )
    if len(found) < 2:
        of = f" of route '{section.route}'" if section.route is not None else ""
        raise ConfigError(
            f"{where}: moves shares among sources, and only '{next(iter(found))}' is trained on{of}; split it into "
            "sources of different kinds, or leave mixture out."
        )
    if config.budget.count in found:
        raise ConfigError(
            f"budget.count: '{config.budget.count}' has a share that {where} moves, so a step would grow as it falls, "
            "and runs of other rules would see more or fewer tokens; set budget.count: all."
        )
    return found


def _rule(section: MixtureSection, total_steps: int) -> Rule:
    if section.doremi is not None:
        return DoReMi(section.doremi.eta, section.doremi.smoothing)
    if section.doge is not None:
        return DoGE(section.doge.mu, section.doge.every)
    if section.dids is not None:
        return DIDS(section.dids.beta)
    assert section.odm is not None
    kept = 0.9 if section.odm.kept is None else section.odm.kept
    return ODM(section.odm.form, kept, round(section.odm.warmup * total_steps))
