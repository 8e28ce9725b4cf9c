"""Documents that the model was trained on, drawn to be measured like held-out ones."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.assembly.mixture import epochs, mix
from acclimate.assembly.training import build_objective
from acclimate.config import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.pack import HeldoutBatches, PackedSource, heldout_batches
from acclimate.plan import build_plan
from acclimate.types import PlanContext


@dataclass(frozen=True)
class Reread:
    """A sample of the documents of one source that were trained on."""

    batches: HeldoutBatches  # with document ids counted from 0
    where: tuple[str, ...]  # [documents of the sample]
    trained_on: int  # documents in all


def reread(config: RunConfig, corpora: Corpora) -> dict[str, Reread | None]:
    """Of each domain source that was trained on, ``evaluation.memorisation_documents``; None of a streamed one.

    The draw depends on ``data.split_seed``, so that seeds of a run measure the same documents where all were read.
    """
    plan = build_plan(config, PlanContext(full_tuning=config.lora is None))
    objective = build_objective(config, plan, corpora, {})
    mixture = mix(config, corpora, objective)
    samples: dict[str, Reread | None] = {}
    for name in mixture.shares if config.evaluation.memorisation_documents else ():
        corpus, passes = corpora.sources[name], epochs(config, mixture, name)
        if corpus.role != "domain":
            continue
        if passes is None:
            samples[name] = None
            continue
        packed = PackedSource(corpus.train, name, config.data.sequence_length, objective.active, config.seed)
        read = _read(packed, passes)
        random = np.random.default_rng([config.data.split_seed, zlib.crc32(name.encode())])
        size = min(len(read), config.evaluation.memorisation_documents)
        sample = corpus.train.subset(np.sort(random.choice(read, size, replace=False)))
        rows = config.data.sequence_length, config.training.micro_batch_size
        samples[name] = Reread(heldout_batches(sample, 0, corpora.routes, *rows), tuple(sample.where), len(read))
    return samples


def _read(packed: PackedSource, passes: float) -> NDArray[np.int64]:
    """Documents that were trained on: all, or those of the rows that the first pass came to."""
    if passes >= 1:
        return np.unique(packed.document)
    rows = packed.rows(0)
    reached = int(np.sum(np.cumsum(rows.trained) <= passes * packed.trained_tokens))
    return np.unique([piece.document for k in range(max(reached, 1)) for piece in rows[k].pieces])
