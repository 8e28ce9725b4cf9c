"""The schema of what is measured on held-out documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from acclimate.config.apart import Apart
from acclimate.config.source_schema import Section


class EvaluationSection(Section):
    """What is measured on held-out documents."""

    documents: Annotated[int | None, Apart.MEASURED] = Field(
        None, ge=1, description="at most this many held-out documents per source, drawn by a hash of their contents"
    )
    validation_documents: int = Field(
        0,
        ge=0,
        description="so many held-out documents of each source, drawn by a hash of their contents and kept out of all "
        "reports: what is measured during training, and what choices look at (training.final: best, wise)",
    )
    sequence_length: int | None = Field(
        None,
        ge=2,
        description="longest piece of a held-out document, in tokens; default: data.sequence_length",
    )
    overlap: int = Field(
        0,
        ge=0,
        description="of a held-out document that is cut: so many tokens before its first label are read again by a "
        "later piece (0: the token before); more context for its labels, more forwards",
    )
    training_documents: int = Field(
        32,
        ge=1,
        description="without validation documents: how many held-out documents are measured during training (every "
        "eval_steps)",
    )
    generations: Annotated[int, Apart.MEASURED] = Field(4, ge=0, description="greedy answers shown side by side")
    max_new_tokens: Annotated[int, Apart.MEASURED] = Field(64, ge=1, description="of each of these answers")
    memorisation_documents: Annotated[int, Apart.MEASURED] = Field(
        64,
        ge=0,
        description="after training, measure so many documents of each domain source that were trained on, against the "
        "base; 0 measures none",
    )
    overlap_ngram: Annotated[int, Apart.MEASURED] = Field(
        13, ge=1, description="words in an n-gram of the train/held-out overlap count"
    )
