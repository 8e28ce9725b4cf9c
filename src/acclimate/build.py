"""Configuration to built objects: device, corpora, model, references, objective, data stream, training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat, zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from acclimate.config import RunConfig
from acclimate.data.chat import special_tokens
from acclimate.data.corpus import Corpora, Corpus
from acclimate.data.loader import Loader, total_steps
from acclimate.data.mix import Mixer, resolve_shares
from acclimate.data.pack import HeldoutBatches, PackedSource, heldout_batches
from acclimate.data.passes import Passes, RowSource
from acclimate.data.prefetch import Prefetch
from acclimate.data.stream import StreamedRows
from acclimate.errors import ConfigError, ModelError, listed
from acclimate.evaluate.generate import chat_prompt, text_prompt
from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.model.adapter import attach_lora
from acclimate.model.causal import CausalModel
from acclimate.model.load import (
    DTYPES,
    load_config_of,
    load_network,
    load_tokenizer,
    resolve_device,
    resolve_dtype,
)
from acclimate.model.reference import FrozenCopy, Reference, base_reference
from acclimate.objective.objective import Objective
from acclimate.parallel.shard import shard
from acclimate.parallel.world import SOLO, World
from acclimate.plan import build_plan, method_names, source_route
from acclimate.train.callbacks.evaluate import Evaluate
from acclimate.train.callbacks.log import MetricsLog, TensorBoard
from acclimate.train.callbacks.progress import ProgressBar
from acclimate.train.callbacks.save import Save
from acclimate.train.schedule import factor
from acclimate.train.training import Training
from acclimate.train.weights import Weights
from acclimate.types import Callback, Plan, PlanContext

HeldoutSets = dict[str, HeldoutBatches]
SMALL_SHARE = 0.1
"""A term whose sources have less than this share divides by its expected count."""


@dataclass(frozen=True)
class Mixture:
    """Which sources are trained on, at which share of trained tokens, for how many steps."""

    shares: dict[str, float]
    trained_tokens: dict[str, int | None]  # of one epoch; None of a stream
    total_steps: int
    expected: list[float | None]  # per term of the objective, trained tokens of one step
    reference_share: float  # of the sources with tokens that are compared with a reference


def resolve(config: RunConfig, local_rank: int = 0) -> tuple[RunConfig, torch.device]:
    """Fills in what ``auto`` means on this machine."""
    if config.model.revision is not None and os.path.exists(os.path.expanduser(config.model.path)):
        raise ConfigError("model.revision: has no effect on a local model; leave it out.")
    device = resolve_device(config.model, local_rank)
    if config.parallel.cpu_offload and device.type == "cpu":
        raise ConfigError(
            "parallel.cpu_offload: has no effect on a CPU, whose memory the weights are in; leave it out."
        )
    shape = load_config_of(config.model).get_text_config()
    positions = getattr(shape, "max_position_embeddings", None)
    if positions is not None and config.data.sequence_length > positions:
        raise ConfigError(
            f"data.sequence_length: {config.data.sequence_length} is more than the {positions} positions this model "
            "was made for; lower it."
        )
    if config.objective.logits_dtype == "bfloat16" and config.model.dtype == "float32":
        raise ConfigError(
            "objective.logits_dtype: bfloat16 has no effect on a float32 model, whose logits are float32; leave it out."
        )
    if config.model.dtype != "auto":
        return config, device
    dtype = resolve_dtype(device, shape.hidden_size)
    name = next(name for name, known in DTYPES.items() if known == dtype)
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": name})}), device


def load_model(config: RunConfig, device: torch.device) -> CausalModel:
    """The student as it is before the first step."""
    torch.manual_seed(config.seed)  # LoRA's A is random
    network = load_network(config.model, DTYPES[config.model.dtype], device)
    tokenizer = load_tokenizer(config.model)
    peft = attach_lora(network, config.lora) if config.lora is not None else None
    model = CausalModel(network, tokenizer, peft)
    if config.training.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def load_references(config: RunConfig, plan: Plan, model: CausalModel) -> dict[str, Reference]:
    """The references that the plan's terms ask for, and no other."""
    references: dict[str, Reference] = {}
    for name in plan.required_references:
        if name == "base":
            references[name] = base_reference(model)
            continue
        section = config.model.model_copy(update={"path": plan.references[name]})
        other = CausalModel(load_network(section, model.dtype, model.device), model.tokenizer)
        if other.head.weight.shape[0] != model.head.weight.shape[0]:
            raise ModelError(
                f"The reference '{name}' ({plan.references[name]}) has {other.head.weight.shape[0]} logits, the model "
                f"{model.head.weight.shape[0]}; a divergence needs the same vocabulary."
            )
        references[name] = FrozenCopy(other)
    return references


def mix(config: RunConfig, corpora: Corpora, objective: Objective) -> Mixture:
    """Shares over the sources that the objective trains on, and the steps that the budget buys.

    Raises:
        ConfigError: the budget counts a source that is not trained on.
    """
    by_route = {name: corpus.train.route_counts(len(corpora.routes)) for name, corpus in corpora.sources.items()}
    _check_reached(config, objective, corpora, sum(by_route.values()))
    used = [name for name, counts in by_route.items() if counts[objective.active].sum() > 0]
    shares = resolve_shares({name: config.sources[name] for name in used})
    budget = config.budget
    if budget.count != "all" and budget.count not in used:
        raise ConfigError(
            f"budget.count: '{budget.count}' is not trained on by this method; count {listed([*used, 'all'])}."
        )
    trained = {
        name: None if corpora.sources[name].stream else int(by_route[name][objective.active].sum()) for name in used
    }
    step_tokens = float(budget.batch_tokens) if budget.count == "all" else budget.batch_tokens / shares[budget.count]
    counted = [trained[name] for name in (used if budget.count == "all" else [budget.count])]
    expected: list[float | None] = []
    for select in objective.selects.numpy():
        share = sum(
            shares[name] * by_route[name][select].sum() / by_route[name][objective.active].sum() for name in used
        )
        small = 0 < share < SMALL_SHARE and config.objective.average == "token"  # counts are of tokens only then
        expected.append(float(share * step_tokens) if small else None)
    compared = sum(shares[name] for name in used if by_route[name][objective.needs_reference].any())
    return Mixture(shares, trained, total_steps(budget, sum(tokens or 0 for tokens in counted)), expected, compared)


def _check_reached(config: RunConfig, objective: Objective, corpora: Corpora, tokens: Any) -> None:
    """Every route that a term names must have a token; a term that no token reaches would have no effect."""
    for routed in objective.terms:
        for name in routed.routes:
            if sum(int(tokens[r]) for r, route in enumerate(corpora.routes) if route.name == name) == 0:
                found = listed(f"'{source}' (route {source_route(source, s)})" for source, s in config.sources.items())
                raise ConfigError(
                    f"method: '{'+'.join(method_names(config))}' learns {routed.name} from route '{name}', but no "
                    f"token is on it; the sources are {found}. Name a source '{name}' or set its route: {name}."
                )


def check_vocabulary(corpora: Corpora, tokenizer: Any, network: Any) -> None:
    """Every token of a document must have an embedding; a tokenizer may know more ids, as long as no text uses them.

    Raises:
        ModelError: how many do not, and which comes first.
    """
    rows = network.get_input_embeddings().weight.shape[0]
    for name, corpus in corpora.sources.items():
        for part in (corpus.train, corpus.heldout):
            if not len(part.ids) or part.ids.max() < rows:
                continue
            beyond = [(ids[ids >= rows], i) for i in range(len(part)) for ids in [part.document(i)[0]]]
            if count := sum(len(ids) for ids, _ in beyond):
                first, place = next((int(ids[0]), part.where[i]) for ids, i in beyond if len(ids))
                raise ModelError(
                    f"sources.{name}: {count} tokens have no embedding in this model, "
                    f"{tokenizer.convert_ids_to_tokens(first)!r} (id {first}) in {place} first: it has {rows} "
                    f"embeddings, its tokenizer {len(tokenizer)} tokens. Give the tokenizer that belongs to the model, "
                    f"or resize it first: model.resize_token_embeddings({len(tokenizer)}), then save_pretrained."
                )


def watched_metric(config: RunConfig, corpora: Corpora) -> str | None:
    """What decides which weights are the best: held-out bits per byte of the first domain source.

    Raises:
        ConfigError: ``training.final: best`` without such a source.
    """
    watched = next((n for n, c in corpora.sources.items() if c.role == "domain" and len(c.heldout)), None)
    if watched is None and config.training.final == "best":
        raise ConfigError(
            "training.final: best is judged by held-out text of the domain, but no source of role domain holds any "
            "out; set sources.NAME.heldout, or role: domain, or final: last."
        )
    return f"eval/{watched}/bits_per_byte" if watched else None


def build_loader(
    config: RunConfig,
    corpora: Corpora,
    objective: Objective,
    mixture: Mixture,
    pad_id: int | None,
    world: World = SOLO,
) -> Loader:
    """This rank's stream of micro-batches, at its beginning."""
    return Loader(
        Mixer({n: _rows(config, corpora.sources[n], objective.active) for n in mixture.shares}, mixture.shares),
        config.budget.count,
        config.budget.batch_tokens,
        config.training.micro_batch_size,
        objective.needs_reference,
        pad_id if pad_id is not None else 0,
        world.rank,
        world.size,
    )


def _rows(config: RunConfig, corpus: Corpus, active: NDArray[np.bool_]) -> RowSource:
    length, seed = config.data.sequence_length, config.seed
    if corpus.stream is not None:
        return StreamedRows(corpus.stream, length, active, seed)
    return Passes(PackedSource(corpus.train, corpus.name, length, active, seed, corpus.first_document_id))


def heldout_sets(config: RunConfig, corpora: Corpora, documents: int | None) -> HeldoutSets:
    """Packed held-out rows of every source that holds documents out."""
    return {
        name: heldout_batches(
            corpus.heldout,
            corpus.first_heldout_id,
            corpora.routes,
            config.data.sequence_length,
            config.training.micro_batch_size,
            max_documents=documents,
        )
        for name, corpus in corpora.sources.items()
        if len(corpus.heldout) > 0
    }


def heldout_prompts(config: RunConfig, corpora: Corpora, tokenizer: Any) -> list[tuple[str, str, list[int]]]:
    """The first held-out documents of each set as prompts, ``evaluation.generations`` in all, sets taking turns."""
    prompts: list[tuple[str, str, list[int]]] = []
    turns = zip_longest(*(zip(repeat(n), c.read_heldout(), strict=False) for n, c in corpora.sources.items()))
    for name, document in (entry for turn in turns for entry in turn if entry is not None):
        if len(prompts) == config.evaluation.generations:
            break
        if document.templated:
            messages = [{"role": part.role, "content": part.text, **part.extra} for part in document.parts]
            shown, ids = chat_prompt(tokenizer, messages, config.sources[name].thinking)
        else:
            shown, ids = text_prompt(tokenizer, document.parts[0].text, whole=len(document.parts) > 1)
        if ids:  # a chat without a question, or an empty prompt, has nothing to answer
            prompts.append((name, shown, ids))
    return prompts


def build_objective(
    config: RunConfig, plan: Plan, corpora: Corpora, references: Mapping[str, Reference], world: World = SOLO
) -> Objective:
    return Objective(
        plan.terms,
        corpora.routes,
        references,
        normalise=config.objective.normalise,
        average=config.objective.average,
        logits_dtype=DTYPES[config.objective.logits_dtype],
        chunk_tokens=config.objective.chunk_tokens,
        world=world,
    )


def build_training(
    config: RunConfig, model: CausalModel, corpora: Corpora, console: Console, world: World = SOLO
) -> tuple[Training, Plan, Mixture]:
    """Everything the loop needs, at step 0. With ``parallel.strategy: fsdp`` it spreads ``model`` over the ranks."""
    run_dir = config.run_dir
    check_vocabulary(corpora, model.tokenizer, model.network)
    plan = build_plan(config, PlanContext(full_tuning=model.peft is None, lora_scaling=model.lora_scaling))
    references = load_references(config, plan, model)
    if world.size > 1 and config.parallel.strategy == "fsdp":
        copies = [reference.model for reference in references.values() if reference.model is not model]
        for network in (model, *copies):
            shard(network, network.layers, world, config.parallel)
    objective = build_objective(config, plan, corpora, references, world)
    mixture = mix(config, corpora, objective)
    objective.expected = tuple(mixture.expected)
    pad_id = model.tokenizer.pad_token_id
    if pad_id is not None and pad_id >= model.head.weight.shape[0]:
        pad_id = None  # a token that was added for padding alone has no embedding
    loader = build_loader(config, corpora, objective, mixture, pad_id, world)
    weights = Weights(model.trainable())
    chain = Chain([*plan.transforms, ClipNorm(config.optimizer.max_grad_norm)], weights.masters)
    optimizer = torch.optim.AdamW(
        list(weights.masters.values()),
        lr=config.optimizer.learning_rate,
        betas=config.optimizer.betas,
        eps=config.optimizer.eps,
        weight_decay=config.optimizer.weight_decay,
        fused=True,
    )
    total = mixture.total_steps
    callbacks: list[Callback] = [*plan.callbacks]
    if config.training.eval_steps is not None:
        sets = heldout_sets(config, corpora, config.evaluation.training_documents)
        callbacks.append(Evaluate(config.training.eval_steps, sets, list(special_tokens(model.tokenizer))))
    callbacks += [
        *(_watchers(config, console, total) if world.is_main else ()),
        Save(run_dir, config.training.save_steps, config.training.keep_last, watched_metric(config, corpora)),
    ]
    training = Training(
        model=model,
        objective=objective,
        data=Prefetch(loader),
        weights=weights,
        gradients=chain,
        optimizer=optimizer,
        learning_rate=lambda step: config.optimizer.learning_rate * factor(step, total, config.schedule),
        total_steps=total,
        document_name=corpora.document_name,
        update_scale=plan.update_scale,
        callbacks=callbacks,
        world=world,
    )
    torch.manual_seed(config.seed + world.rank)  # ranks drop other units
    return training, plan, mixture


def _watchers(config: RunConfig, console: Console, total_steps: int) -> list[Callback]:
    """What writes and prints metrics: on one rank only."""
    return [
        MetricsLog(config.run_dir / "metrics.jsonl"),
        *(TensorBoard(config.run_dir / "tensorboard") for target in config.report_to if target == "tensorboard"),
        ProgressBar(console, config.name, total_steps),
    ]
