"""A tuned model with its base, from wherever it comes: a run in memory, a run folder, a model, an adapter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from acclimate.build.job import reopened
from acclimate.build.models import load_base, load_tuned, untouched
from acclimate.build.sharded import Sharding
from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection
from acclimate.disk.digest import tuned_identity
from acclimate.model.causal import CausalModel
from acclimate.model.changes import Change, changes_digest, read_changes
from acclimate.model.checks.reading import check_tokenizers, common_template
from acclimate.model.checks.untouched import Untouched
from acclimate.model.identity import model_digest, model_identities, model_identity
from acclimate.model.load import load_config_of, load_network, load_tokenizer, resolve_device
from acclimate.model.lora.adapter import load_adapter, load_adapter_tokenizer
from acclimate.model.pair import Pair
from acclimate.model.reference import AdapterOff, FrozenCopy, Reference
from acclimate.parallel.shard import is_sharded
from acclimate.parallel.world import World
from acclimate.runs.beginning import check_digests, check_trained, read_config
from acclimate.runs.layout import Layout, read_json
from acclimate.runs.measured import base_of
from acclimate.training.checkpoint import checkpoint_weights
from acclimate.training.weights import Weights
from acclimate.types.errors import ModelError, RunError, UsageError, listed


def open_pair(run: Path | None, model: str | None, adapter: Path | None, base: str | None) -> Pair:
    """What the command line names: a run, or a base with a model or an adapter.

    Raises:
        UsageError: something else.
    """
    if run is not None:
        for option, value in (("--model", model), ("--adapter", adapter), ("--base", base)):
            if value is not None:
                raise UsageError(f"{option}: has no effect beside the run '{run}', which knows its own; leave one out.")
        return run_pair(run)
    if base is None or (model is None) == (adapter is None):
        raise UsageError("A panel needs a run folder, or --base and one of --model and --adapter.")
    return adapter_pair(adapter, base) if adapter is not None else model_pair(str(model), base)


def trained_pair(config: RunConfig, model: CausalModel, base: Reference | None, world: World) -> Pair:
    """The model of a training in memory; what is loaded beside it is spread over the ranks as it is.

    Args:
        base: that it was trained against, where a term needed one.
    """

    sharding = Sharding.of(config, world, model.device) if is_sharded(model) else None

    def spread(other: CausalModel) -> CausalModel:
        return other if sharding is None else sharding.spread(other)

    def opened(load: Callable[[], Reference]) -> Reference:
        reference = load()
        spread(reference.model)
        return reference

    load_untouched = untouched(config, model, sharding)
    start = config.model.model_copy(update={"base": None, "base_revision": None})
    began = config.model_copy(update={"model": start})
    return Pair(
        model,
        lambda: base if base is not None else opened(lambda: load_base(config, model, sharding)),
        None if config.model.base is None else lambda: opened(lambda: load_base(began, model, sharding)),
        None if load_untouched is None else lambda: spread(load_untouched()),
    )


def open_run(run_dir: Path, checkpoint: str | None = None, quantised: bool = True) -> tuple[RunConfig, Pair]:
    """A run's configuration, and its tuned model with the base that it is measured against.

    Args:
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
        quantised: whether ``model.quantization`` is heeded.

    Raises:
        UsageError: the folder is no run, or has no such checkpoint.
        RunError: the run is not trained yet, or its model, or the base under its adapter, has changed since; the
            pair's ``base`` raises it where that has changed.
    """
    config, run = read_config(run_dir), Layout(run_dir)
    if not quantised:
        config = config.model_copy(update={"model": config.model.model_copy(update={"quantization": None})})
    kept = sorted(path.name for path in run.checkpoints.glob("[!.]*"))
    if checkpoint is not None and checkpoint not in kept:
        has = f"it has {listed(kept)}" if kept else "it kept none"
        raise UsageError(f"--checkpoint: '{run_dir}' has no checkpoint '{checkpoint}'; {has}.")
    job = reopened(config)
    config = job.config
    check_trained(run_dir)
    model = load_tuned(config, run.model, job.device)
    if config.lora is not None:  # an adapter is nothing without what it was trained on
        check_digests(run_dir, {"model": model_identity(config.model)}, {})
    if checkpoint is not None:
        Weights(model.trainable()).load_state_dict(checkpoint_weights(run.checkpoints / checkpoint))

    def open_base() -> Reference:
        base = load_base(config, model)
        check_digests(run_dir, model_identities(config.model), {})
        return base

    return config, Pair(model, open_base, open_untouched=untouched(config, model))


def run_pair(run_dir: Path) -> Pair:
    """The model that a run wrote, and its base, with what identifies them.

    Raises:
        RunError: the run is not trained yet, or its model or base have changed since.
    """
    config, pair = open_run(run_dir)
    base = pair.base
    section = config.model.of_base
    name, path = run_dir.resolve().name, str(Layout(run_dir).model)
    digest = base_of(model_identities(config.model))["digest"]
    identity = _identity(name, path, section, digest, pair.model)
    return replace(pair, open_base=lambda: base, identity=identity | {"tuned": tuned_identity(Layout(run_dir).model)})


def model_pair(path: str, base_path: str) -> Pair:
    """Any model against any base that reads the same tokens.

    Raises:
        ModelError: one cannot be loaded, or they have different tokenizers.
    """
    section, base_section = (ModelSection(path=one, dequantize=True) for one in (path, base_path))
    changes = read_changes(path)
    tokenizer, base_tokenizer = load_tokenizer(section), load_tokenizer(base_section, changes)
    notes = common_template(tokenizer, base_tokenizer, path, base_path)
    check_tokenizers(tokenizer, base_tokenizer, path, base_path)
    device = resolve_device(section)
    network = load_network(section, _dtype(device), device)
    base_network = load_network(base_section, _dtype(device), device, changes)
    model, base = CausalModel(network, tokenizer), FrozenCopy(CausalModel(base_network, base_tokenizer))
    if (rows := model.vocabulary) != (base_rows := base.model.vocabulary):
        raise ModelError(
            f"--base: '{base_path}' has {base_rows} logits and '{path}' {rows}, though they read the same tokens; "
            f"drift needs equal ones: model.resize_token_embeddings({base_rows}), then save_pretrained."
        )
    identity = _identity(_last(path), path, base_section, model_digest(base_section, changes), model)
    return Pair(model, lambda: base, identity=identity, notes=_replayed(changes, base_section), chat_notes=notes)


def adapter_pair(folder: Path, base_path: str) -> Pair:
    """An adapter against the base that it was trained on.

    The base is the model with its adapter off where that is bitwise the base, otherwise a second network.

    Raises:
        UsageError: it is no adapter, or was trained on another base.
        ModelError: it was trained with a tokenizer that reads other tokens.
        RunError: it is of a kind that is not used here, or of another vocabulary.
    """
    section = ModelSection(path=base_path, dequantize=True)
    load_config_of(section)
    recorded, changes = _recorded_base(folder), read_changes(folder)
    base_tokenizer, device = load_tokenizer(section, changes), resolve_device(section)
    notes = _replayed(changes, section)
    chat_notes: tuple[str, ...] = ()
    if (tokenizer := load_adapter_tokenizer(folder)) is not None:
        chat_notes = common_template(tokenizer, base_tokenizer, str(folder), base_path)
        check_tokenizers(tokenizer, base_tokenizer, str(folder), base_path)
    network = load_network(section, _dtype(device), device, changes)
    digest = model_digest(section, changes)
    checked = _check_base(folder, recorded, base_path, digest, changes)
    untouched = Untouched.of(network)
    model = CausalModel(network, tokenizer or base_tokenizer, load_adapter(network, folder))
    base: Reference = AdapterOff(model, base_tokenizer)
    if not untouched.is_base_of(model.peft):
        again = load_network(section, model.dtype, device, changes)
        base = FrozenCopy(CausalModel(again, base_tokenizer, like=model))
        notes += ("This adapter writes into its base, so the base is loaded a second time, beside it.",)
    identity = _identity(_last(str(folder)), str(folder), section, digest, model) | {"base_checked_by": checked}
    return Pair(model, lambda: base, identity=identity, notes=notes, chat_notes=chat_notes)


def _replayed(changes: Sequence[Change], section: ModelSection) -> tuple[str, ...]:
    """What a reader must know of a base in which something was changed."""
    if not changes_digest(changes, section):
        return ()
    return (
        f"The base '{section.path}' is measured with the changes that the model was trained after (changes.json): it "
        "reads the same tokens, with rows for new ones as they were before training.",
    )


def _recorded_base(folder: Path) -> str:
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise UsageError(
            f"--adapter: '{folder}' is no adapter: it has no adapter_config.json; a whole model is a --model."
        )
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    except (ValueError, AttributeError):
        raise RunError(f"'{path}' is damaged: it is not JSON.") from None


def _check_base(folder: Path, recorded: str, base_path: str, digest: str, changes: Sequence[Change]) -> str:
    """By weights where those of the recorded base can be known, otherwise by name; returns which.

    A run folder's ``provenance.json`` has the digest, also when the base has been moved.
    """
    provenance, was = Layout(folder.resolve().parent).provenance, None
    if provenance.is_file():
        was = read_json(provenance).get("model", {}).get("digest")
    elif os.path.exists(os.path.expanduser(recorded)):
        was = model_digest(ModelSection(path=recorded), changes)
    if digest == was:
        return "weights"
    comparable = was is not None and was.partition(":")[0] == digest.partition(":")[0]
    if comparable or _last(recorded) != _last(base_path):
        raise UsageError(
            f"--base: the adapter '{folder}' was trained on '{recorded}', and '{base_path}' has "
            f"{'other weights' if comparable else 'another name'}; give the base it was trained on."
        )
    return "name"


def _identity(name: str, path: str, base: ModelSection, base_digest: str, model: CausalModel) -> dict[str, Any]:
    return {
        "name": name,
        "model": {"path": _last(path), "digest": model_digest(ModelSection(path=path))},
        "base": {"path": _last(base.path), "digest": base_digest},
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _dtype(device: torch.device) -> torch.dtype:
    """Not by speed, as in a run: the same command must mean the same numbers."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
