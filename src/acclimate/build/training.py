"""Everything the loop needs, at step 0: objective, data stream, weights, optimizer, callbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from acclimate.build.heldout.budget import retention
from acclimate.build.heldout.checks import checks_of, groups_of, measured_sets
from acclimate.build.heldout.endings import endings
from acclimate.build.job import Job
from acclimate.build.mixture import Mixture, anchor_ramp, mix
from acclimate.build.models import check_vocabulary, load_references
from acclimate.build.online.alignment import alignment_of
from acclimate.build.online.influence import credit_of, influence_of
from acclimate.build.online.moved import online_weights
from acclimate.build.online.notes import online_notes
from acclimate.build.optimizer import OPTIMIZERS, build_optimizer, parameter_groups
from acclimate.build.plan import Composition, build_plan
from acclimate.build.sharded import Sharding
from acclimate.build.stores import check_stores
from acclimate.config.load import RunConfig
from acclimate.data.chat.rendering import special_tokens
from acclimate.data.corpus import Corpora, Corpus
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import PackedSource
from acclimate.data.deal.passes import Passes, RowSource
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import Delayed, DialledShares, Shares, share_dials
from acclimate.data.deal.stream import StreamedRows
from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.model.causal import CausalModel
from acclimate.model.load import DTYPES
from acclimate.model.mixture.routing import balance_weight
from acclimate.model.reference import Reference
from acclimate.objective.objective import Objective
from acclimate.paired.metrics import of_drift
from acclimate.parallel.world import SOLO, World
from acclimate.runs.layout import Layout
from acclimate.training.callbacks.log import MetricsLog, TensorBoard
from acclimate.training.callbacks.notebook import NotebookProgress, in_notebook
from acclimate.training.callbacks.progress import ProgressBar
from acclimate.training.callbacks.save import InsideBudget, Lowest, Save, Watch
from acclimate.training.callbacks.trackers import Tracked, Tracking
from acclimate.training.control.budget import Budget
from acclimate.training.control.retention import Retention
from acclimate.training.probe import NET_CHANGE, Probe
from acclimate.training.schedule import factor
from acclimate.training.training import Training
from acclimate.training.weights import Weights
from acclimate.types.batch import Bounds
from acclimate.types.central import Batch, Callback, RoutedTerm
from acclimate.types.dials import Controller, dials_of
from acclimate.types.errors import ConfigError, listed
from acclimate.types.plan import Plan, PlanContext
from acclimate.types.stream import GradientTaker, Stream


def build_training(
    job: Job,
    composition: Composition,
    model: CausalModel,
    corpora: Corpora,
    console: Console,
) -> tuple[Training, Plan, Mixture]:
    """Everything the loop needs, at step 0. With ``parallel.strategy: fsdp`` it spreads ``model`` over the ranks.

    Args:
        composition: what to learn; the methods of the configuration, unless something else uses the loop.
    """
    config, world = job.config, job.world
    check_vocabulary(corpora, model.tokenizer, model.network)
    check_stores(composition.statistics, config.model, model.network)
    described = build_objective(config, composition.terms, corpora, world)
    mixture = mix(config, corpora, described)
    context = PlanContext(model.lora_scaling, lora_experts=model.lora_experts)
    plan = plan_of(config, composition, corpora, mixture, context)
    moved = Delayed(mixture.first) if plan.moves_shares else None
    sharding = Sharding.of(config, world, job.device)
    references = load_references(config, composition, plan, model, sharding)
    if sharding is not None:  # what was loaded whole
        for network in {id(m): m for m in (model, *(reference.model for reference in references.values()))}.values():
            sharding.spread(network)
    probe = _probe(config, plan, corpora, mixture, references, model, world)
    balance = balance_weight(model.network, config.objective.router_aux_loss)
    expected = mixture.expected if moved is None else mixture.expected_of(moved)
    objective = replace(described, references=references, expected=expected, balance=balance)
    pad_id = model.tokenizer.pad_token_id
    if pad_id is not None and pad_id >= model.vocabulary:
        pad_id = None  # a token that was added for padding alone has no embedding
    loader = build_loader(config, corpora, objective, mixture, pad_id, world, moved, model)
    kind = OPTIMIZERS[config.optimizer.name]
    weights = Weights(model.trainable(), masters=kind.masters)
    chain = Chain([*plan.transforms, ClipNorm(config.optimizer.max_grad_norm)], weights.masters)
    for name, taker in (plan.takes or {}).items():
        hand_over(model.network.get_parameter(name), taker)
    data: Stream = Prefetch(loader)
    dialled = DialledShares(moved, data) if moved is not None else None
    total = mixture.total_steps
    groups = parameter_groups(config.optimizer, weights.masters, model.network)
    optimizer = build_optimizer(config.optimizer, weights.masters, groups, plan.frozen)
    budget = budget_in(plan)

    def say(note: str) -> None:
        console.print(f"Note: {note}", style="yellow", highlight=False, markup=False)

    ends = endings(config, corpora, budget, probe, weights, optimizer, total, say)
    section = config.training
    callbacks: list[Callback] = [
        *ends.first,
        *plan.callbacks,
        *(_watchers(config, console, total, budget) if world.is_main else ()),
        Save(
            config.run_dir,
            section.save_steps,
            section.keep_last,
            _watch(config, corpora),
            world,
            say,
            behind=section.save_in_background,
        ),
        *ends.last,
    ]
    training = Training(
        model=model,
        objective=objective,
        data=plan.batches(data) if plan.batches is not None else data,
        weights=weights,
        gradients=chain,
        optimizer=optimizer,
        learning_rate=lambda step: (
            0.0 if plan.frozen else config.optimizer.learning_rate * factor(step, total, config.schedule) * ends.rate
        ),
        total_steps=total,
        document_name=corpora.document_name,
        update_scale=plan.update_scale,
        dials=dials_of((*composition.terms, *plan.transforms)) | (dialled.dials if dialled is not None else {}),
        alignment=alignment_of(config, corpora, objective, plan) or influence_of(config, corpora, objective, plan),
        probe=probe,
        controllers=(*plan.controllers, *([dialled] if dialled is not None else [])),
        callbacks=callbacks,
        kept=ends.kept,
        world=world,
    )
    torch.manual_seed(config.seed + world.rank)  # ranks drop other units
    return training, plan, mixture


def plan_of(
    config: RunConfig, composition: Composition, corpora: Corpora, mixture: Mixture, context: PlanContext
) -> Plan:
    """What the methods add to the run, and the forgetting budget.

    Args:
        context: what only a loaded model tells.

    Raises:
        ConfigError: two methods want one slot, the budget is of no set, or shares would be moved twice.
    """
    budgeted = config.retain is not None
    context = replace(
        context,
        total_steps=mixture.total_steps,
        strength=composition.strength,
        budgeted=budgeted,
        shares=mixture.first,
    )
    plan = build_plan(composition, context)
    online = config.mixture is not None and config.mixture.online is not None
    if plan.moves_shares and (mixture.schedule.moving or mixture.planned.first is not None or online):
        raise ConfigError(
            f"method: '{composition.name}' moves the shares of the sources while training, which follow a schedule "
            f"already{' (mixture)' if online else ''}; give each source one share."
        )
    if mixture.planned.first is not None:
        ramp = anchor_ramp(config, corpora, mixture)
        plan = replace(plan, controllers=(*plan.controllers, ramp), moves_shares=True)
    if online:
        moved = online_weights(config, mixture)
        notes = (*plan.notes, *online_notes(config, composition, corpora, mixture, moved))
        credit = credit_of(config, corpora, moved.sources, mixture.total_steps)  # before what reads it
        controllers: tuple[Controller, ...] = (*plan.controllers, *([credit] if credit is not None else []), moved)
        plan = replace(plan, controllers=controllers, moves_shares=True, notes=notes)
    if plan.moves_shares:
        share_dials(context.shares)  # refuses those that no dial can begin at
    if not budgeted:
        return plan
    kept = retention(config, composition, corpora, context.total_steps)
    return replace(plan, controllers=(*plan.controllers, kept))


def budget_in(plan: Plan) -> Budget | None:
    """The run's forgetting budget."""
    return next((one.budget for one in plan.controllers if isinstance(one, Retention)), None)


def metrics_read(config: RunConfig, plan: Plan) -> list[str]:
    """What controllers want to know of held-out text beyond bits per byte.

    Raises:
        ConfigError: nothing measures it.
    """
    reads = [(controller.name, metric) for controller in plan.controllers for metric in controller.reads]
    for name, metric in reads:
        if metric not in of_drift():
            raise ConfigError(f"method: '{name}' reads '{metric}'; accepted: {listed(of_drift())}.")
        if config.training.eval_steps is None:
            raise ConfigError(
                f"method: '{name}' is guided by the {metric} of held-out text while training, which nothing measures; "
                "set training.eval_steps."
            )
    return list(dict.fromkeys(metric for _, metric in reads))


def _probe(
    config: RunConfig,
    plan: Plan,
    corpora: Corpora,
    mixture: Mixture,
    references: Mapping[str, Reference],
    model: CausalModel,
    world: World,
) -> Probe | None:
    """What measures while training, as often as is wanted."""
    metrics, checks = metrics_read(config, plan), checks_of(config, corpora, mixture)
    if checks is None:
        return None
    sets = {name: (corpora.sources[name].role, rows) for name, rows in measured_sets(config, corpora).items()}
    special, groups = list(special_tokens(model.tokenizer)), None
    if config.retain is not None:
        groups = {name: groups_of(corpora.sources[name]) for name in sets}
    return Probe(checks.every, sets, special, model, world, metrics, references.get("base"), groups)


def _watch(config: RunConfig, corpora: Corpora) -> Watch:
    """By what the best of measured weights are known."""
    if config.retain is None:
        return Lowest(NET_CHANGE)
    return InsideBudget(tuple(name for name, corpus in corpora.sources.items() if corpus.role == "domain"))


def hand_over(parameter: torch.nn.Parameter, taker: GradientTaker) -> None:
    """After each backward ``taker`` gets the gradient, and the parameter is without one."""

    def take(parameter: torch.nn.Parameter) -> None:
        assert parameter.grad is not None
        taker(parameter.grad)
        parameter.grad = None

    parameter.requires_grad_(True)  # a frozen one is not among the trained: its gradient is looked at, nothing else
    parameter.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]


def build_objective(
    config: RunConfig,
    terms: Sequence[RoutedTerm],
    corpora: Corpora,
    world: World = SOLO,
) -> Objective:
    """Of these terms, without the references that they compare with, which are loaded when it is known what is."""
    return Objective(
        terms,
        corpora.routes,
        {},
        normalise=config.objective.normalise,
        average=config.objective.average,
        logits_dtype=DTYPES[config.objective.logits_dtype],
        chunk_tokens=None if config.objective.chunk_tokens == "auto" else config.objective.chunk_tokens,
        world=world,
    )


def build_loader(
    config: RunConfig,
    corpora: Corpora,
    objective: Objective,
    mixture: Mixture,
    pad_id: int | None,
    world: World = SOLO,
    moved: Shares | None = None,
    model: CausalModel | None = None,
) -> Loader:
    """This rank's stream of micro-batches, at its beginning.

    Args:
        moved: shares that are given while training, in place of the mixture's own.
        model: that will compute them; what it and the objective ask of a micro-batch is then found by the loader.
    """

    def ahead(batch: Batch) -> None:
        objective.assign_ahead(batch)
        if model is not None and model.wants_bounds:
            batch.bounds = Bounds.of(batch.position_ids)

    return Loader(
        Mixer(
            {n: rows_of(config, corpora.sources[n], objective.active, mixture.row_lengths[n]) for n in mixture.shares},
            moved or mixture.schedule,
        ),
        config.budget.count,
        config.budget.batch_tokens,
        config.training.micro_batch_size,
        objective.compares,
        pad_id if pad_id is not None else 0,
        world.rank,
        world.size,
        mixture.total_steps,
        mixture.goal,
        world.all_or_none,
        whole_rows=model is not None and model.device.type == "cuda" and model.alone is None,
        ahead=None if model is None else ahead,
    )


def rows_of(config: RunConfig, corpus: Corpus, active: NDArray[np.bool_], row_length: int) -> RowSource:
    length, seed = config.data.sequence_length, config.seed
    if corpus.stream is not None:
        return StreamedRows(corpus.stream, length, active, seed, row_length)
    return Passes(
        PackedSource(corpus.train, corpus.name, length, active, seed, corpus.first_document_id, row_length=row_length)
    )


def _watchers(config: RunConfig, console: Console, total_steps: int, budget: Budget | None) -> list[Callback]:
    """What writes and prints metrics: on one rank only."""
    run, settings = Layout(config.run_dir), config.model_dump(mode="json")
    return [
        MetricsLog(run.metrics),
        *(
            TensorBoard(run.tensorboard)
            if name == "tensorboard"
            else Tracking(name, Tracked(config.name, run.path, settings), console)
            for name in dict.fromkeys(config.report_to)
        ),
        NotebookProgress(config.name, total_steps)
        if in_notebook()
        else ProgressBar(console, config.name, total_steps, budget),
    ]
