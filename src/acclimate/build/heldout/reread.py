"""Documents that the model was trained on, drawn to be measured like held-out ones."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.build.heldout.sets import heldout_rows
from acclimate.build.mixture import Mixture, epochs
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.deal.pack import HeldoutBatches, PackedSource, heldout_batches

Chosen = dict[str, dict[str, Any] | None]
"""Source -> ``{documents: [numbers], trained_on: count}``, as in data.json; None of a streamed one."""


@dataclass(frozen=True)
class Reread:
    """A sample of the documents of one source that were trained on."""

    batches: HeldoutBatches  # with document ids counted from 0
    where: tuple[str, ...]  # [documents of the sample]
    trained_on: int  # documents in all


def choose_reread(config: RunConfig, corpora: Corpora, active: NDArray[np.bool_], mixture: Mixture) -> Chosen:
    """Of each domain source that is trained on, ``evaluation.memorisation_documents`` that are read.

    The draw depends on ``data.split_seed``, so that seeds of a run measure the same documents where all are read.

    Args:
        corpora: with the labels that are trained on, which decide how far training comes.
        active: [routes] those that some loss term looks at.
    """
    chosen: Chosen = {}
    for name in mixture.shares if config.evaluation.memorisation_documents else ():
        corpus, passes = corpora.sources[name], epochs(config, mixture, name)
        if corpus.role != "domain":
            continue
        if passes is None:
            chosen[name] = None
            continue
        length = config.data.sequence_length
        packed = PackedSource(corpus.train, name, length, active, config.seed, row_length=mixture.row_lengths[name])
        read = _read(packed, passes)
        random = np.random.default_rng([config.data.split_seed, zlib.crc32(name.encode())])
        size = min(len(read), config.evaluation.memorisation_documents)
        sample = np.sort(random.choice(read, size, replace=False))
        chosen[name] = {"documents": sample.tolist(), "trained_on": len(read)}
    return chosen


def reread(config: RunConfig, corpora: Corpora, chosen: Chosen) -> dict[str, Reread | None]:
    """The chosen documents, with all of their labels, like held-out ones."""
    samples: dict[str, Reread | None] = {}
    rows = config.heldout_length, heldout_rows(config)
    for name, choice in chosen.items() if config.evaluation.memorisation_documents else ():
        if choice is None:
            samples[name] = None
            continue
        sample = corpora.sources[name].train.subset(np.array(choice["documents"], dtype=np.int64))
        batches = heldout_batches(sample, 0, corpora.routes, *rows, overlap=config.evaluation.overlap)
        samples[name] = Reread(batches, tuple(sample.where), choice["trained_on"])
    return samples


def _read(packed: PackedSource, passes: float) -> NDArray[np.int64]:
    """Documents that were trained on: all, or those of the rows that the first pass came to."""
    if passes >= 1:
        return np.unique(packed.document)
    rows = packed.rows(0)
    reached = int(np.sum(np.cumsum(rows.trained) <= passes * packed.trained_tokens))
    return np.unique([piece.document for k in range(max(reached, 1)) for piece in rows[k].pieces])
