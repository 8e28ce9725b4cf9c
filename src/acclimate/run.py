"""The verbs behind the command line: train, evaluate, export. Files in, files out: the run folder is the interface."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from acclimate.assembly import (
    Chosen,
    Job,
    Mixture,
    build_training,
    choose_reread,
    experts,
    heldout_prompts,
    load_base,
    load_model,
    load_tuned,
    reopened,
    reread,
    resolve,
    score_memorised,
    score_sets,
    select_labels,
    start,
    validation_sets,
)
from acclimate.config import RunConfig, located, save_config
from acclimate.data.chat import special_tokens
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.turn_ends import new_turn_ends
from acclimate.errors import RunError, UsageError, listed
from acclimate.evaluate.generate import side_by_side
from acclimate.evaluate.measured import write_measured
from acclimate.evaluate.summary import Record
from acclimate.files import write_text
from acclimate.model.causal import CausalModel
from acclimate.model.export import check_empty, save_model
from acclimate.model.load import load_tokenizer, model_identity
from acclimate.model.reference import Reference
from acclimate.parallel.shard import is_sharded, shard, whole_state
from acclimate.parallel.world import SOLO, World, join
from acclimate.plan import Composition, anchored, compose
from acclimate.preflight import data_record, warnings
from acclimate.provenance import (
    finished,
    keep_weights,
    peak_memory_mib,
    provenance,
    read_json,
    sessions,
    with_session,
    write_json,
)
from acclimate.report import model_card
from acclimate.run_folder import (
    begin_session,
    check_digests,
    check_run_dir,
    check_trained,
    has_model,
    keeping_the_model,
    read_config,
    read_summary,
    say_what_changed,
    sole_writer,
    turn_ends,
    without_effect,
)
from acclimate.train.checkpoint import checkpoint_weights, load_best
from acclimate.train.loop import run_loop
from acclimate.train.training import Training
from acclimate.train.tuned import TunedRun
from acclimate.train.weights import Weights


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and the records of its ``summary.json``."""

    run_dir: Path
    summary: list[Record]


@located
def train(config: RunConfig, resume: bool = False, console: Console | None = None) -> RunResult:
    """Trains, evaluates against the base, and writes the run folder ``output_dir/name``.

    In each of several processes started by torchrun it does so together with the others; rank 0 prints and writes.

    Args:
        resume: continue the run from its last checkpoint (bitwise as if it had not stopped); a run that is
            finished is returned as it is.

    Raises:
        UsageError: the run folder exists and ``resume`` is false, or its configuration differs.
        DataError, ModelError, ConfigError: before anything is trained.
        NonFiniteError: a loss or gradient became infinite or NaN.
        Stopped: SIGTERM or Ctrl-C while training; a checkpoint is written first.
    """
    world = join(config.model.device)
    console = console if console is not None and world.is_main else Console(quiet=True)
    config = anchored(config)  # as its folder has it
    run_dir = config.run_dir
    with ExitStack() as held:
        with world.all_or_none():
            if world.is_main:
                check_run_dir(config, resume)
                held.enter_context(sole_writer(run_dir))
                check_run_dir(config, resume)  # now that nobody else writes
        return _train(config, resume, console, world)


def _train(config: RunConfig, resume: bool, console: Console, world: World) -> RunResult:
    run_dir = config.run_dir
    trained = resume and has_model(run_dir)  # it is written whole, after the last step
    if trained and (run_dir / "summary.json").is_file() and "finished" in read_json(run_dir / "provenance.json"):
        console.print(f"{config.name}: finished before, nothing to do.{without_effect(config)}", highlight=False)
        summary = read_summary(run_dir)
        if world.is_main and summary and not (run_dir / "model" / "README.md").exists():  # the disk was full then
            write_text(run_dir / "model" / "README.md", model_card(run_dir))
        return RunResult(run_dir, summary)
    with world.all_or_none():
        composition = compose(config)  # configuration errors before slow work
    job = resolve(config, world, resume)
    if world.is_main and (run_dir / "config.yaml").exists():
        say_what_changed(config, console)
    config, device = job.config, job.device
    if trained:
        console.print(f"{config.name}: trained before; measuring it.")
        with world.all_or_none():
            result = _measured_again(config) if world.is_main else RunResult(run_dir, [])
        return result
    corpora = world.main_first(lambda: load_corpora(config, load_tokenizer(config.model)))
    with world.all_or_none():
        model = load_model(config, device)
    learned = world.main_first(lambda: select_labels(config, composition, corpora, model))
    with world.all_or_none():
        validation = validation_sets(config, corpora)
        training, plan, mixture = build_training(job, composition, model, learned, console)
        chosen = choose_reread(config, learned, training.objective.active, mixture)
    for warning in (*plan.notes, *warnings(config, composition, learned, mixture, model.tokenizer)):
        console.print(f"Note: {warning}", style="yellow", highlight=False, markup=False)
    with world.all_or_none():
        if world.is_main:
            record = _begin(job, composition, training, learned, mixture, chosen)
    start(training, plan, run_dir, resume, console)
    if world.is_main:
        record = begin_session(run_dir, record, training.step, world.size)
    apart = training.counted_forwards()  # of choosing labels, where that is not in the cache
    with training.stop.listening(console):
        run_loop(training)
    infeasible = {c.name: c.infeasible for c in training.controllers if c.infeasible is not None}
    for sentence in infeasible.values():
        console.print(f"Note: {sentence}", style="yellow", highlight=False, markup=False)
    if world.is_main and infeasible:
        record["infeasible"] = infeasible
    costs = {
        "train_seconds": round(training.seconds, 2),
        "forward_tokens": round(training.forwards),
        "train_peak_memory_mib": peak_memory_mib(device),
    }
    apart -= training.counted_forwards()
    if config.training.final == "best":
        console.print(load_best(training, run_dir), highlight=False)
    base = training.objective.references.get("base") or load_base(config, model, device)
    if is_sharded(model) and base.model is not model and not is_sharded(base.model):
        shard(base.model, base.model.layers, world, config.parallel)
    sets = {name: (corpora.sources[name].role, batches) for name, batches in validation.items()}
    if plan.after is not None:
        settled = plan.after(TunedRun(training, base, sets, list(special_tokens(model.tokenizer)), config.seed))
        console.print(settled.says, highlight=False)
        if world.is_main:
            write_json(run_dir / "interpolation.json", settled.record)
    costs["apart_forward_tokens"] = round(apart + training.counted_forwards(base))
    if world.is_main:
        write_json(run_dir / "provenance.json", record | costs)  # before model/, by which a run is known as trained
    _save(training, config)
    if world.is_main:
        record = keep_weights(run_dir, record | costs)
    started = time.perf_counter()
    with keeping_the_model(run_dir):
        result = _measure(config, corpora, model, base, chosen, world)
    if world.is_main:
        write_json(run_dir / "provenance.json", finished(record, time.perf_counter() - started))
    return result


def _measured_again(config: RunConfig) -> RunResult:
    """Of a run that was interrupted after its training."""
    started, run_dir = time.perf_counter(), config.run_dir
    save_config(config, run_dir / "config.yaml")
    result = evaluate_run(run_dir)
    record = with_session(read_json(run_dir / "provenance.json"), read_json(run_dir / "data.json")["steps"], 1)
    write_json(run_dir / "provenance.json", finished(record, time.perf_counter() - started))
    return result


def _save(training: Training, config: RunConfig) -> None:
    """``model/``, whole, by one rank."""
    model, world = training.model, training.world
    weights = None
    if is_sharded(model):
        weights = whole_state(model.network.state_dict(keep_vars=True), keep=world.is_main)
    with world.all_or_none():
        if world.is_main:
            ends = turn_ends(config.run_dir)["stops_at"]
            save_model(model, config.run_dir / "model", config.model.path, weights=weights, stops_at=ends)


def _begin(
    job: Job, composition: Composition, training: Training, corpora: Corpora, mixture: Mixture, chosen: Chosen
) -> dict[str, Any]:
    """Writes config.yaml, data.json and provenance.json, and returns the last."""
    config, run_dir, network = job.config, job.config.run_dir, training.model.network
    identity, data = model_identity(config.model), {n: c.digest for n, c in corpora.sources.items()}
    inputs = {f"method.{e.name}": e.digest() for e in experts(config, composition)}
    inputs |= {f"the labels learned of source '{n}'": c.mask.digest for n, c in corpora.sources.items() if c.mask}
    held_out = {n: c.heldout_digest for n, c in corpora.sources.items()}
    began = check_digests(run_dir, identity, data, inputs, held_out)
    record = provenance(config, job.device, identity, data, inputs) | {"processes": job.world.size}
    record |= {"held_out": held_out, "methods": {n: m.described() for n, m in composition.methods.items()}}
    stores = [store.origin for store in composition.statistics]
    if began and [s["sha256"] for s in began.get("statistics", [])] != [s["sha256"] for s in stores]:
        raise RunError(
            f"The run '{run_dir}' began with another statistics store than there is now, so it cannot be continued; "
            "restore it, or start a new run under another name."
        )
    record |= {"statistics": stores} if stores else {}
    record |= {"started": began["started"], "sessions": sessions(began)} if began else {}
    save_config(config, run_dir / "config.yaml")
    trained = sum(p.numel() for p in training.model.trainable().values())
    parameters = {"trained": trained, "total": network.num_parameters()}
    about = data_record(config, corpora, mixture) | {"parameters": parameters, "memorisation": chosen}
    about["turn_ends"] = new_turn_ends(corpora, training.model, training.objective.terms)
    write_json(run_dir / "data.json", about)
    write_json(run_dir / "provenance.json", record)
    return record


def evaluate_run(run_dir: Path) -> RunResult:
    """Measures a trained run's ``model/`` against its base again and rewrites ``summary.json``.

    Raises:
        RunError: the run is not trained yet, or its model, base or data have changed since.
    """
    job = reopened(read_config(run_dir))
    config, device = job.config, job.device
    corpora = load_corpora(config, load_tokenizer(config.model))
    check_trained(run_dir)
    model = load_tuned(config, run_dir / "model", device)
    base = load_base(config, model, device)
    data, held_out = ({n: getattr(c, k) for n, c in corpora.sources.items()} for k in ("digest", "heldout_digest"))
    check_digests(run_dir, model_identity(config.model), data, held_out=held_out)
    keep_weights(run_dir, read_json(run_dir / "provenance.json"))  # if it was killed before, or is of 0.1.0
    chosen = read_json(run_dir / "data.json").get("memorisation", {})
    return _measure(config, corpora, model, base, chosen)


def _measure(
    config: RunConfig, corpora: Corpora, model: CausalModel, base: Reference, chosen: Chosen, world: World = SOLO
) -> RunResult:
    """Scores every held-out set against the base and writes eval/, summary.json, generations.json and the card."""
    run_dir = config.run_dir
    for folder in (run_dir / "eval", run_dir / "model", run_dir / "memorisation"):
        if folder.resolve().parent != run_dir.resolve():
            raise RunError(f"'{folder}' is a link that leads out of the run folder; nothing is written through it.")
    summary, gains = score_sets(config, corpora, model, base, world)
    parameters = read_json(run_dir / "data.json")["parameters"]["trained"] if world.is_main else 0
    found = score_memorised(config, reread(config, corpora, chosen), model, base, gains, parameters, world)
    if world.is_main and found:
        write_json(run_dir / "memorisation" / "check.json", {"sources": found})
    prompts = heldout_prompts(config, corpora, model.tokenizer, model.positions)
    answers = side_by_side(model, base, prompts, config.evaluation.max_new_tokens, turn_ends(run_dir)["ids"])
    if not world.is_main:
        return RunResult(run_dir, summary)
    write_json(run_dir / "generations.json", answers)
    write_json(run_dir / "summary.json", summary)  # marks the run as finished
    write_measured(run_dir, read_json(run_dir / "provenance.json"), {n: len(t.document) for n, (t, _) in gains.items()})
    if summary:
        write_text(run_dir / "model" / "README.md", model_card(run_dir))
    return RunResult(run_dir, summary)


def export(run_dir: Path, output: Path, merge: bool = False, checkpoint: str | None = None) -> Path:
    """Writes a Hugging Face folder: an adapter, or with ``merge`` (and after full tuning) a whole model.

    Args:
        merge: fold the adapter into the base; into its original weights, if the run kept them quantised.
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
    """
    check_empty(output)
    config, model, _ = load_run(run_dir, checkpoint, quantised=not merge)
    check_trained(run_dir)
    measured = (run_dir / "summary.json").is_file() and read_summary(run_dir)
    card = model_card(run_dir, merge, checkpoint) if measured else None
    save_model(model, output, config.model.path, card, merge, stops_at=turn_ends(run_dir)["stops_at"])
    return output


def load_run(
    run_dir: Path, checkpoint: str | None = None, quantised: bool = True
) -> tuple[RunConfig, CausalModel, torch.device]:
    """A run's configuration, its tuned model, and the device that holds it.

    Args:
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
        quantised: whether ``model.quantization`` is heeded.

    Raises:
        UsageError: the folder is no run, or has no such checkpoint.
        RunError: the run is not trained yet, or the base under its adapter has changed since.
    """
    config = read_config(run_dir)
    if not quantised:
        config = config.model_copy(update={"model": config.model.model_copy(update={"quantization": None})})
    found = sorted(path.name for path in (run_dir / "checkpoints").glob("[!.]*"))
    if checkpoint is not None and checkpoint not in found:
        has = f"it has {listed(found)}" if found else "it kept none"
        raise UsageError(f"--checkpoint: '{run_dir}' has no checkpoint '{checkpoint}'; {has}.")
    job = reopened(config)
    config = job.config
    model = load_tuned(config, run_dir / "model", job.device)
    if config.lora is not None:  # an adapter is nothing without its base
        check_digests(run_dir, model_identity(config.model), {})
    if checkpoint is not None:
        Weights(model.trainable()).load_state_dict(checkpoint_weights(run_dir / "checkpoints" / checkpoint))
    return config, model, job.device
