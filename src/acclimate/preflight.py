"""The resolved plan of a run before it is trained: what will be used, dropped, trained, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from acclimate.assembly import (
    Mixture,
    build_loader,
    build_objective,
    check_selection,
    check_stores,
    check_vocabulary,
    experts,
    mix,
    resolve,
    validation_sets,
)
from acclimate.assembly.mixture import epochs, step_tokens
from acclimate.config import RunConfig, located, with_absolute_paths
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.evaluate.paired import MINIMUM_DOCUMENTS
from acclimate.model.adapter import attach_lora
from acclimate.model.load import DTYPES, empty_network, load_tokenizer
from acclimate.model.quantised import BYTES
from acclimate.plan import build_plan, method_names
from acclimate.run_folder import check_place
from acclimate.types import Plan, PlanContext

MAX_EPOCHS = 4
"""Repeating data up to 4 times is nearly as good as fresh data (Muennighoff et al., 2023, arXiv 2305.16264)."""
MAX_LEARNING_RATE = 0.01
"""An AdamW step is about as long as the rate: above this a typical weight (0.02) moves by half of itself [ours]."""
EFFICIENCY = {"float32": 0.55, "bfloat16": 0.12}
"""Of the rate of one large matrix product in the model's dtype, what a training step reached on two CPU cores, whose
matrix units make bfloat16 products 8 times faster and nothing else [ours; docs/log.md]."""
GPU_EFFICIENCY = 0.25
"""A guess: not run on a GPU here."""
PROCESS_BYTES = 2**30
"""Of Python, torch and the other libraries, measured [ours]."""


@dataclass(frozen=True)
class Preflight:
    """What :func:`validate` found."""

    config: RunConfig
    data: dict[str, Any]  # as data.json of a run
    trained_parameters: int
    total_parameters: int
    memory_bytes: float
    seconds: float
    warnings: list[str]


@located
def validate(config: RunConfig) -> Preflight:
    """Checks all that can be checked without training, down to each file and record.

    Raises:
        ConfigError, DataError, ModelError: what, where, and what would be accepted.
    """
    check_place(config)
    build_plan(config, PlanContext(full_tuning=config.lora is None))
    config = with_absolute_paths(config, keep_missing=True)  # as a run does, which then finds what is indexed here
    config, device = resolve(config)
    network = empty_network(config.model)
    if config.lora is not None:
        attach_lora(network, config.lora)
    total = network.num_parameters()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    tokenizer = load_tokenizer(config.model)
    corpora = load_corpora(config, tokenizer)
    check_vocabulary(corpora, tokenizer, network)
    context = PlanContext(full_tuning=config.lora is None)
    plan = build_plan(config, context)
    for expert in experts(config, plan):
        expert.check(config, tokenizer)
    check_selection(plan, corpora)
    check_stores(plan, config.model, network)
    objective = build_objective(config, plan, corpora, {})
    mixture = mix(config, corpora, objective)
    plan = build_plan(config, replace(context, total_steps=mixture.total_steps))
    build_loader(config, corpora, objective, mixture, None)  # packs, and refuses a batch smaller than a row
    validation_sets(config, corpora)
    copies = sum(name != "base" or config.lora is None for name in plan.required_references)
    notes = warnings(config, corpora, mixture, tokenizer, plan)
    if plan.selection is not None:
        notes.append(
            "which labels the method masks is known after a forward of the base; tokens, steps and times are counted "
            "as if it masked none."
        )
    if (config.run_dir / "config.yaml").exists():
        notes.append(f"the run '{config.run_dir}' exists; `acclimate train` wants --resume or another name.")
    return Preflight(
        config=config,
        data=data_record(config, corpora, mixture),
        trained_parameters=trained,
        total_parameters=total,
        memory_bytes=_memory(config, network, trained, total, copies) + sum(s.size for s in plan.statistics),
        seconds=_seconds(config, device, network, mixture, total),
        warnings=notes,
    )


def data_record(config: RunConfig, corpora: Corpora, mixture: Mixture) -> dict[str, Any]:
    """``data.json``: documents, tokens, dropped rows with reasons, share and epochs of each source, the part of
    its labels that the method masks; overlap.

    Of a streamed source, what only a whole pass would tell is null.
    """
    sources = {}
    for name, corpus in corpora.sources.items():
        sources[name] = {
            "role": corpus.role,
            "documents": None if corpus.stream else corpus.documents_read,
            "streamed": corpus.stream is not None,
            "train_documents": None if corpus.stream else len(corpus.train),
            "heldout_documents": len(corpus.heldout),
            "tokens": None if corpus.stream else corpus.train.tokens + corpus.heldout.tokens,
            "trained_tokens": mixture.trained_tokens.get(name, 0),
            "share": mixture.shares.get(name, 0.0),
            "epochs": epochs(config, mixture, name) if name in mixture.shares else 0.0,
            "dropped": corpus.dropped,
            "masked": corpus.mask.part if corpus.mask else 0.0,
        }
    return {
        "sources": sources,
        "overlap": [vars(row) for row in corpora.overlap],
        "steps": mixture.total_steps,
    }


def warnings(config: RunConfig, corpora: Corpora, mixture: Mixture, tokenizer: Any, plan: Plan) -> list[str]:
    """What is allowed but probably not meant."""
    found = [*plan.notes]
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


def _memory(config: RunConfig, network: Any, trained: int, total: int, copies: int) -> float:
    """Bytes: weights, reference copies, masters, gradients, AdamW's two moments, activations, one chunk of logits."""
    width = 2 if config.model.dtype == "bfloat16" else 4
    masters = 4 * trained if width == 2 and config.lora is None else 0
    states = trained * (4 + 8) + masters + (width * trained if masters else 0)
    shape = network.config.get_text_config()
    rows = config.training.micro_batch_size * config.data.sequence_length
    # about 34 hidden-sized tensors per layer and token without checkpointing (Korthikanti et al., 2022,
    # arXiv 2205.05198, counts 34 bytes in 16 bit without the attention matrix), one with it
    per_layer = 2 if config.training.gradient_checkpointing else 17
    activations = rows * shape.hidden_size * shape.num_hidden_layers * per_layer * width
    logits = 4 * config.objective.chunk_tokens * shape.vocab_size * 4
    heads = 4 * shape.vocab_size * shape.hidden_size * (1 + (config.lora is None) + copies)  # float32 casts, gradient
    weights = float(width * total)
    if config.model.quantization is not None:
        layers = {m for m in network.modules() if isinstance(m, nn.Linear)} - {network.get_output_embeddings()}
        weights -= (width - BYTES) * sum(m.weight.numel() for m in layers if not m.weight.requires_grad)
    return float(PROCESS_BYTES + weights * (1 + copies) + states + activations + logits + heads)


def _seconds(config: RunConfig, device: torch.device, network: Any, mixture: Mixture, total: int) -> float:
    """Training time at the rate of this machine's matrix products, measured now.

    With N weights a token costs 2 N in forward, 2 N for the gradient of activations and, under full tuning, 2 N for
    that of the weights; a reference, or a first pass, adds 2 N for the share of rows that need one.
    """
    shape = network.config.get_text_config()
    embeddings = 0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size
    factor = (6 if config.lora is None else 4) + 2 * mixture.forwards
    rate = _flops(DTYPES[config.model.dtype], device, shape.hidden_size)
    efficiency = EFFICIENCY[config.model.dtype] if device.type == "cpu" else GPU_EFFICIENCY
    per_token = factor * (total - embeddings) / (rate * efficiency)
    return float(mixture.total_steps * step_tokens(config, mixture) * per_token)


def _flops(dtype: torch.dtype, device: torch.device, hidden_size: int) -> float:
    """Floating point operations a second in one linear layer of the model's width, on 1,024 tokens; best of five."""
    a = torch.ones(1024, hidden_size, dtype=dtype, device=device)
    b = torch.ones(hidden_size, 4 * hidden_size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * hidden_size * 4 * hidden_size / best


def print_preflight(found: Preflight, console: Console) -> None:
    """The plan as a person reads it."""
    config = found.config
    table = Table(title=f"Plan of '{config.name}': {'+'.join(method_names(config))} on {config.model.path}")
    for column in ("source", "role", "documents", "held out", "trained tokens", "share", "epochs", "dropped"):
        table.add_column(column, justify="left" if column in ("source", "role", "dropped") else "right")
    for name, row in found.data["sources"].items():
        dropped = escape(", ".join(f"{count} {reason}" for reason, count in (row["dropped"] or {}).items()) or "none")
        counted, used = not row["streamed"], row["share"] > 0
        tokens = f"{row['trained_tokens']:,}" if counted else "streamed"
        table.add_row(
            name, row["role"], f"{row['documents']:,}" if counted else "streamed", f"{row['heldout_documents']:,}",
            tokens if used else "evaluated only", f"{row['share']:.0%}" if used else "",
            f"{row['epochs']:.2f}" if used and counted else "", dropped if counted else "streamed",
        )  # fmt: skip
    console.print(table)
    kind = f"LoRA rank {config.lora.rank}" if config.lora else "full tuning"
    console.print(
        f"{found.data['steps']} optimizer steps · {kind}, {found.trained_parameters:,} of {found.total_parameters:,} "
        f"parameters trained · {config.model.dtype} · memory about {found.memory_bytes / 2**30:.1f} GiB · "
        f"training about {_duration(found.seconds)} at this machine's rate of matrix products",
        highlight=False,
    )
    for warning in found.warnings:
        console.print(f"Note: {warning}", style="yellow", highlight=False)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
