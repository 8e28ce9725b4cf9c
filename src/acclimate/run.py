"""The verbs behind the command line: train, evaluate, export. Files in, files out: the run folder is the interface."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from acclimate.build import build_training, heldout_prompts, heldout_sets, load_model, resolve
from acclimate.config import RunConfig, load_config, located, save_config, with_absolute_paths
from acclimate.data.chat import special_tokens
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.errors import RunError, UsageError, listed
from acclimate.evaluate.generate import side_by_side
from acclimate.evaluate.measure import measure
from acclimate.evaluate.summary import Record, records, write_scores
from acclimate.files import write_text
from acclimate.model.adapter import load_adapter
from acclimate.model.causal import CausalModel
from acclimate.model.export import check_empty, save_model
from acclimate.model.load import DTYPES, load_network, load_tokenizer, model_digest
from acclimate.model.reference import AdapterOff, FrozenCopy, Reference
from acclimate.plan import build_plan, method_names
from acclimate.preflight import data_record, warnings
from acclimate.provenance import finished, provenance, read_json, write_json
from acclimate.report import model_card
from acclimate.train.callbacks.log import MetricsLog
from acclimate.train.checkpoint import checkpoint_weights, checkpoints, load_best, load_checkpoint
from acclimate.train.loop import run_loop
from acclimate.train.training import Training
from acclimate.train.weights import Weights
from acclimate.types import Plan, PlanContext


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and the records of its ``summary.json``."""

    run_dir: Path
    summary: list[Record]


@located
def train(config: RunConfig, resume: bool = False, console: Console | None = None) -> RunResult:
    """Trains, evaluates against the base, and writes the run folder ``output_dir/name``.

    Args:
        resume: continue the run from its last checkpoint (bitwise as if it had not stopped); a run that is
            finished is returned as it is.

    Raises:
        UsageError: the run folder exists and ``resume`` is false, or its configuration differs.
        DataError, ModelError, ConfigError: before anything is trained.
        NonFiniteError: a loss or gradient became infinite or NaN.
    """
    console = console or Console(quiet=True)
    config = with_absolute_paths(config)
    run_dir = config.run_dir
    _check_run_dir(config, resume)
    if resume and (run_dir / "summary.json").is_file():
        console.print(f"{config.name}: finished before, nothing to do.")
        summary = read_summary(run_dir)
        if summary and not (run_dir / "model" / "README.md").exists():  # the disk was full when it was due
            write_text(run_dir / "model" / "README.md", model_card(run_dir))
        return RunResult(run_dir, summary)
    build_plan(config, PlanContext(full_tuning=config.lora is None))  # configuration errors before slow work
    config, device = resolve(_with_saved_dtype(config) if resume else config)
    if resume and (run_dir / "model").is_dir():  # it is written whole, after the last step
        console.print(f"{config.name}: trained before; measuring it.")
        return evaluate_run(run_dir)
    corpora = load_corpora(config, load_tokenizer(config.model))
    model = load_model(config, device)
    training, plan, mixture = build_training(config, model, corpora, console)
    for warning in warnings(config, corpora, mixture, model.tokenizer):
        console.print(f"Note: {warning}", style="yellow", highlight=False)
    digest, data = model_digest(config.model, model.network), {n: c.digest for n, c in corpora.sources.items()}
    began = _check_digests(run_dir, digest, data)
    record = provenance(config, device, digest, data) | ({"started": began["started"]} if began else {})
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, run_dir / "config.yaml")
    parameters = {
        "trained": sum(p.numel() for p in model.trainable().values()),
        "total": model.network.num_parameters(),
    }
    write_json(run_dir / "data.json", data_record(config, corpora, mixture) | {"parameters": parameters})
    write_json(run_dir / "provenance.json", record)
    _start(training, plan, run_dir, resume, console)
    started = time.perf_counter()
    run_loop(training)
    for finish in plan.finish:
        finish(training)
    if config.training.final == "best":
        load_best(training, run_dir)
    save_model(model, run_dir / "model", config.model.path)
    ended = time.perf_counter()
    base = training.objective.references.get("base") or load_base(config, model, device)
    result = _measure(config, corpora, model, base)
    write_json(run_dir / "provenance.json", finished(record, ended - started, time.perf_counter() - ended))
    return result


def evaluate_run(run_dir: Path) -> RunResult:
    """Measures a trained run's ``model/`` against its base again and rewrites ``summary.json``.

    Raises:
        RunError: the run is not trained yet, or its base or data have changed since.
    """
    config, device = resolve(read_config(run_dir))
    corpora = load_corpora(config, load_tokenizer(config.model))
    model = load_tuned(config, run_dir / "model", device)
    base = load_base(config, model, device)
    _check_digests(
        run_dir, model_digest(config.model, model.network), {n: c.digest for n, c in corpora.sources.items()}
    )
    return _measure(config, corpora, model, base)


def _measure(config: RunConfig, corpora: Corpora, model: CausalModel, base: Reference) -> RunResult:
    """Scores every held-out set against the base and writes eval/, summary.json, generations.json and the card."""
    run_dir, name, summary = config.run_dir, "+".join(method_names(config)), []
    for folder in (run_dir / "eval", run_dir / "model"):
        if folder.resolve().parent != run_dir.resolve():
            raise RunError(f"'{folder}' is a link that leads out of the run folder; nothing is written through it.")
    for set_name, batches in heldout_sets(config, corpora, config.evaluation.documents).items():
        tuned, before = measure(model, base, batches, list(special_tokens(model.tokenizer)))
        role = corpora.sources[set_name].role
        for run, scores in (("base", before), (name, tuned)):
            if scores is not None:
                summary += records(scores, run=run, seed=config.seed, set_name=set_name, role=role)
        places = [corpora.document_name(int(document)) for document in tuned.document]
        write_scores(run_dir / "eval" / f"{set_name}.jsonl", places, tuned, before)
    prompts = heldout_prompts(config, corpora, model.tokenizer)
    write_json(run_dir / "generations.json", side_by_side(model, base, prompts, config.evaluation.max_new_tokens))
    write_json(run_dir / "summary.json", summary)  # marks the run as finished
    if summary:
        write_text(run_dir / "model" / "README.md", model_card(run_dir))
    return RunResult(run_dir, summary)


def export(run_dir: Path, output: Path, merge: bool = False, checkpoint: str | None = None) -> Path:
    """Writes a Hugging Face folder: an adapter, or with ``merge`` (and after full tuning) a whole model.

    Args:
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
    """
    config = read_config(run_dir)
    check_empty(output)
    found = sorted(path.name for path in (run_dir / "checkpoints").glob("[!.]*"))
    if checkpoint is not None and checkpoint not in found:
        has = f"it has {listed(found)}" if found else "it kept none"
        raise UsageError(f"--checkpoint: '{run_dir}' has no checkpoint '{checkpoint}'; {has}.")
    config, device = resolve(config)
    model = load_tuned(config, run_dir / "model", device)
    if checkpoint is not None:
        Weights(model.trainable()).load_state_dict(checkpoint_weights(run_dir / "checkpoints" / checkpoint))
    measured = (run_dir / "summary.json").is_file() and read_summary(run_dir)
    card = model_card(run_dir, merge, checkpoint) if measured else None
    save_model(model, output, config.model.path, card, merge)
    return output


def load_base(config: RunConfig, model: CausalModel, device: torch.device) -> Reference:
    """The frozen base of a tuned model: its adapter off, or the original weights again."""
    if model.peft is not None:
        return AdapterOff(model)
    return FrozenCopy(CausalModel(load_network(config.model, model.dtype, device), model.tokenizer))


def load_tuned(config: RunConfig, folder: Path, device: torch.device) -> CausalModel:
    """The model that a run wrote to ``model/``."""
    if not folder.is_dir():
        raise RunError(f"'{folder.parent}' has no model/ yet: the run is not finished; use acclimate train --resume.")
    if config.lora is None:
        section = config.model.model_copy(update={"path": str(folder)})
        return CausalModel(load_network(section, DTYPES[config.model.dtype], device), load_tokenizer(section))
    network = load_network(config.model, DTYPES[config.model.dtype], device)
    return CausalModel(network, load_tokenizer(config.model), load_adapter(network, folder))


def read_config(run_dir: Path) -> RunConfig:
    """The resolved configuration of a run folder, pointing at that folder wherever it has been moved."""
    if not (run_dir / "config.yaml").is_file():
        raise UsageError(f"'{run_dir}' is no run folder: it has no config.yaml. `acclimate train` makes one.")
    config = load_config(run_dir / "config.yaml")
    resolved = run_dir.resolve()
    return config.model_copy(update={"output_dir": str(resolved.parent), "name": resolved.name})


def read_summary(run_dir: Path) -> list[Record]:
    records: list[Record] = read_json(run_dir / "summary.json")
    return records


def _start(training: Training, plan: Plan, run_dir: Path, resume: bool, console: Console) -> None:
    """From the last checkpoint, or from step 0 with the methods' preparation."""
    saved = checkpoints(run_dir) if resume else []
    if saved:
        load_checkpoint(training, saved[-1])
        console.print(f"Continuing after step {training.step} of {training.total_steps}.")
    else:
        if resume:
            console.print("There is no checkpoint to continue from: starting at step 0.")
        for prepare in plan.prepare:
            prepare(training)
    for callback in training.callbacks:
        if isinstance(callback, MetricsLog):
            callback.drop_after(training.step)


def _check_digests(run_dir: Path, model: str, data: dict[str, str]) -> dict[str, Any] | None:
    """The run's own provenance, if it has begun; refuses another base or other documents than it began with."""
    path = run_dir / "provenance.json"
    if not path.is_file():
        return None
    began: dict[str, Any] = read_json(path)
    changed = [f"source '{name}'" for name, digest in data.items() if began["data"].get(name) != digest]
    changed += ["the base model"] if began["model"]["digest"] != model else []
    if changed:
        raise RunError(
            f"The run '{run_dir}' began with other contents of {' and '.join(changed)} than there are now, so it can "
            "neither be continued nor measured again; restore them, or start a new run under another name."
        )
    return began


def _check_run_dir(config: RunConfig, resume: bool) -> None:
    """Nothing that exists is overwritten, and a run is only continued by the configuration that began it."""
    path = config.run_dir / "config.yaml"
    try:
        config.run_dir.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(config.run_dir.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UsageError(f"output_dir: '{config.output_dir}' cannot be written to; choose another folder.")
    if config.run_dir.exists() and not config.run_dir.is_dir():
        raise UsageError(f"'{config.run_dir}' is a file, so it cannot be the run folder; choose another name.")
    if not path.exists():
        if config.run_dir.is_dir() and any(config.run_dir.iterdir()):
            raise UsageError(f"The folder '{config.run_dir}' holds something that is no run; choose another name.")
        return
    if not resume:
        raise UsageError(
            f"The run '{config.run_dir}' exists. Continue it with --resume, or choose another name, for example "
            f"--set name={config.name}-2."
        )
    began, now = load_config(path), _with_saved_dtype(config)
    if differences := _differences(began.model_dump(mode="json"), now.model_dump(mode="json")):
        raise UsageError(
            f"The run '{config.run_dir}' began with another configuration; it differs at {'; '.join(differences)}. "
            "Use the configuration it began with, or another name."
        )


def _with_saved_dtype(config: RunConfig) -> RunConfig:
    """``dtype: auto`` means what it meant when the run began."""
    path = config.run_dir / "config.yaml"
    if config.model.dtype != "auto" or not path.exists():
        return config
    saved = load_config(path).model.dtype
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": saved})})


def _differences(began: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(began, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*began, *now])
        return [d for key in keys for d in _differences(began.get(key), now.get(key), f"{path}.{key}".lstrip("."))]
    if began == now or path in ("output_dir", "report_to", "data.cache_dir"):
        return []
    return [f"{path}: {began!r} then, {now!r} now"]
