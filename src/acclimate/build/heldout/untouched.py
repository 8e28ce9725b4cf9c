"""Held-out text by the tuned model and by the checkpoint as it was before tokens were added, over the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.build.heldout.sets import heldout_rows
from acclimate.build.plan import method_names
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora, Corpus
from acclimate.data.deal.pack import HeldoutBatches, heldout_batches
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.tokens import TokenCorpus, encoded_now
from acclimate.measurement.apart import Reader, measure_apart
from acclimate.measurement.summary import Record, change_records, records
from acclimate.model.causal import CausalModel
from acclimate.paired.grouped import codes
from acclimate.parallel.world import World
from acclimate.runs.layout import UNTOUCHED


def score_untouched(
    config: RunConfig, corpora: Corpora, model: CausalModel, untouched: CausalModel, world: World
) -> list[Record]:
    """Records of ``untouched.json``: bits per byte of both and the paired change, by held-out set.

    Each model reads the text in its own tokens. No divergence is among them: the vocabularies differ.
    """
    name, found = "+".join(method_names(config)), []
    for set_name, corpus in corpora.sources.items():
        places = np.sort(corpus.reported(config.evaluation.validation_documents)[: config.evaluation.documents])
        if not len(places):
            continue
        one, other = (Reader(reader, _encoded(corpora, corpus, reader, places)) for reader in (model, untouched))
        scores = measure_apart(one, other, lambda part: _batches(config, corpora, part), world)
        if scores is None:
            continue
        groups = codes([corpus.groups[places[number]] for number in scores[0].document.tolist()])
        about: Any = {"seed": config.seed, "set_name": set_name, "role": corpus.role, "groups": groups}
        for run, of_run in zip((name, UNTOUCHED), scores, strict=True):
            found += records(of_run, **(about | {"run": run}))
        found += change_records(*scores, **(about | {"run": name}))
    return found


def _batches(config: RunConfig, corpora: Corpora, part: TokenCorpus) -> HeldoutBatches:
    length, rows = config.heldout_length, heldout_rows(config)
    return heldout_batches(part, 0, corpora.routes, length, rows, overlap=config.evaluation.overlap)


def _encoded(corpora: Corpora, corpus: Corpus, model: CausalModel, places: Any) -> TokenCorpus:
    """Held-out documents, read again, in the model's own tokens."""
    wanted = set(places.tolist())
    documents = [document for place, document in enumerate(corpus.read_heldout()) if place in wanted]
    encoder = Encoder(model.tokenizer, corpus.name, corpus.section, corpora.routes)
    return encoded_now(documents, encoder, [document.where for document in documents])
