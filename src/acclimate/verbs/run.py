"""The verbs behind the command line: train, evaluate. Files in, files out: the run folder is the interface."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from acclimate.build import (
    Chosen,
    Job,
    Mixture,
    Of,
    build_training,
    choose_reread,
    experts,
    heldout_prompts,
    load_model,
    open_run,
    reread,
    resolve,
    score_memorised,
    score_sets,
    score_untouched,
    select_labels,
    start,
    trained_pair,
    validation_sets,
)
from acclimate.build.plan import Composition, anchored, compose
from acclimate.config.chosen.search import AUTO
from acclimate.config.load import RunConfig, located, save_config
from acclimate.data.chat.rendering import special_tokens
from acclimate.data.chat.turn_ends import new_turn_ends
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.disk.files import write_text
from acclimate.measurement.generate import side_by_side
from acclimate.model.download import downloads
from acclimate.model.export import save_model
from acclimate.model.identity import model_identities
from acclimate.model.load import asked_changes, load_tokenizer, written_changes
from acclimate.model.lora.coverage import coverage
from acclimate.model.pair import Pair
from acclimate.parallel.shard import is_sharded, whole_state
from acclimate.parallel.shared import check_shared
from acclimate.parallel.world import SOLO, World, join
from acclimate.reports import model_card
from acclimate.runs.beginning import begin_session, check_digests, say_what_changed, turn_ends, without_effect
from acclimate.runs.claim import check_run_dir, keeping_the_model, sole_writer
from acclimate.runs.folder import read_summary, write_generations, write_summary
from acclimate.runs.layout import Layout, read_json, write_json
from acclimate.runs.measured import write_measured
from acclimate.runs.provenance import finished, keep_weights, peak_memory_mib, provenance, sessions, with_session
from acclimate.training.callbacks.progress import Measuring
from acclimate.training.callbacks.trackers import Tracked, conclude
from acclimate.training.checkpoint import load_best, read_best
from acclimate.training.control.settle import settle
from acclimate.training.distance import moved
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from acclimate.training.tuned import TunedRun
from acclimate.types.errors import RunError, UsageError
from acclimate.verbs.footprint import with_checkpointing
from acclimate.verbs.replay import with_rows
from acclimate.verbs.result import RunResult
from acclimate.verbs.search import search
from acclimate.verbs.validate import data_record, print_before, read_as


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
        Stopped: SIGTERM, SIGUSR1 or Ctrl-C while training; a checkpoint is written first.
    """
    world = join(config.model.device, config.parallel.timeout_minutes)
    console = console if console is not None and world.is_main else Console(quiet=True)
    config = anchored(config)  # as its folder has it
    with _writing(config, resume, world):
        if config.method == AUTO:
            config = search(config, train, console, world)
            resume = resume and Layout(config.run_dir).provenance.is_file()
        return _train(config, resume, console, world)


@located
def chosen(config: RunConfig, resume: bool = False, console: Console | None = None) -> RunConfig:
    """What ``method: auto`` chooses: the plain configuration that :func:`train` would train, which is not trained.

    Raises:
        UsageError: there is nothing to choose; and as :func:`train`.
    """
    if config.method != AUTO:
        raise UsageError("--freeze: has no effect without method: auto; the configuration is plain already.")
    world = join(config.model.device, config.parallel.timeout_minutes)
    console = console if console is not None and world.is_main else Console(quiet=True)
    config = anchored(config)
    with _writing(config, resume, world):
        return search(config, train, console, world)


@contextmanager
def _writing(config: RunConfig, resume: bool, world: World) -> Iterator[None]:
    """Nobody else writes to the run folder, and it is this configuration's."""
    with ExitStack() as held:
        with world.all_or_none():
            if world.is_main:
                check_run_dir(config, resume)
                held.enter_context(sole_writer(config.run_dir))
                check_run_dir(config, resume)  # now that nobody else writes
        check_shared(config.run_dir, "output_dir", world)
        yield


def _train(config: RunConfig, resume: bool, console: Console, world: World) -> RunResult:
    run_dir, run = config.run_dir, Layout(config.run_dir)
    trained = resume and run.has_model  # it is written whole, after the last step
    if trained and run.summary.is_file() and "finished" in read_json(run.provenance):
        console.print(f"{config.name}: finished before, nothing to do.{without_effect(config)}", highlight=False)
        summary = read_summary(run.summary)
        if world.is_main and summary and not run.card.exists():  # the disk was full then
            write_text(run.card, model_card(run_dir))
        return RunResult(run_dir, summary)
    with world.all_or_none():
        composition = compose(config)  # configuration errors before slow work
    job = with_checkpointing(resolve(config, world, resume), composition, console)
    if world.is_main and run.config.exists():
        say_what_changed(config, console)
    config, device = job.config, job.device
    if trained:
        console.print(f"{config.name}: trained before; measuring it.")
        with world.all_or_none():
            result = _measured_again(config, console) if world.is_main else RunResult(run_dir, [])
        return result
    for sentence in downloads(config.model) if world.is_main else ():
        console.print(f"{config.name}: {sentence}", highlight=False, markup=False, soft_wrap=True)
    corpora = world.main_first(lambda: load_corpora(with_rows(config, device, console), load_tokenizer(config.model)))
    model = load_model(config, device, world, lambda note: _note(console, note))
    job = job.settled(model).having_read(corpora)
    config = job.config
    if is_sharded(model):
        with world.all_alike():
            learned = select_labels(config, composition, corpora, model, world)
    else:
        learned = world.main_first(lambda: select_labels(config, composition, corpora, model))
    with world.all_or_none():
        validation = validation_sets(config, corpora)
        training, plan, mixture = build_training(job, composition, model, learned, console)
        job = job.dealt(learned, mixture.planned.came_to).measured(training.probe.every if training.probe else None)
        config = job.config
        chosen = choose_reread(config, learned, training.objective.active, mixture)
    for line in read_as(learned):
        console.print(line, highlight=False, markup=False)
    print_before(job, composition, training, plan, learned, mixture, console)
    with world.all_or_none():
        if world.is_main:
            record = _begin(job, composition, training, learned, mixture, chosen)
    start(training, plan, run_dir, resume, console)
    if world.is_main:
        record = begin_session(run_dir, record, training.step, world.size)
    apart = training.counted_forwards()  # of choosing labels, where that is not in the cache
    with training.stop.listening(console):
        run_loop(training)
    if training.ended is not None:
        _note(console, training.ended)
        if world.is_main:
            record["ended"] = {"step": training.step, "of": training.total_steps, "why": training.ended}
    infeasible = {c.name: c.infeasible for c in training.controllers if c.infeasible is not None}
    for sentence in infeasible.values():
        _note(console, sentence)
    if world.is_main and infeasible:
        record["infeasible"] = infeasible
    costs = {
        "train_seconds": round(training.seconds, 2),
        "forward_tokens": round(training.forwards),
        "train_peak_memory_mib": peak_memory_mib(device),
    }
    apart -= training.counted_forwards()
    if config.training.final == "best" and config.retain is None:
        console.print(load_best(training, run_dir), highlight=False)
    pair = trained_pair(config, model, training.objective.references.get("base"), world)
    sets = {name: (corpora.sources[name].role, batches) for name, batches in validation.items()}
    tuned = TunedRun(training, pair, sets, list(special_tokens(model.tokenizer)), config.seed)
    if plan.after is not None:
        settled = plan.after(tuned)
        console.print(settled.says, highlight=False)
        if world.is_main:
            write_json(run.interpolation, settled.record)
    if config.retain is not None:
        settled = settle(config, tuned, read_best(training, run_dir))
        for sentence in (settled.says, *settled.record["helps"]):
            _note(console, sentence)
        if world.is_main:
            write_json(run.retain, settled.record)
    costs["apart_forward_tokens"] = round(apart + training.counted_forwards(pair.base))
    if (distance := moved(tuned)) is not None and world.is_main:
        record["moved"] = distance
    if world.is_main:
        write_json(run.provenance, record | costs)  # before model/, by which a run is known as trained
    for note in _save(training, config):
        _note(console, note)
    if world.is_main:
        record = keep_weights(run_dir, record | costs)
    started = time.perf_counter()
    with keeping_the_model(run_dir), Measuring(console) as measuring:
        result = _measure(config, corpora, pair, chosen, measuring.of, console, world)
    if world.is_main:
        write_json(run.provenance, finished(record, time.perf_counter() - started))
    return result


def _note(console: Console, sentence: str) -> None:
    console.print(f"Note: {sentence}", style="yellow", highlight=False, markup=False)


def _measured_again(config: RunConfig, console: Console) -> RunResult:
    """Of a run that was interrupted after its training."""
    started, run = time.perf_counter(), Layout(config.run_dir)
    save_config(config, run.config)
    result = evaluate_run(run.path, console)
    record = with_session(read_json(run.provenance), read_json(run.data)["steps"], 1)
    write_json(run.provenance, finished(record, time.perf_counter() - started))
    return result


def _save(training: Training, config: RunConfig) -> list[str]:
    """``model/``, whole, by one rank."""
    model, world = training.model, training.world
    weights = None
    if is_sharded(model):
        weights = whole_state(model.network.state_dict(keep_vars=True), world.is_main, model.shorter)
    with world.all_or_none():
        if world.is_main:
            ends = turn_ends(config.run_dir)["stops_at"]
            folder, changes = Layout(config.run_dir).model, written_changes(config.model, whole=config.lora is None)
            return save_model(model, folder, config.model.path, weights=weights, stops_at=ends, changes=changes)
    return []


def _begin(
    job: Job, composition: Composition, training: Training, corpora: Corpora, mixture: Mixture, chosen: Chosen
) -> dict[str, Any]:
    """Writes config.yaml, data.json and provenance.json, and returns the last."""
    config, run_dir, network = job.config, job.config.run_dir, training.model.network
    models, data = model_identities(config.model), {n: c.digest for n, c in corpora.sources.items()}
    inputs = {e.key: e.digest() for e in experts(config, composition)}
    inputs |= {f"the labels learned of source '{n}'": c.mask.digest for n, c in corpora.sources.items() if c.mask}
    held_out = {n: c.heldout_digest for n, c in corpora.sources.items()}
    began = check_digests(run_dir, models, data, inputs, held_out)
    record = provenance(config, job.device, models, data, inputs) | {"processes": job.world.size}
    record |= {"held_out": held_out, "methods": {n: m.described() for n, m in composition.methods.items()}}
    stores = [store.origin for store in composition.statistics]
    if began and [s["sha256"] for s in began.get("statistics", [])] != [s["sha256"] for s in stores]:
        raise RunError(
            f"The run '{run_dir}' began with another statistics store than there is now, so it cannot be continued; "
            "restore it, or start a new run under another name."
        )
    record |= {"statistics": stores} if stores else {}
    if changes := asked_changes(config.model):
        record |= {"changes": [change.record for change in changes], "vocabulary": training.model.vocabulary}
    record |= {"started": began["started"], "sessions": sessions(began)} if began else {}
    run = Layout(run_dir)
    save_config(config, run.config)
    trained = sum(p.numel() for p in training.model.trainable().values())
    parameters = {"trained": trained, "total": network.num_parameters()}
    about = data_record(config, corpora, mixture) | {"parameters": parameters, "memorisation": chosen}
    about["attention"] = {"name": training.model.attention, "alone": training.model.alone}
    if config.lora is not None:
        about["adapted"] = {row.kind: [row.reached, row.total] for row in coverage(network)}
    learned = [routed for routed in training.objective.terms if routed.weight != 0]  # others are only watched
    about["turn_ends"] = new_turn_ends(corpora, training.model, learned)
    write_json(run.data, about)
    write_json(run.provenance, record)
    return record


def evaluate_run(run_dir: Path, console: Console | None = None) -> RunResult:
    """Measures a trained run's ``model/`` against its base again and rewrites ``summary.json``.

    Args:
        console: shows how far rows are that the base writes again, where the cache has lost them.

    Raises:
        RunError: the run is not trained yet, or its model, base or data have changed since.
    """
    config, pair = open_run(run_dir)
    console = console or Console(quiet=True)
    rows = with_rows(config, pair.model.device, console)
    corpora = load_corpora(rows, load_tokenizer(config.model))
    run = Layout(run_dir)
    data, held_out = ({n: getattr(c, k) for n, c in corpora.sources.items()} for k in ("digest", "heldout_digest"))
    check_digests(run_dir, model_identities(config.model), data, held_out=held_out)
    keep_weights(run_dir, read_json(run.provenance))  # if it was killed before, or is of 0.1.0
    chosen = read_json(run.data).get("memorisation", {})
    with Measuring(console) as measuring:
        return _measure(config, corpora, pair, chosen, measuring.of, console)


def _measure(
    config: RunConfig,
    corpora: Corpora,
    pair: Pair,
    chosen: Chosen,
    of: Of,
    console: Console,
    world: World = SOLO,
) -> RunResult:
    """Scores every held-out set against the base and writes eval/, summary.json, generations.json and the card."""
    run_dir, run, model, base = config.run_dir, Layout(config.run_dir), pair.model, pair.base
    for folder in (run.eval, run.model, run.memorisation):
        if folder.resolve().parent != run_dir.resolve():
            raise RunError(f"'{folder}' is a link that leads out of the run folder; nothing is written through it.")
    summary, gains = score_sets(config, corpora, model, base, world, of)
    parameters = read_json(run.data)["parameters"]["trained"] if world.is_main else 0
    found = score_memorised(config, reread(config, corpora, chosen), model, base, gains, parameters, world, of)
    if world.is_main and found:
        write_json(run.memorised, {"sources": found})
    of("answers side by side", 0)
    prompts = heldout_prompts(config, corpora, model.tokenizer, model.positions)
    answers = side_by_side(model, base, prompts, config.evaluation.max_new_tokens, turn_ends(run_dir)["ids"])
    apart = score_untouched(config, corpora, model, pair.open_untouched(), world) if pair.open_untouched else []
    if not world.is_main:
        return RunResult(run_dir, summary)
    write_generations(run.generations, answers)
    if apart:
        write_summary(run.untouched, apart)
    write_summary(run.summary, summary)  # marks the run as finished
    write_measured(run_dir, read_json(run.provenance), {n: len(t.document) for n, (t, _) in gains.items()})
    measured = {f"final/{one['set']}/{one['metric']}": float(one["value"]) for one in summary}
    conclude(config.report_to, Tracked(config.name, run_dir, {}), measured, console)
    if summary:
        write_text(run.card, model_card(run_dir))
    return RunResult(run_dir, summary)
