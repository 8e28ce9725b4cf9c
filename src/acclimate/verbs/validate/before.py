"""What `train` says before its first step: notes, and the plan in a few lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from acclimate.build import Job, Mixture
from acclimate.build.plan import Composition
from acclimate.data.corpus import Corpora
from acclimate.training.training import Training
from acclimate.types.plan import Plan
from acclimate.verbs.validate.warnings import warnings


def print_before(
    job: Job,
    composition: Composition,
    training: Training,
    plan: Plan,
    corpora: Corpora,
    mixture: Mixture,
    console: Console,
) -> None:
    """Notes and plan of a built training."""
    model = training.model
    rows = [] if model.alone is None else [f"each document has a row of its own, since otherwise {model.alone}."]
    found = (*plan.notes, *warnings(job.config, composition, corpora, mixture, model.tokenizer))
    for note in (*rows, *found, *idle_ranks(job, training, corpora, mixture)):
        console.print(f"Note: {note}", style="yellow", highlight=False, markup=False)
    for line in outlook_lines(job, composition, training, corpora, mixture):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def idle_ranks(job: Job, training: Training, corpora: Corpora, mixture: Mixture) -> Iterator[str]:
    """A note where a step has fewer rows than ranks, of those that need the same references and so share micro-batches:
    some ranks then compute padding."""
    objective, ranks = training.objective, job.world.size
    rows: dict[int, float] = {}
    for name, tokens in mixture.asked.mean(mixture.total_steps).items():
        corpus = corpora.sources[name].train
        labels = np.where(objective.active, corpus.route_counts(len(corpora.routes)), 0)
        positions = tokens * corpus.tokens / max(1, labels.sum())
        wanted = int(np.bitwise_or.reduce(objective.compares[labels > 0]))
        rows[wanted] = rows.get(wanted, 0.0) + positions / mixture.row_lengths[name]
    fewest = min(rows.values())
    if fewest < ranks:
        least = math.ceil(job.config.budget.batch_tokens * ranks / fewest)
        yield (
            f"a step has about {max(1, round(fewest))} rows that share micro-batches, and there are {ranks} processes: "
            f"those without a row compute padding. Raise budget.batch_tokens to about {least:,}, or start fewer."
        )


def outlook_lines(
    job: Job, composition: Composition, training: Training, corpora: Corpora, mixture: Mixture
) -> Iterator[str]:
    """The plan: what is learned from what, for how long, and when it is measured and saved."""
    config, model = job.config, training.model
    trained = sum(parameter.numel() for parameter in model.trainable().values())
    kind = f"LoRA rank {config.lora.rank}" if config.lora else "full tuning"
    processes = f" in {job.world.size} processes" if job.world.size > 1 else ""
    yield (
        f"{config.name}: {composition.name} on {config.model.path}, {kind} ({trained:,} of "
        f"{model.network.num_parameters():,} parameters), {config.model.dtype} on {job.device}{processes}"
    )
    parts = (f"{name} {share:.0%} ({_documents(corpora, name)})" for name, share in mixture.shares.items())
    yield f"  learns from {', '.join(parts)}"
    if schedule := mixture.stages:
        yield f"  shares over the run: {'; '.join(_stage(stage) for stage in schedule)}"
    counted = "all tokens" if config.budget.count == "all" else f"tokens of {config.budget.count}"
    yield f"  {mixture.total_steps:,} steps of about {config.budget.batch_tokens:,} {counted}{_when(job, training)}"


def _stage(stage: Mapping[str, Any]) -> str:
    total = max(1, sum(stage["tokens"].values()))
    return f"from {stage['from']:.0%} " + ", ".join(f"{name} {n / total:.1%}" for name, n in stage["tokens"].items())


def _documents(corpora: Corpora, name: str) -> str:
    corpus = corpora.sources[name]
    if corpus.stream is not None:
        return "streamed"
    return f"{len(corpus.train):,} documents, {len(corpus.heldout):,} held out"


def _when(job: Job, training: Training) -> str:
    measured = f"; held-out text is measured every {training.probe.every:,}" if training.probe is not None else ""
    every = job.config.training.save_steps
    saved = f"; a checkpoint every {every:,}" if every is not None else "; no checkpoint (training.save_steps)"
    return f"{measured}{saved}"
