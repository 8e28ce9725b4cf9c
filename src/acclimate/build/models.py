"""Configuration to models: the student, its references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from acclimate.build.expert import base_apart, experts
from acclimate.build.plan import Composition
from acclimate.build.sharded import Sharding, opened
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.kernels.recompute import How, recompute
from acclimate.model.causal import CausalModel
from acclimate.model.changes import changes_digest
from acclimate.model.load import DTYPES, all_changes, load_network, load_tokenizer
from acclimate.model.lora.adapter import attach_lora, load_adapter
from acclimate.model.reference import AdapterOff, FrozenCopy, Reference, base_reference
from acclimate.model.whole.chosen import train_only
from acclimate.parallel.world import SOLO, World
from acclimate.types.errors import ModelError, RunError
from acclimate.types.plan import Plan


def load_model(
    config: RunConfig,
    device: torch.device,
    world: World = SOLO,
    say: Callable[[str], None] = lambda note: None,
) -> CausalModel:
    """The student as it is before the first step; on all ranks or on none.

    Args:
        world: over which ``parallel.strategy: fsdp`` spreads it from the first byte on.
        say: told why that is not so.
    """
    sharding = Sharding.of(config, world, device, say)
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(config.model)

    def prepare(network: Any) -> Any | None:
        train_only(network, config.model.train, bool(config.model.add_tokens))
        if config.lora is None:
            return None
        torch.manual_seed(config.seed)  # A is random
        return attach_lora(network, config.lora, tokenizer.convert_tokens_to_ids(config.model.add_tokens))

    dtype = DTYPES[config.model.dtype]
    if sharding is not None:
        model = sharding.opened(config.model, dtype, tokenizer, prepare=prepare)
    else:
        with world.all_or_none():
            model = opened(config.model, dtype, device, tokenizer, prepare=prepare)
    if (how := checkpointing(config)) is not None:
        recompute(model.network, how)
    return model


def checkpointing(config: RunConfig) -> How | None:
    """What the backward computes again; ``auto``, where nobody asked the memory, is nothing."""
    how = config.training.gradient_checkpointing
    return "selective" if how == "selective" else "layers" if how is True else None


def load_references(
    config: RunConfig,
    composition: Composition,
    plan: Plan,
    model: CausalModel,
    sharding: Sharding | None = None,
) -> dict[str, Reference]:
    """The references that terms ask for, and no other. A base that only measuring needs is loaded where it is another
    model than the one that learns, or spread; else its states are kept, and it is not.

    Args:
        sharding: of the student and of what stands beside it.

    Raises:
        ModelError, RunError: one cannot be loaded, or reads other tokens; also a base that only evaluation needs.
    """
    apart = base_apart(config)
    if apart is not None:
        apart.check(config, model.tokenizer)
    references: dict[str, Reference] = {}
    measured = any(controller.reads for controller in plan.controllers) and (apart is not None or sharding is not None)
    if "base" in composition.required_references or measured:
        if apart is not None:
            references["base"] = FrozenCopy(apart.load(model, sharding))
        elif model.blank is not None and sharding is not None:
            references["base"] = FrozenCopy(sharding.copy(model))
        else:
            references["base"] = base_reference(model)
    for expert in experts(config, composition):
        expert.check(config, model.tokenizer)
        references[expert.name] = FrozenCopy(expert.load(model, sharding))
    return references


def load_base(config: RunConfig, model: CausalModel, sharding: Sharding | None = None) -> Reference:
    """The frozen base of a tuned model: its adapter off, the original weights again, or a base apart from both."""
    if (apart := base_apart(config)) is not None:
        return FrozenCopy(apart.load(model, sharding))
    if model.peft is not None:
        return AdapterOff(model)
    return FrozenCopy(
        opened(config.model, model.dtype, model.device, model.tokenizer, like=model, frozen=True, sharding=sharding)
    )


def untouched(
    config: RunConfig, student: CausalModel, sharding: Sharding | None = None
) -> Callable[[], CausalModel] | None:
    """Loads the base as its folder has it, with its own tokenizer; None where that is the base."""
    section = config.model.of_base.model_copy(update={"add_tokens": []})
    if not changes_digest(all_changes(config.model), section):
        return None
    return lambda: opened(
        section, student.dtype, student.device, load_tokenizer(section), frozen=True, sharding=sharding
    )


def load_tuned(config: RunConfig, folder: Path, device: torch.device) -> CausalModel:
    """The model that a run wrote to ``model/``."""
    if not folder.is_dir():
        raise RunError(f"'{folder.parent}' has no model/ yet: the run is not finished; use acclimate train --resume.")
    if config.lora is None:
        section = config.model.model_copy(update={"path": str(folder), "add_tokens": []})  # they are in it
        return CausalModel(load_network(section, DTYPES[config.model.dtype], device), load_tokenizer(section))
    network = load_network(config.model, DTYPES[config.model.dtype], device)
    return CausalModel(network, load_tokenizer(config.model), load_adapter(network, folder))


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
