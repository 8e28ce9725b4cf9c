"""What is allowed but probably not meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from acclimate.build import Mixture
from acclimate.build.heldout.budget import budget_of
from acclimate.build.plan import Composition
from acclimate.build.sharded import said_of_whole
from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection, ScheduleSection
from acclimate.data.corpus import Corpora
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.load import load_config_of, why_whole
from acclimate.paired.ratio import MINIMUM_DOCUMENTS
from acclimate.types.errors import listed
from acclimate.verbs.validate.by_source import alike, source_notes
from acclimate.verbs.validate.labels import label_notes
from acclimate.verbs.validate.reading import files_not_read

MAX_LEARNING_RATE = 0.01
"""An AdamW step is about as long as the rate: above this a typical weight (0.02) moves by half of itself [ours]."""

MAX_ABSENT = 0.05
"""A loss term that more than this part of steps holds nothing of is named."""


def warnings(
    config: RunConfig, composition: Composition, corpora: Corpora, mixture: Mixture, tokenizer: Any
) -> list[str]:
    """What is allowed but probably not meant."""
    found = [note for corpus in corpora.sources.values() for note in files_not_read(corpus)]
    of_rows = [(name, note) for name, corpus in corpora.sources.items() for note in corpus.unread]
    found += [*alike([*of_rows, *label_notes(config, corpora, tokenizer)]), *_absent(config, mixture, composition)]
    found += [*_rounded(config.model), *source_notes(config, corpora, mixture)]
    found += _unseen(config, corpora, mixture, tokenizer)
    found += _few_to_keep_a_budget_by(config, corpora)
    if (warmup := config.schedule.warmup_steps) is not None and warmup >= mixture.total_steps:
        found.append(
            f"schedule.warmup_steps is {warmup}, but the run has {mixture.total_steps} steps: it ends before its "
            "learning rate is reached."
        )
    found += _overlapping_schedule(config.schedule, mixture.total_steps)
    if (rate := config.optimizer.learning_rate) > MAX_LEARNING_RATE:
        found.append(
            f"optimizer.learning_rate is {rate:g}, at which AdamW destroys a trained model; 2e-4 suits LoRA, 1e-5 to "
            "5e-5 full tuning."
        )
    found += [*_scaled(config, mixture), *_let_in(config, mixture), *_loaded_whole(config)]
    if tokenizer.eos_token_id is None and any(section.append_eos for section in config.sources.values()):
        found.append(
            "the tokenizer has no eos token, so plain documents end without one and the model cannot learn where to "
            "stop; name one in tokenizer_config.json, or set append_eos: false for each source."
        )
    if mixture.total_steps < 2:
        found.append("the budget buys a single optimizer step; lower budget.batch_tokens.")
    return found


def _loaded_whole(config: RunConfig) -> Iterator[str]:
    """Models that need more memory while they are loaded than when they are spread."""
    if config.parallel.strategy != "fsdp":
        return
    for section in {one.path: one for one in (config.model, config.model.of_base)}.values():
        if (why := why_whole(section)) is not None:
            yield said_of_whole(section, why)


def _scaled(config: RunConfig, mixture: Mixture) -> Iterator[str]:
    """Shares that were meant to be all, and are not."""
    used = {name: config.sources[name] for name in mixture.shares}
    if len(used) < 2 or not all(isinstance(section.share, float | int | dict) for section in used.values()):
        return
    parts = {0.0, *(part for s in used.values() if isinstance(s.share, dict) for part in s.share)}
    for part in sorted(parts):
        given = {name: share for name, s in used.items() if isinstance(share := s.share_at(part), float | int)}
        if abs(sum(given.values()) - 1) > 1e-3:
            where = f" from {part:g} of the run on" if len(parts) > 1 else ""
            scaled = ", ".join(f"{name} {share / sum(given.values()):.3g}" for name, share in given.items())
            yield f"the given shares sum to {sum(given.values()):.3g}{where}, so they are scaled to 1: {scaled}."


def _let_in(config: RunConfig, mixture: Mixture) -> Iterator[str]:
    """A ramp that follows drift, of which nobody knows how fast it goes."""
    if config.mixture is None or config.mixture.ramp is None or mixture.planned.first is None:
        return
    first = ", ".join(f"{name} {share:.3g}" for name, share in mixture.first.items())
    yield (
        f"mixture.ramp.drift: shares begin at {first} and grow with drift; tokens, epochs, memory and time are counted "
        "as if they were whole from the start."
    )


def _few_to_keep_a_budget_by(config: RunConfig, corpora: Corpora) -> Iterator[str]:
    """Validation documents of the sets that a forgetting budget is measured on."""
    count = config.evaluation.validation_documents
    if config.retain is None or count >= MINIMUM_DOCUMENTS:
        return
    sets = listed(f"'{name}'" for name in budget_of(config, corpora).watched)
    yield (
        f"retain: the budget is kept by {count} validation document{'s' * (count > 1)} a set ({sets}); of fewer than "
        f"{MINIMUM_DOCUMENTS} the mean says little of other text: raise evaluation.validation_documents."
    )


def _rounded(section: ModelSection) -> Iterator[str]:
    """Weights that are read in a shorter dtype than theirs; nobody trains in float16, which overflows."""
    if section.dtype != "bfloat16" or gguf_of(section.path) is not None:
        return
    if str(load_config_of(section).get_text_config().dtype).removeprefix("torch.") == "float16":
        yield (
            f"the weights of '{section.path}' are float16, and are rounded to bfloat16 (8 significant bits in place of "
            "11): base, drift and the exported model are of the rounded weights. model.dtype: float32 keeps them."
        )


def _unseen(config: RunConfig, corpora: Corpora, mixture: Mixture, tokenizer: Any) -> list[str]:
    """Tokens of ``model.add_tokens`` that no training document has."""
    ids = np.array(tokenizer.convert_tokens_to_ids(config.model.add_tokens), dtype=np.int32)
    used = [corpora.sources[name] for name in mixture.shares]
    if not len(ids) or any(corpus.stream is not None for corpus in used):
        return []
    seen = {int(token) for corpus in used for token in ids[np.isin(ids, corpus.train.ids)]}
    missing = [token for token, i in zip(config.model.add_tokens, ids.tolist(), strict=True) if i not in seen]
    if not missing:
        return []
    named = ", ".join(map(repr, missing[:3])) + (f" and {len(missing) - 3} more" if missing[3:] else "")
    return [f"model.add_tokens: no document that is trained on has {named}, so nothing is learned of it."]


def _overlapping_schedule(section: ScheduleSection, total: int) -> list[str]:
    """wsd: warmup and decay ask for more steps than there are."""
    warmup = section.warmup_steps if section.warmup_steps is not None else round(section.warmup_ratio * total)
    decay = round(section.decay_ratio * total)
    if section.type != "wsd" or not total - decay < warmup < total:
        return []
    key = "warmup_steps" if section.warmup_steps is not None else "warmup_ratio"
    return [
        f"schedule: {key} (the first {warmup} steps) and decay_ratio (the last {decay}) overlap in a run of {total} "
        f"steps; the decay begins after the warmup and takes {total - warmup}. Lower one of them to have both whole."
    ]


def _absent(config: RunConfig, mixture: Mixture, composition: Composition) -> list[str]:
    """Terms that many steps have no token of."""
    return [
        f"{routed.name} on {' and '.join(routed.routes)} is absent from about {part:.0%} of steps, since a step of "
        f"budget.batch_tokens {config.budget.batch_tokens} expects few of its tokens; raise budget.batch_tokens or the "
        "share of its sources."
        for routed, part in zip(composition.terms, mixture.absent, strict=True)
        if part > MAX_ABSENT
    ]
