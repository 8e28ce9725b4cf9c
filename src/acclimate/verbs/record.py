"""The verb behind `acclimate stats`: a statistic over general text, by the run's own loader, objective and loop."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor

from acclimate.build import build_training, load_model, resolve, start
from acclimate.build.plan import Composition, anchored
from acclimate.config.load import RunConfig, located, save_config
from acclimate.config.source_schema import SourceSection
from acclimate.data.corpus import load_corpora
from acclimate.data.prepare.routes import role_routes
from acclimate.model.causal import CausalModel
from acclimate.model.identity import model_digest
from acclimate.model.load import empty_network, load_tokenizer
from acclimate.model.lora.adapter import adapted_layers, attach_lora
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.parallel.launch import launched_processes
from acclimate.runs.claim import check_run_dir, sole_writer
from acclimate.runs.layout import Layout
from acclimate.runs.provenance import versions
from acclimate.stores.recorder import Recorder
from acclimate.stores.store import Store, write_store
from acclimate.training.loop import run_loop
from acclimate.types.central import RoutedTerm
from acclimate.types.errors import ConfigError, NonFiniteError, UsageError, listed, nearest
from acclimate.types.plan import Method, Plan, PlanContext
from acclimate.verbs.replay import with_rows

CHECKPOINTS = 10
"""Of a recording, unless training.save_steps says otherwise."""


@located
def record(
    config: RunConfig,
    recorder: Recorder,
    output: Path,
    tokens: int,
    source: str | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Store:
    """Takes a statistic over the run's general text and writes its store.

    It is an ordinary run on the general sources alone, with cross-entropy and ``recorder`` as its first gradient
    transform; unless the recorder wants a path, nothing is updated. Its checkpoints lie in ``OUTPUT.recording``
    until the store is whole. With ``lora`` in the configuration the statistic is of the adapted dense matrices.

    Args:
        recorder: :class:`MeanGradient`, :class:`Fisher` or :class:`PathIntegral`, with its settings.
        output: does not exist yet, or is empty.
        tokens: trained tokens to look at, within one optimizer step of ``budget.batch_tokens``.
        source: one source of any route, instead of those of route general.
        resume: continue a recording that was stopped.

    Raises:
        UsageError: ``output`` holds something, or a recording begun there is of other settings.
        ConfigError: no such source, or none is general; quantised weights.
    """
    console = console or Console(quiet=True)
    output = output.resolve()
    if launched_processes() > 1:
        raise UsageError(
            f"acclimate stats takes a statistic in one process, and this is one of {launched_processes()}; start it "
            "without torchrun. Runs of any number of processes, ddp or fsdp, can use its store."
        )
    if tokens < 1:
        raise UsageError(f"--tokens: {tokens} should be 1 or more.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output: '{output}' holds something already; name a new folder.")
    if recorder.moves and config.optimizer.weight_decay > 0:
        console.print("Note: weight decay is left out: it moves weights without a loss.", style="yellow")
    config = _recording(anchored(config), recorder, output, tokens, source)
    work = config.run_dir
    if Layout(work).config.exists() and not resume:
        raise UsageError(
            f"--output: a {recorder.kind} for '{output}' was begun before; continue it with --resume, or "
            f"remove '{work}'."
        )
    try:
        check_run_dir(config, resume)
        with sole_writer(work):
            store = _record(config, recorder, output, source, resume, console)
            shutil.rmtree(work)
    finally:
        with suppress(OSError):  # unless a recording is in it
            work.parent.rmdir()
    return store


def _recording(config: RunConfig, recorder: Recorder, output: Path, tokens: int, source: str | None) -> RunConfig:
    """The configuration of the run that records."""
    if config.model.quantization is not None:
        raise ConfigError(
            "model.quantization: quantised weights have no gradient to take a statistic of; leave it out here. The "
            "store is of the same base, so the run itself may keep it."
        )
    if recorder.moves and config.lora is not None and config.lora.dropout > 0:
        raise ConfigError(
            "lora.dropout: with it the gradient of an adapted matrix is not that of its adapter; set it to 0 for "
            f"acclimate stats {recorder.kind}."
        )
    chosen = _chosen(config, source)
    count = -(-tokens // config.budget.batch_tokens)
    training = config.training.model_copy(
        update={
            "eval_steps": None,
            "patience": None,
            "on_budget_exceeded": "warn",
            "final": "last",
            "save_steps": config.training.save_steps or max(1, -(-count // CHECKPOINTS)),
        }
    )
    return config.model_copy(
        update={
            "output_dir": str(output.with_name(f"{output.name}.recording")),
            "name": recorder.kind,
            "sources": chosen,
            "mixture": None,
            "method": {"name": recorder.kind} | recorder.settings(),  # names a recording in its config.yaml
            "objective": config.objective.model_copy(
                update={"average": recorder.average, "normalise": "term", "router_aux_loss": 0.0}
            ),
            "optimizer": config.optimizer.model_copy(update={"weight_decay": 0.0, "no_decay": False}),
            "budget": config.budget.model_copy(
                update={"count": "all", "tokens": tokens, "steps": None, "epochs": None}
            ),
            "training": training,
            "retain": None,
            "search": None,
            "report_to": [],
        }
    )


def _chosen(config: RunConfig, source: str | None) -> dict[str, SourceSection]:
    """The sources whose text is looked at, without loss terms of their own."""
    if source is not None and source not in config.sources:
        raise UsageError(
            f"--source: there is no source '{source}'; the configuration has {listed(config.sources)}."
            + nearest(source, config.sources)
        )
    found = {
        name: section.model_copy(update={"terms": None, "share": section.mean_share})
        for name, section in config.sources.items()
        if (name == source if source is not None else "general" in role_routes(name, section).values())
    }
    if not found:
        raise ConfigError(
            f"sources: none of {listed(config.sources)} has the route general, over which the statistic is taken; give "
            "one route: general, or name one with --source."
        )
    return found


def _record(
    config: RunConfig, recorder: Recorder, output: Path, source: str | None, resume: bool, console: Console
) -> Store:
    lora = config.lora if recorder.moves else None  # what is looked at where nothing moves is the base itself
    job = resolve(config, resume=resume)
    config = job.config
    corpora = load_corpora(with_rows(config, job.device, console), load_tokenizer(config.model))
    model = load_model(config.model_copy(update={"lora": lora}), job.device)
    job = job.settled(model).having_read(corpora)
    config = job.config
    if config.lora is not None and lora is None:
        _train_only_adapted(config, model)
    routes = tuple(dict.fromkeys(route.name for route in corpora.routes)) if source else ("general",)
    method = _Recording(recorder, model, routes)
    composition = Composition({recorder.kind: method}, method.terms, references={})
    training, plan, mixture = build_training(job, composition, model, corpora, console)
    save_config(job.dealt(corpora, mixture.planned.came_to).config, Layout(config.run_dir).config)
    start(training, plan, config.run_dir, resume, console)
    with training.stop.listening(console):
        run_loop(training)
    assert training.gradients.transforms[0] is recorder  # the only one of the first stage
    state = training.gradients.states[0]
    found = recorder.result(training, state)
    _stop_if_not_finite(found.statistic)
    digest = model_digest(config.model)
    manifest = {
        "kind": recorder.kind,
        "base": {
            "path": config.model.path.rstrip("/").split("/")[-1],
            "revision": config.model.revision,
            "digest": digest,
        },
        "corpus": {name: corpus.digest for name, corpus in corpora.sources.items()},
        "tokens": int(sum(v for k, v in training.data.progress().items() if k.startswith("trained_tokens/"))),
        "steps": training.total_steps,
        "seconds": round(training.seconds, 2),
        "forward_tokens": round(training.forwards),
        "dtype": config.model.dtype,
        "lora": config.lora.model_dump(mode="json") if config.lora is not None else None,
        "lora_scaling": model.lora_scaling,
        "settings": recorder.settings()
        | {
            "seed": config.seed,
            "batch_tokens": config.budget.batch_tokens,
            "sequence_length": config.data.sequence_length,
        }
        | ({"learning_rate": config.optimizer.learning_rate} if recorder.moves else {}),
        "facts": dict(found.facts),
        "versions": versions(),
    }
    covered = state if recorder.moves else training.weights.masters
    shapes = {name: tuple(tensor.shape) for name, tensor in covered.items()}
    return write_store(output, found.statistic, found.end, shapes, manifest)


@dataclass(frozen=True)
class _Recording(Method):
    """Cross-entropy on the text that is looked at, and the recorder before anything else sees its gradient."""

    recorder: Recorder
    model: CausalModel
    routes: tuple[str, ...]

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        return (RoutedTerm("cross_entropy", CrossEntropy(), self.routes),)

    def plan(self, context: PlanContext) -> Plan:
        return self.recorder.plan(self.model)


def _train_only_adapted(config: RunConfig, model: CausalModel) -> None:
    """Leaves a gradient to the matrices alone that ``lora`` would adapt, in a model without adapter."""
    assert config.lora is not None
    probe = empty_network(config.model)
    attach_lora(probe, config.lora)
    wanted = {f"{name}.weight" for name in adapted_layers(probe)}
    for name, parameter in model.network.named_parameters():
        parameter.requires_grad_(name in wanted)


def _stop_if_not_finite(statistic: Mapping[str, Tensor]) -> None:
    if bad := [name for name, tensor in statistic.items() if not bool(tensor.isfinite().all())]:
        raise NonFiniteError(
            f"The statistic of {len(bad)} of {len(statistic)} parameters is not finite ('{bad[0]}' first), so no store "
            "is written; a lower optimizer.learning_rate, or model.dtype: float32, helps."
        )
