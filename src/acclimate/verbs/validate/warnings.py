"""What is allowed but probably not meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from acclimate.build import Mixture
from acclimate.build.heldout.budget import budget_of
from acclimate.build.mixture import epochs
from acclimate.build.plan import Composition
from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection, ScheduleSection
from acclimate.config.source_schema import AUTO
from acclimate.data.chat.pieces import cuts
from acclimate.data.corpus import Corpora, Corpus
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.load import load_config_of
from acclimate.paired.ratio import MINIMUM_DOCUMENTS, MINIMUM_GROUPS
from acclimate.types.errors import listed
from acclimate.verbs.validate.labels import label_notes
from acclimate.verbs.validate.reading import files_not_read

MAX_EPOCHS = 4
"""Repeating data up to 4 times is nearly as good as fresh data (Muennighoff et al., 2023, arXiv 2305.16264)."""
ROUGHLY = 0.1
"""A held-out count that is met within so much is met."""
MAX_LEARNING_RATE = 0.01
"""An AdamW step is about as long as the rate: above this a typical weight (0.02) moves by half of itself [ours]."""

MAX_ABSENT = 0.05
"""A loss term that more than this part of steps holds nothing of is named."""


def warnings(
    config: RunConfig, composition: Composition, corpora: Corpora, mixture: Mixture, tokenizer: Any
) -> list[str]:
    """What is allowed but probably not meant."""
    found = [note for corpus in corpora.sources.values() for note in (*files_not_read(corpus), *corpus.unread)]
    found += [*label_notes(config, corpora, tokenizer), *_absent(config, mixture, composition)]
    found += [*_rounded(config.model)]
    then = (
        "they are left out of the measured set"
        if config.data.overlap == "drop"
        else "the report says what the others gained, and data.overlap: drop leaves these out"
    )
    for name in mixture.shares:
        if (passes := epochs(config, mixture, name) or 0.0) > MAX_EPOCHS:
            found.append(
                f"source '{name}' is read {passes:.1f} times; beyond {MAX_EPOCHS} epochs repeated text teaches little "
                "and is memorised. Give it more documents, a lower share, or a smaller budget."
            )
    for corpus in corpora.sources.values():
        found += _groups(corpus)
    for row in corpora.overlap:
        if row.documents_hit:
            found.append(
                f"{row.documents_hit} of {row.documents} held-out documents of '{row.heldout_source}' share a "
                f"{config.evaluation.overlap_ngram}-word sequence with training text of '{row.train_source}' "
                f"({row.ngrams_hit} of {row.ngrams} sequences); {then}."
            )
    for name, corpus in corpora.sources.items():
        found += [*_cut(config, corpus)] if name in mixture.shares else []
        found += [*_control(corpus)]
    found += _unseen(config, corpora, mixture, tokenizer)
    found += [
        f"source '{name}' holds no document out, so nothing is measured on it."
        for name, corpus in corpora.sources.items()
        if len(corpus.heldout) == 0
    ]
    found += [
        f"source '{name}' holds out {n} document{'s' * (n > 1)}; an interval over fewer than {MINIMUM_DOCUMENTS} says "
        f"little, and `acclimate gate` refuses it: raise sources.{name}.heldout."
        for name, corpus in corpora.sources.items()
        if 0 < (n := len(corpus.heldout)) < MINIMUM_DOCUMENTS
    ]
    found += _few_to_keep_a_budget_by(config, corpora)
    found += [
        f"source '{name}' is streamed: its first {corpus.documents_read:,} documents were read and checked, the rest "
        "is while training."
        for name, corpus in corpora.sources.items()
        if corpus.stream is not None
    ]
    found += [
        f"source '{name}': the method masks {corpus.mask.part:.1%} of its labels."
        for name, corpus in corpora.sources.items()
        if corpus.mask is not None
    ]
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
    given = {n: s.share for n, s in config.sources.items() if isinstance(s.share, float | int)}
    if mixture.shares.keys() <= {n for n, share in given.items() if share} and abs(sum(given.values()) - 1) > 1e-3:
        scaled = ", ".join(f"{name} {share:.3g}" for name, share in mixture.shares.items())
        found.append(f"the given shares sum to {sum(given.values()):.3g}, so they are scaled to 1: {scaled}.")
    if tokenizer.eos_token_id is None and any(section.append_eos for section in config.sources.values()):
        found.append(
            "the tokenizer has no eos token, so plain documents end without one and the model cannot learn where to "
            "stop; name one in tokenizer_config.json, or set append_eos: false for each source."
        )
    if mixture.total_steps < 2:
        found.append("the budget buys a single optimizer step; lower budget.batch_tokens.")
    return found


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


def _groups(corpus: Corpus) -> Iterator[str]:
    """What is held out together."""
    name, section, n, groups = corpus.name, corpus.section, len(corpus.heldout), len(set(corpus.groups))
    if groups < n:
        why = "near duplicates, or files of several documents" if section.group == "auto" else section.group
        yield (
            f"source '{name}': its {n:,} held-out documents belong to {groups:,} groups (sources.{name}.group: {why}), "
            "which are held out whole and drawn together: intervals are as wide as so many groups tell."
            + (
                f" `acclimate gate` lets nothing pass on fewer than {MINIMUM_GROUPS}."
                if groups < MINIMUM_GROUPS
                else ""
            )
        )
    asked, held = section.heldout, n + corpus.left_out
    if asked != AUTO and asked >= 1 and corpus.stream is None and abs(held - asked) > ROUGHLY * asked:
        yield (
            f"sources.{name}.heldout: {asked:g} documents cannot be met, since groups are held out whole, and are "
            f"{held:,}; give another count, or sources.{name}.group: none."
        )
    if corpus.stream is not None and section.group == "auto" and n:
        yield (
            f"source '{name}' is streamed, so near duplicates of its held-out documents are not looked for; name a "
            f"field that groups them at sources.{name}.group."
        )


def _cut(config: RunConfig, corpus: Corpus) -> Iterator[str]:
    """What no row holds whole."""
    length, name = config.data.sequence_length, corpus.name
    found = cuts(corpus.train, length)
    if not found.documents:
        return
    among = f"the first {len(corpus.train):,}" if corpus.stream else f"{len(corpus.train):,}"
    note = (
        f"source '{name}': {found.documents:,} of {among} training documents are longer than a row "
        f"(data.sequence_length: {length}) and cut; {found.labels:.1%} of the labels are learned without some of the "
        "text before them."
    )
    if found.chats:
        note += (
            f" {found.chats:,} of them are chats or pairs, whose pieces all begin with the prompt; "
            + (f"in {found.prompts:,} it is cut from its left" if found.prompts else "it is whole in all")
            + f". sources.{name}.too_long: drop leaves them out."
        )
    yield note


def _control(corpus: Corpus) -> Iterator[str]:
    """Text that spells special tokens."""
    both = (corpus.train, corpus.heldout)
    spelt = sum(int((part.control > 0).sum()) for part in both)
    if spelt:
        size = sum(int(part.control.sum()) for part in both)
        where = os.path.basename(
            next(part.where[int(np.argmax(part.control > 0))] for part in both if part.control.any())
        )
        many = "1 document spells" if spelt == 1 else f"{spelt:,} documents spell"
        yield (
            f"source '{corpus.name}': {many} special tokens of the tokenizer (first: {where}). They are read as these "
            f"tokens, so in a chat they may end a turn, and their {size:,} bytes are "
            "left out of bits per byte. That is right for text that is rendered already; otherwise remove them, or set "
            "split_special_tokens: true in the model's tokenizer_config.json."
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
