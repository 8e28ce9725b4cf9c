"""What a person should know of online weights before the first step: cost, reach, and the control."""

from __future__ import annotations

from collections.abc import Iterator

from acclimate.build.mixture import Mixture
from acclimate.build.online.alignment import target_positions
from acclimate.build.online.influence import kept_gradients, read_sets
from acclimate.build.online.watched import EXCESS
from acclimate.build.plan import Composition
from acclimate.config.chosen.online import BASE, CONTROL, DIDSSection, DoGESection, DoReMiSection
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.data.prepare.routes import role_routes
from acclimate.training.control.online import OnlineWeights
from acclimate.training.control.online.dids import FITTED
from acclimate.training.schedule import factor


def online_notes(
    config: RunConfig, composition: Composition, corpora: Corpora, mixture: Mixture, moved: OnlineWeights
) -> Iterator[str]:
    """A line for the rule and its cost, one where shares of unlike terms are moved, and the control."""
    section = config.mixture
    assert section is not None
    where = f"mixture.{section.rule}"
    if section.doremi is not None:
        yield f"{where}: {_doremi(section.doremi, config, composition, mixture)}"
    if section.doge is not None:
        yield f"{where}: {_doge(section.doge, config, corpora, mixture)}"
    if section.odm is not None:
        yield (
            f"{where}: costs no forward. It goes by the loss itself, so a source that nobody can predict, as noise, "
            "gains share."
        )
    if section.dids is not None:
        yield f"{where}: {_dids(section.dids, config, corpora, mixture, moved)}"
    if config.objective.normalise == "term" and len({_terms_of(n, config, composition) for n in moved.sources}) > 1:
        yield (
            f"{where}: moves shares of sources with unlike loss terms, and each term is a mean over its own tokens: a "
            f"share sets its noise and cost, not its pull. {where}.route moves those of one route alone."
        )
    yield f"{where}: {CONTROL}"


def _doremi(section: DoReMiSection, config: RunConfig, composition: Composition, mixture: Mixture) -> str:
    excess = next(routed for routed in composition.terms if routed.name == EXCESS)
    others = {
        route
        for routed in composition.terms
        if routed is not excess and routed.reference == excess.reference
        for route in routed.routes
    }
    part = sum(share for n, share in mixture.shares.items() if not _routes(n, config) <= others)
    cost = f"a forward of its reference on {part:.0%} of the trained tokens" if part else "no forward"
    if section.reference != BASE:
        return f"costs {cost}."
    return (
        f"costs {cost}. Excess over the base is what the run has lost, not what it can still learn: shares go to what "
        "is forgotten. For the latter name a model that was trained on these sources (reference)."
    )


def _doge(section: DoGESection, config: RunConfig, corpora: Corpora, mixture: Mixture) -> str:
    step = mixture.asked.total(1)
    cost = (1 + target_positions(config, corpora) / step) / section.every
    total = mixture.total_steps
    reach = sum(factor(step, total, config.schedule) for step in range(total)) * config.optimizer.learning_rate
    reach /= section.mu
    said = ": shares stay about where they begin" if reach < 1 else ""
    return (
        f"costs about {cost:.0%} of the training's forwards and backwards more, and room for one more gradient. Scores "
        f"carry the learning rate: over this run they move the logarithm of a share by about {reach:.2g} for a target "
        f"gradient of norm 1{said}. A smaller mu moves them further."
    )


def _dids(section: DIDSSection, config: RunConfig, corpora: Corpora, mixture: Mixture, moved: OnlineWeights) -> str:
    sets = read_sets(config, section, corpora)
    read = sum(batch.input_ids.numel() for rows in sets.values() for batch, _ in rows)
    cost = (1 + read / mixture.asked.total(1)) / section.every
    times = mixture.total_steps // section.every
    gradients = kept_gradients(moved.sources, sets)
    forecast = "from the fifth on a forecast counts" if times >= FITTED else "a forecast needs five"
    said = (
        " influence: product gives most to sources that agree least with what improves, as the released code does."
        if section.influence == "product"
        else ""
    )
    return (
        f"costs about {cost:.0%} of the training's forwards and backwards more, and room for {gradients} gradients of "
        f"the last {100 * section.part:.2g} % of the trained tensors; fewer documents or a larger every cost less. It "
        f"measures {times} times: shares move from the second on, and {forecast}. They move far: a source that is last "
        f"for every set keeps {section.beta:.0%} of its share at each.{said}"
    )


def _routes(name: str, config: RunConfig) -> set[str]:
    return set(role_routes(name, config.sources[name]).values())


def _terms_of(name: str, config: RunConfig, composition: Composition) -> frozenset[int]:
    """The terms from which something is learned of the source."""
    routes = _routes(name, config)
    return frozenset(
        k for k, routed in enumerate(composition.terms) if routed.weight != 0 and routes & set(routed.routes)
    )
