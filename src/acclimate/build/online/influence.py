"""What DIDS measures while training: gradients of sources, beside those of validation text of each source."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from acclimate.build.heldout.sets import HeldoutSets, validation_sets
from acclimate.build.online.alignment import heldout_loss
from acclimate.config.chosen.online import DIDSSection
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.data.deal.shares import DELAY
from acclimate.objective.objective import Objective
from acclimate.training.control.online import Credit
from acclimate.training.control.online.influence import Influence, last
from acclimate.types.errors import ConfigError
from acclimate.types.plan import Plan


def influence_of(config: RunConfig, corpora: Corpora, objective: Objective, plan: Plan) -> Influence | None:
    """Of ``mixture: dids``.

    Args:
        objective: of the run, whose arithmetic that of the sets is.
        plan: of the run, in which is what reads it.
    """
    section = config.mixture.dids if config.mixture is not None else None
    if section is None:
        return None
    sets = {name: [batch for batch, _ in rows] for name, rows in read_sets(config, section, corpora).items()}
    loss = heldout_loss(corpora, objective)
    return Influence(section.every, credit_in(plan).sources, sets, loss, section.part, section.influence)


def credit_of(config: RunConfig, corpora: Corpora, sources: Sequence[str], total_steps: int) -> Credit | None:
    """What turns the measured into one number for each source, of ``mixture: dids``.

    Args:
        sources: whose shares are moved.

    Raises:
        ConfigError: no set is read, or the run ends before a share can move.
    """
    section = config.mixture.dids if config.mixture is not None else None
    if section is None:
        return None
    sets = read_sets(config, section, corpora)
    if not sets:
        raise ConfigError(
            "mixture.dids: goes by validation text of the sources that are trained on, and none of them holds any out; "
            "set sources.NAME.heldout."
        )
    if 2 * section.every + DELAY > total_steps:
        most = (total_steps - DELAY) // 2
        raise ConfigError(
            f"mixture.dids.every: {section.every} brings the second measurement, by which shares first move, at step "
            f"{2 * section.every}, and they are dealt {DELAY} steps later; the run has {total_steps}; "
            + (f"accepted: {most} or less." if most > 0 else "give it more steps (budget).")
        )
    return Credit(sources, tuple(sets))


def read_sets(config: RunConfig, section: DIDSSection, corpora: Corpora) -> HeldoutSets:
    """Of sources that are trained on: what has share 0 is measured and guides nothing [ours]."""
    sets = validation_sets(config, corpora, section.documents)
    return {name: rows for name, rows in sets.items() if config.sources[name].share != 0}


def kept_gradients(sources: Collection[str], sets: Collection[str]) -> int:
    """How many gradients of the last tensors stand beside each other: of each source, each set, and F."""
    return len(sources) + len(sets) + 1


def credit_in(plan: Plan) -> Credit:
    """The run's, under ``mixture: dids``."""
    return next(one for one in plan.controllers if isinstance(one, Credit))


def kept_bytes(config: RunConfig, plan: Plan, sizes: Sequence[int]) -> int:
    """Memory of what online weights keep of gradients, in float32.

    Args:
        sizes: elements of the trained tensors, in the network's order.
    """
    section = config.mixture
    if section is None:
        return 0
    if section.doge is not None:
        return 4 * sum(sizes)  # the target's
    if section.dids is not None:
        credit = credit_in(plan)
        return 4 * kept_gradients(credit.sources, credit.losses) * sum(last(sizes, section.dids.part))
    return 0
