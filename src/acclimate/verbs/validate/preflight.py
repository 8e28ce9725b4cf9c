"""Everything that can be checked without training, and the plan that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from acclimate.build import (
    Checks,
    Mixture,
    base_apart,
    build_loader,
    build_objective,
    check_selection,
    check_stores,
    check_vocabulary,
    checks_of,
    experts,
    metrics_read,
    mix,
    plan_of,
    resolve,
    validation_sets,
)
from acclimate.build.mixture import epochs
from acclimate.build.online.influence import kept_bytes
from acclimate.build.optimizer import parameter_groups
from acclimate.build.plan import anchored, compose
from acclimate.config.chosen.search import AUTO
from acclimate.config.load import RunConfig, located
from acclimate.config.lora_schema import LoraSection
from acclimate.data.chat.pieces import cuts
from acclimate.data.corpus import Corpora, Corpus, load_corpora
from acclimate.data.read.documents import Reader
from acclimate.model.load import empty_network, load_tokenizer
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.lora.coverage import Coverage, coverage, partial
from acclimate.model.lora.targets import targets_of
from acclimate.model.packing.sketch import Outlook, outlook
from acclimate.model.whole.chosen import train_only
from acclimate.model.whole.origin import origin_of
from acclimate.model.whole.towers import said_of_towers
from acclimate.runs.claim import check_place
from acclimate.runs.layout import Layout
from acclimate.types.errors import DataError
from acclimate.types.notebook import printed
from acclimate.types.plan import PlanContext
from acclimate.verbs.footprint import (
    Estimate,
    Fit,
    Work,
    changed,
    copies_of,
    estimate,
    fit_of,
    footprint,
    room_on,
    settled,
)
from acclimate.verbs.memory import Room
from acclimate.verbs.pace import usual_rate
from acclimate.verbs.replay import Unwritten, with_placeholders
from acclimate.verbs.search import Foresight, foresee
from acclimate.verbs.validate.cost import expert_notes, kept_states, regrouped, seconds, writing_seconds
from acclimate.verbs.validate.labels import turn_ends
from acclimate.verbs.validate.reading import read_as
from acclimate.verbs.validate.shown import ShownDocument, first_documents
from acclimate.verbs.validate.warnings import MAX_LEARNING_RATE, warnings

HIGH = 5
"""Times the usual learning rate of full tuning: what LoRA wants."""


@dataclass(frozen=True)
class Preflight:
    """What :func:`validate` found."""

    config: RunConfig
    data: dict[str, Any]  # as data.json of a run
    trained_parameters: int
    total_parameters: int
    memory: Estimate
    seconds: float
    warnings: list[str]
    turn_ends: list[str]  # a line for each way in which answers end
    read_as: list[str]  # a line for each way in which rows are read, where that is a choice
    reached: list[Coverage]  # by LoRA; empty under full tuning
    outlook: Outlook | None  # attention, and how documents lie, where that is known before the weights are read
    computed: float  # positions that a forward computes, over those of its packed rows
    checks: Checks | None  # how often held-out text is measured while training
    states_bytes: float  # of the base's states on that text, where drift is measured
    search: Foresight | None = None  # with method: auto, of whose configuration as it is written all else is
    unwritten: list[Unwritten] = field(default_factory=list)  # sources whose rows the base has still to write
    writing_seconds: float = 0.0
    fit: Fit | None = None  # into the memory that is free here, or of the GPU that was named
    shown: list[ShownDocument] = field(default_factory=list)  # as many of each source as were asked for

    def _repr_html_(self) -> str:
        """The plan as `acclimate validate` prints it."""
        from acclimate.verbs.validate.page import print_preflight

        return printed(lambda console: print_preflight(self, console))

    @property
    def memory_bytes(self) -> float:
        """At the run's peak."""
        return self.memory.total

    @property
    def attention(self) -> str:
        """As ``model.attention`` names it."""
        return self.outlook.attention if self.outlook is not None else self.config.model.attention


@located
def validate(config: RunConfig, show: int = 0, gpu: Room | None = None) -> Preflight:
    """Checks all that can be checked without training, down to each file and record.

    Args:
        show: documents of each source to keep in ``shown`` as the model reads them.
        gpu: whether it would fit there, in place of this machine.

    Raises:
        ConfigError, DataError, ModelError: what, where, and what would be accepted.
    """
    check_place(config)
    if config.method == AUTO:
        foreseen = foresee(config)
        return replace(_checked(foreseen.written, show, gpu), search=foreseen)
    return _checked(config, show, gpu)


def _checked(config: RunConfig, show: int, gpu: Room | None) -> Preflight:
    composition, asked_dtype = compose(config), config.model.dtype
    _check_paths(anchored(config, keep_missing=True))
    job = resolve(config, keep_missing=True)  # as a run does, which then finds what is indexed here
    config = job.config
    network = empty_network(config.model)
    towers = said_of_towers(network, origin_of(network).towers)
    tokenizer = load_tokenizer(config.model)
    new_tokens = tokenizer.convert_tokens_to_ids(config.model.add_tokens)
    train_only(network, config.model.train, bool(new_tokens))
    reached = _with_adapter(network, config.lora, new_tokens) if config.lora is not None else []
    total = network.num_parameters()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    readable, unwritten = with_placeholders(config)
    corpora = load_corpora(readable, tokenizer)
    check_vocabulary(corpora, tokenizer, network)
    for expert in [*experts(config, composition), *([apart] if (apart := base_apart(config)) else [])]:
        expert.check(config, tokenizer)
    check_selection(composition, corpora)
    check_stores(composition.statistics, config.model, network)
    objective = build_objective(config, composition.terms, corpora)
    mixture = mix(config, corpora, objective)
    plan = plan_of(config, composition, corpora, mixture, PlanContext())
    loader = build_loader(config, corpora, objective, mixture, None)  # packs, and refuses a batch smaller than a row
    foreseen = outlook(config.model, job.device)
    batches = loader.prepared()
    loader.close()
    alone = foreseen is not None and foreseen.alone is not None
    computed = regrouped(batches) if alone else 1.0
    validation_sets(config, corpora)
    checks, drifts = checks_of(config, corpora, mixture), metrics_read(config, plan)
    loaded = config.model.base is not None or config.parallel.strategy == "fsdp"  # else its states alone are kept
    references = {*composition.required_references, *("base" for metric in drifts if loaded)}
    states_bytes = kept_states(config, network, checks.panel if checks and drifts else 0)
    beside = sum(s.size for s in composition.statistics) + states_bytes
    beside += kept_bytes(config, plan, [p.numel() for p in network.parameters() if p.requires_grad])
    parameter_groups(config.optimizer, {n: p for n, p in network.named_parameters() if p.requires_grad}, network)
    copies = copies_of(config, [*references])
    work = Work(composition.terms, copies, len(batches) > 1, computed, alone, beside=beside)
    on_cpu, room = job.device.type == "cpu", room_on(job.device)
    config, found, chosen = settled(config, room, lambda trial: estimate(trial, network, work, on_cpu))
    fit = Fit(room, found.total)
    if gpu is not None:
        there = changed(job.config, {"model.dtype": "bfloat16"} if asked_dtype == "auto" else {})
        there, _, chosen = settled(there, gpu, lambda trial: footprint(trial, [*references], work))
        fit = fit_of(there, gpu, [*references], work)
    elif not fit.fits:
        fit = fit_of(config, room, [*references], work, job.device.type)
    notes = [
        *towers,
        *plan.notes,
        *([chosen] if chosen is not None else []),
        *warnings(config, composition, corpora, mixture, tokenizer),
        *expert_notes(config, network),
    ]
    usual, rate = usual_rate(total, lora=False), config.optimizer.learning_rate
    if config.lora is None and HIGH * usual <= rate <= MAX_LEARNING_RATE:
        notes.append(
            f"optimizer.learning_rate is {rate:g} for full tuning, where {usual:g} is usual for {total:,} parameters; "
            "it suits LoRA, and all weights drift far at it."
        )
    if (said := partial(reached)) is not None:
        notes.append(said)
    if config.model.base is not None:
        size = total * (2 if config.model.dtype == "bfloat16" else 4) / 2**30
        when = "from the first step on" if "base" in references else "after training, to measure"
        notes.append(
            f"model.base: KL and drift are measured against '{config.model.base}', and training starts from "
            f"'{config.model.path}': the base is a second network, in memory {when} (about {size:.2g} GiB)."
        )
    if composition.selection is not None:
        notes.append(
            "which labels the method masks is known after a forward of the base; tokens, steps and times are counted "
            "as if it masked none."
        )
    if Layout(config.run_dir).config.exists():
        notes.append(f"the run '{config.run_dir}' exists; `acclimate train` wants --resume or another name.")
    return Preflight(
        config=config,
        data=data_record(config, corpora, mixture),
        trained_parameters=trained,
        total_parameters=total,
        memory=found,
        fit=fit,
        seconds=seconds(config, job.device, network, mixture, total) * computed,
        warnings=notes,
        turn_ends=turn_ends(corpora),
        read_as=read_as(corpora),
        shown=first_documents(_without(corpora, unwritten), tokenizer, show) if show else [],
        outlook=foreseen,
        computed=computed,
        checks=checks,
        states_bytes=states_bytes,
        reached=reached,
        unwritten=unwritten,
        writing_seconds=writing_seconds(config, job.device, network, unwritten, total),
    )


def _without(corpora: Corpora, unwritten: Sequence[Unwritten]) -> Corpora:
    """Without sources whose documents are placeholders."""
    names = {source.name for source in unwritten}
    return replace(corpora, sources={n: corpus for n, corpus in corpora.sources.items() if n not in names})


def _check_paths(config: RunConfig) -> None:
    """That every local path of every source leads to files, before anything slow and before the network is asked.

    Raises:
        DataError: a sentence for each source whose path does not.
    """
    wrong = []
    for name, section in config.sources.items():
        remote = any("://" in path or section.is_hub_id(path) for path in section.paths)
        if section.is_self or remote:
            continue
        try:
            Reader(name, section)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("\n".join(wrong))


def _with_adapter(network: Any, section: LoraSection, new_tokens: Sequence[int]) -> list[Coverage]:
    """Puts it on, and says what it reaches."""
    left_out = {} if section.experts is None else targets_of(network, section).left_out
    attach_lora(network, section, new_tokens)
    return coverage(network, left_out)


def _shape(corpus: Corpus, sequence_length: int) -> dict[str, Any]:
    if corpus.stream:
        return dict.fromkeys(("cut_documents", "cut_labels", "cut_prompts", "control_documents", "control_bytes"))
    found, control = cuts(corpus.train, sequence_length), np.concatenate([corpus.train.control, corpus.heldout.control])
    return {
        "cut_documents": found.documents,
        "cut_labels": found.labels,
        "cut_prompts": found.prompts,
        "control_documents": int((control > 0).sum()),
        "control_bytes": int(control.sum()),
    }


def data_record(config: RunConfig, corpora: Corpora, mixture: Mixture) -> dict[str, Any]:
    """``data.json``: documents, tokens, dropped rows with reasons, share and epochs of each source, how its rows are
    read where that is a choice, what they carry that is not read, the part of its labels that the method masks; what
    rows cut, control tokens in the text; overlap; trained tokens by source and part of the run, where shares move; what
    measuring while training costs.

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
            "heldout_groups": len(set(corpus.groups)),
            "heldout_overlapping": int(corpus.overlapping.sum()),
            "heldout_left_out": corpus.left_out,
            "tokens": None if corpus.stream else corpus.train.tokens + corpus.heldout.tokens,
            "trained_tokens": mixture.trained_tokens.get(name, 0),
            "share": mixture.shares.get(name, 0.0),
            "epochs": epochs(config, mixture, name) if name in mixture.shares else 0.0,
            "dropped": corpus.dropped,
            "unread": list(corpus.unread),
            "read_as": list(corpus.read_as),
            "masked": corpus.mask.part if corpus.mask else 0.0,
            **_shape(corpus, config.data.sequence_length),
        }
    checks = checks_of(config, corpora, mixture)
    return {
        "sources": sources,
        "overlap": [vars(row) for row in corpora.overlap],
        "steps": mixture.total_steps,
        **({"schedule": mixture.stages} if mixture.schedule.moving else {}),
    } | ({"checks": vars(checks) | {"count": checks.count, "part": checks.part}} if checks is not None else {})
