"""What DoGE measures while training: gradients of sources, against those of validation text."""

from __future__ import annotations

from collections.abc import Iterator

from acclimate.build.heldout.sets import validation_sets
from acclimate.config.chosen.online import DoGESection
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.data.deal.pack import HeldoutBatches
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.training.control.online import OnlineWeights
from acclimate.training.control.online.alignment import Alignment, Target
from acclimate.types.central import RoutedTerm
from acclimate.types.errors import ConfigError
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
    targets = [
        Target([[batch for batch, _ in rows] for rows in sets], weight)
        for weight, sets in _weighed(config, section, corpora)
    ]
    sources = next(one.sources for one in plan.controllers if isinstance(one, OnlineWeights))
    return Alignment(section.every, sources, targets, heldout_loss(corpora, objective))


def heldout_loss(corpora: Corpora, objective: Objective) -> Objective:
    """Cross-entropy on held-out text of any route, with the arithmetic of the run's objective."""
    names = tuple(dict.fromkeys(route.name for route in corpora.routes))
    return Objective(
        [RoutedTerm("cross_entropy", CrossEntropy(), names)],
        corpora.routes,
        {},
        logits_dtype=objective.logits_dtype,
        chunk_tokens=objective.chunk_tokens,
        world=objective.world,
    )


def target_positions(config: RunConfig, corpora: Corpora) -> float:
    """Mean positions of the target's micro-batches at one measurement, of one rank."""
    section = config.mixture.doge if config.mixture is not None else None
    assert section is not None
    means = (
        [sum(batch.input_ids.numel() for batch, _ in rows) / len(rows) for rows in sets]
        for _, sets in _weighed(config, section, corpora)
    )
    return sum(sum(sizes) / len(sizes) for sizes in means)


def _weighed(config: RunConfig, section: DoGESection, corpora: Corpora) -> Iterator[tuple[float, list[HeldoutBatches]]]:
    """Parts of the target with their validation sets, of sources that are trained on: text to keep, and the domain's.

    What has share 0 is measured and guides nothing [ours].
    """
    sets = {n: rows for n, rows in validation_sets(config, corpora).items() if config.sources[n].share != 0}
    for kept, part in ((True, section.keep), (False, 1 - section.keep)):
        own = [rows for name, rows in sets.items() if (corpora.sources[name].role != "domain") == kept]
        if part and not own:
            role, other = ("general or chat", "0") if kept else ("domain", "1")
            raise ConfigError(
                f"mixture.doge.keep: {section.keep:g} wants {part:.0%} of the target from text of role {role}, and no "
                f"source of it that is trained on holds any out; set sources.NAME.heldout, or keep: {other}."
            )
        if part:
            yield part, own
