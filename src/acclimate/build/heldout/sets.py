"""What is measured: packed held-out rows, and prompts for answers side by side."""

from __future__ import annotations

from itertools import repeat, zip_longest
from typing import Any

import numpy as np
from jinja2 import TemplateError

from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.deal.pack import HeldoutBatches, heldout_batches
from acclimate.measurement.generate import chat_prompt, text_prompt
from acclimate.types.errors import ConfigError

LONGEST_PROMPT = 2048
"""Tokens: an answer is shown beside its question, which nobody reads beyond that."""
HeldoutSets = dict[str, HeldoutBatches]


def heldout_sets(config: RunConfig, corpora: Corpora, documents: int | None) -> HeldoutSets:
    """Packed held-out rows of every source that holds documents out, without those that choices look at."""
    return _sets(config, corpora, config.evaluation.validation_documents, documents)


def validation_sets(config: RunConfig, corpora: Corpora, documents: int | None = None) -> HeldoutSets:
    """Packed rows of the documents that choices look at.

    Args:
        documents: the first ones of each source, in the order in which every cap takes them; None: all.

    Raises:
        ConfigError: they leave a source nothing to report, or none are of the domain.
    """
    if not (count := config.evaluation.validation_documents):
        return {}
    for name, corpus in corpora.sources.items():
        if len(corpus.heldout) and not len(corpus.reported(count)):
            grouped = len(corpus.heldout) > count
            why = f", as all others belong to groups of theirs (sources.{name}.group)" if grouped else ""
            raise ConfigError(
                f"evaluation.validation_documents: {count} leaves none of the {len(corpus.heldout)} held-out documents "
                f"of '{name}' to report{why}; lower it, or hold out more (sources.{name}.heldout)."
            )
    if not any(corpus.role == "domain" and len(corpus.heldout) for corpus in corpora.sources.values()):
        raise ConfigError(
            "evaluation.validation_documents: a choice is judged by held-out text of the domain, but no source of role "
            "domain holds any out; set sources.NAME.heldout, or role: domain."
        )
    return _sets(config, corpora, 0, documents or count)


def _sets(config: RunConfig, corpora: Corpora, first: int, documents: int | None) -> HeldoutSets:
    return {
        name: heldout_batches(
            corpus.heldout,
            corpus.first_heldout_id,
            corpora.routes,
            config.heldout_length,
            heldout_rows(config),
            np.sort(corpus.reported(first)[:documents]),
            config.evaluation.overlap,
        )
        for name, corpus in corpora.sources.items()
        if len(corpus.heldout) > 0
    }


def heldout_rows(config: RunConfig) -> int:
    """Rows of held-out text in one forward, which needs no more memory than a micro-batch."""
    positions = config.training.micro_batch_size * config.data.sequence_length
    return min(config.training.micro_batch_size, max(1, positions // config.heldout_length))


def heldout_prompts(
    config: RunConfig, corpora: Corpora, tokenizer: Any, positions: int
) -> list[tuple[str, str, list[int]]]:
    """Held-out documents of each set as prompts, ``evaluation.generations`` in all, sets taking turns.

    They come in the order in which every cap takes documents, without those that choices look at, like every report.
    A prompt that leaves no room for an answer in the model's positions, or is longer than ``LONGEST_PROMPT``, is passed
    over, as is one that its template refuses.

    Args:
        positions: that the model has.
    """
    if not config.evaluation.generations:
        return []
    longest = min(LONGEST_PROMPT, positions - config.evaluation.max_new_tokens)
    prompts: list[tuple[str, str, list[int]]] = []
    first = config.evaluation.validation_documents
    documents = {name: corpus.drawn(first) for name, corpus in corpora.sources.items()}
    turns = zip_longest(*(zip(repeat(name), found, strict=False) for name, found in documents.items()))
    for name, document in (entry for turn in turns for entry in turn if entry is not None):
        if len(prompts) == config.evaluation.generations:
            break
        if document.templated:
            messages = [{"role": part.role, "content": part.text, **part.extra} for part in document.parts]
            try:
                shown, ids = chat_prompt(tokenizer, messages, config.sources[name].thinking, document.tools)
            except TemplateError:
                continue
        else:
            shown, ids = text_prompt(tokenizer, document.parts[0].text, whole=len(document.parts) > 1)
        if 0 < len(ids) <= longest:  # a chat without a question, or an empty prompt, has nothing to answer
            prompts.append((name, shown, ids))
    return prompts
