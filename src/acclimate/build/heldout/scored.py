"""The held-out sets of a run, scored against its base, and what it memorised of its training documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from acclimate.build.heldout.reread import Reread
from acclimate.build.heldout.sets import heldout_sets
from acclimate.build.plan import method_names
from acclimate.config.load import RunConfig
from acclimate.data.chat.rendering import special_tokens
from acclimate.data.corpus import Corpora
from acclimate.measurement.measure import Scores, measure
from acclimate.measurement.summary import Record, change_records, records
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.paired.grouped import codes
from acclimate.paired.memorisation import document, memorisation
from acclimate.parallel.world import World
from acclimate.runs.layout import Layout
from acclimate.runs.scores import write_scores

Gains = dict[str, tuple[Scores, Scores]]
"""Set -> scores of the tuned model and of the base."""


Of = Callable[[str, int], Callable[[], None]]
"""Told what is measured, and of how many parts; what it returns is called after each."""


def score_sets(
    config: RunConfig, corpora: Corpora, model: CausalModel, base: Reference, world: World, of: Of
) -> tuple[list[Record], Gains]:
    """Records of ``summary.json``; writes ``eval/<set>.jsonl``."""
    name, summary = "+".join(method_names(config)), []
    gains: Gains = {}
    for set_name, batches in heldout_sets(config, corpora, config.evaluation.documents).items():
        tick = of(f"held-out text of '{set_name}'", -(-len(batches) // world.size))
        tuned, before = measure(model, base, batches, list(special_tokens(model.tokenizer)), world, tick)
        corpus = corpora.sources[set_name]
        at = tuned.document - corpus.first_heldout_id
        named, overlapping = [corpus.groups[place] for place in at], corpus.overlapping[at]
        about: Any = {"seed": config.seed, "set_name": set_name, "role": corpus.role, "groups": codes(named)}
        for run, scores in (("base", before), (name, tuned)):
            if scores is not None:
                summary += records(scores, **(about | {"run": run}))
        if before is not None:
            gains[set_name] = tuned, before
            summary += change_records(tuned, before, overlapping=overlapping, **(about | {"run": name}))
        if world.is_main:
            places = [corpora.document_name(int(number)) for number in tuned.document]
            path, columns = Layout(config.run_dir).scores(set_name), tuned.columns(before)
            write_scores(path, places, columns, corpus.beginnings(tuned.document), named, overlapping)
    return summary, gains


def score_memorised(
    config: RunConfig,
    samples: Mapping[str, Reread | None],
    model: CausalModel,
    base: Reference,
    gains: Gains,
    parameters: int,
    world: World,
    of: Of,
) -> dict[str, Any]:
    """By source, what documents that were trained on gained beyond held-out ones; writes ``memorisation/<set>.jsonl``.

    Args:
        parameters: that were trained.
    """
    special = list(special_tokens(model.tokenizer))
    found: dict[str, Any] = {}
    for name, sample in samples.items():
        if sample is None or name not in gains:
            found[name] = {"not_measured": "streamed" if sample is None else "no held-out documents"}
            continue
        tick = of(f"what was memorised of '{name}'", -(-len(sample.batches) // world.size))
        tuned, before = measure(model, base, sample.batches, special, world, tick)
        if world.is_main:
            seen, unseen = (scores.columns(other) for scores, other in ((tuned, before), gains[name]))
            result = memorisation(seen, unseen, sample.trained_on, parameters)
            found[name] = document(result) if result else {"not_measured": "fewer than 3 documents"}
            write_scores(Layout(config.run_dir).reread(name), sample.where, seen)
    return found
