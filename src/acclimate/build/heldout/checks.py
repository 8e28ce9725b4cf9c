"""How often held-out text is measured while training, and what part of the work that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from acclimate.build.heldout.sets import HeldoutSets, heldout_sets, validation_sets
from acclimate.build.mixture import Mixture, all_tokens
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora, Corpus
from acclimate.measurement.kept import positions
from acclimate.paired.grouped import codes
from acclimate.training.probe import GroupsOf
from acclimate.types.errors import ConfigError

PART = 0.03
"""Of the training's work, that measuring takes with ``eval_steps: auto``."""
CHECKED = 1.5
"""Training forwards that a measured position counts as: the tuned and the base's head over the whole vocabulary, in
float32. Measured as 1.4 on a model of 135M weights and 49,152 tokens: benchmarks/2026-11-30-probe.md [ours]."""
FEWEST, MOST = 10, 100
"""Checks of a run, whatever they cost: what is steered and chosen by fewer is chosen by chance; and each may write the
best weights to the disk [ours]."""


@dataclass(frozen=True)
class Checks:
    """A check every ``every`` steps and one after the last.

    Args:
        panel: positions of the rows that are measured; a check is one forward over them, since the base's states on
            them are kept.
        work: of the whole training, in tokens through one forward; a backward counts as two, or as one under LoRA.
    """

    every: int
    steps: int
    panel: int
    work: float

    @property
    def count(self) -> int:
        return math.ceil(self.steps / self.every)

    @property
    def part(self) -> float:
        """What all checks cost, over the training's own work, both in forwards."""
        return self.count * self.panel * CHECKED / self.work


def measured_sets(config: RunConfig, corpora: Corpora) -> HeldoutSets:
    """The documents that choices look at, or else some of those that are reported."""
    return validation_sets(config, corpora) or heldout_sets(config, corpora, config.evaluation.training_documents)


def groups_of(corpus: Corpus) -> GroupsOf:
    """Which of its held-out documents, by their ids, are drawn together."""
    return lambda ids: codes([corpus.groups[place] for place in ids - corpus.first_heldout_id])


def checks_of(config: RunConfig, corpora: Corpora, mixture: Mixture) -> Checks | None:
    """How often the run is measured; None: never.

    ``auto`` is so often that it takes ``PART`` of the work, and at least ``FEWEST`` times and at most ``MOST``. It is
    made of counts alone, so that it is the same on every machine and for every seed.

    Raises:
        ConfigError: training.patience waits for what nothing measures.
    """
    if config.training.eval_steps is None:
        return None
    sets = measured_sets(config, corpora)
    if config.training.patience is not None and all(corpora.sources[name].role != "domain" for name in sets):
        raise ConfigError(
            "training.patience: it waits for the domain's bits per byte, but no source of role domain holds documents "
            "out; set sources.NAME.heldout, or role: domain."
        )
    steps, panel = mixture.total_steps, positions(sets)
    # of a stream what a trained token stands in is not counted: one position, so that the work is no more than that
    computed = sum(
        share * (corpora.sources[name].train.tokens / counted if (counted := mixture.trained_tokens[name]) else 1.0)
        for name, share in mixture.shares.items()
    )
    passes = (3 if config.lora is None else 2) + mixture.forwards
    work = all_tokens(config, mixture) * max(1.0, computed) * passes
    if config.training.eval_steps != "auto":
        return Checks(config.training.eval_steps, steps, panel, work)
    affordable = max(1, int(PART * work / max(1, panel * CHECKED)))
    count = min(max(affordable, FEWEST), MOST)
    every = max(1, steps // count if count == FEWEST else math.ceil(steps / count))
    return Checks(every, steps, panel, work)
