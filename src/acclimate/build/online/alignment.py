"""What DoGE measures while training: gradients of sources, against those of validation text."""

from __future__ import annotations

from acclimate.build.heldout.sets import HeldoutSets, validation_sets
from acclimate.config.chosen.online import DoGESection
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.data.deal.pack import HeldoutBatches
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.training.alignment import Alignment, Target
from acclimate.training.control.online import OnlineWeights
from acclimate.types.central import IGNORE, RoutedTerm
from acclimate.types.errors import ConfigError, listed
from acclimate.types.plan import Plan


def alignment_of(config: RunConfig, corpora: Corpora, objective: Objective, plan: Plan) -> Alignment | None:
    """Of ``mixture: doge``.

    Args:
        objective: of the run, whose arithmetic that of the target is.
        plan: of the run, in which is what moves the shares.

    Raises:
        ConfigError: no source of a role that the target needs holds documents out.
    """
    section = config.mixture.doge if config.mixture is not None else None
    if section is None:
        return None
    names = tuple(dict.fromkeys(route.name for route in corpora.routes))
    loss = Objective(
        [RoutedTerm("cross_entropy", CrossEntropy(), names)],
        corpora.routes,
        {},
        logits_dtype=objective.logits_dtype,
        chunk_tokens=objective.chunk_tokens,
        world=objective.world,
    )
    targets = [
        Target([batch for batch, _ in rows if (batch.labels != IGNORE).any()], weight)
        for weight, sets in _weighed(section, corpora, validation_sets(config, corpora)).items()
        for rows in sets
    ]
    sources = next(one.sources for one in plan.controllers if isinstance(one, OnlineWeights))
    return Alignment(section.every, sources, targets, loss)


def target_positions(config: RunConfig, corpora: Corpora) -> float:
    """Mean positions of the target's micro-batches at one measurement, of one rank."""
    section = config.mixture.doge if config.mixture is not None else None
    assert section is not None
    found = _weighed(section, corpora, validation_sets(config, corpora))
    each = [[batch.input_ids.numel() for batch, _ in rows] for sets in found.values() for rows in sets]
    return sum(sum(sizes) / len(sizes) for sizes in each)


def _weighed(section: DoGESection, corpora: Corpora, sets: HeldoutSets) -> dict[float, list[HeldoutBatches]]:
    """Weight of a set -> the sets of that weight: those to keep share ``keep``, those of the domain the rest."""
    of = {kept: [n for n in sets if (corpora.sources[n].role != "domain") == kept] for kept in (True, False)}
    found: dict[float, list[HeldoutBatches]] = {}
    for kept, part in ((True, section.keep), (False, 1 - section.keep)):
        if part and not of[kept]:
            role, other = ("general or chat", "0") if kept else ("domain", "1")
            raise ConfigError(
                f"mixture.doge.keep: {section.keep:g} wants {part:.0%} of the target from text of role {role}, and "
                f"no source of it holds any out (sets: {listed(sets)}); set sources.NAME.heldout, or keep: {other}."
            )
        for name in of[kept] if part else ():
            found.setdefault(part / len(of[kept]), []).append(sets[name])
    return found
