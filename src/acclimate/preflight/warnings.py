"""What is allowed but probably not meant."""

from __future__ import annotations

from typing import Any

from acclimate.assembly import Mixture
from acclimate.assembly.mixture import epochs
from acclimate.config import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.evaluate.paired import MINIMUM_DOCUMENTS
from acclimate.types import Plan

MAX_EPOCHS = 4
"""Repeating data up to 4 times is nearly as good as fresh data (Muennighoff et al., 2023, arXiv 2305.16264)."""
MAX_LEARNING_RATE = 0.01
"""An AdamW step is about as long as the rate: above this a typical weight (0.02) moves by half of itself [ours]."""


def warnings(config: RunConfig, corpora: Corpora, mixture: Mixture, tokenizer: Any, plan: Plan) -> list[str]:
    """What is allowed but probably not meant."""
    found = [*plan.notes, *(note for corpus in corpora.sources.values() for note in corpus.unread)]
    for name in mixture.shares:
        if (passes := epochs(config, mixture, name) or 0.0) > MAX_EPOCHS:
            found.append(
                f"source '{name}' is read {passes:.1f} times; beyond {MAX_EPOCHS} epochs repeated text teaches little "
                "and is memorised. Give it more documents, a lower share, or a smaller budget."
            )
    for row in corpora.overlap:
        if row.documents_hit:
            found.append(
                f"{row.documents_hit} of {row.documents} held-out documents of '{row.heldout_source}' share a "
                f"{config.evaluation.overlap_ngram}-word sequence with training text of '{row.train_source}' "
                f"({row.ngrams_hit} of {row.ngrams} sequences)."
            )
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
    if (rate := config.optimizer.learning_rate) > MAX_LEARNING_RATE:
        found.append(
            f"optimizer.learning_rate is {rate:g}, at which AdamW destroys a trained model; 2e-4 suits LoRA, 1e-5 to "
            "5e-5 full tuning."
        )
    given = [section.share for section in config.sources.values() if section.share is not None]
    if mixture.shares.keys() <= {n for n, s in config.sources.items() if s.share} and abs(sum(given) - 1) > 1e-3:
        scaled = ", ".join(f"{name} {share:.3g}" for name, share in mixture.shares.items())
        found.append(f"the given shares sum to {sum(given):.3g}, so they are scaled to 1: {scaled}.")
    if tokenizer.eos_token_id is None and any(section.append_eos for section in config.sources.values()):
        found.append(
            "the tokenizer has no eos token, so plain documents end without one and the model cannot learn where to "
            "stop; name one in tokenizer_config.json, or set append_eos: false for each source."
        )
    if mixture.total_steps < 2:
        found.append("the budget buys a single optimizer step; lower budget.batch_tokens.")
    return found
