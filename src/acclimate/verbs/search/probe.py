"""A probe: the final run in small, an ordinary run in RUN/search/NAME that is judged by its validation documents."""

from __future__ import annotations

from statistics import fmean
from typing import Protocol

from rich.console import Console

from acclimate.config.load import RunConfig, parse_config
from acclimate.parallel.world import World
from acclimate.runs.layout import Layout, read_json
from acclimate.runs.scores import last_line
from acclimate.training.control.retention import SPENT
from acclimate.types.errors import NonFiniteError, PeerError
from acclimate.verbs.compare.execute import forget_model
from acclimate.verbs.search.candidate import Candidate, plain
from acclimate.verbs.search.rule import Found, probe_rate


class Train(Protocol):
    """:func:`acclimate.verbs.run.train`."""

    def __call__(self, config: RunConfig, resume: bool, console: Console | None) -> object: ...


def probe_config(config: RunConfig, candidate: Candidate, name: str, steps: int, total: int) -> RunConfig:
    """The candidate's run in ``steps`` of ``total`` steps: its whole schedule, at a learning rate for that length.

    It is measured once, after its last step, on the documents that choices look at; of those that reports are made of
    one is measured, which nobody looks at, because a run measures some.
    """
    data = plain(config, candidate).model_dump(mode="json")
    data |= {"name": name, "output_dir": str(Layout(config.run_dir).search), "report_to": []}
    data["budget"] |= {"tokens": None, "epochs": None, "steps": steps}
    data["optimizer"]["learning_rate"] = probe_rate(candidate.learning_rate, steps, total)
    if (warmup := config.schedule.warmup_steps) is not None:
        data["schedule"]["warmup_steps"] = round(warmup * steps / total)
    data["training"] |= {"eval_steps": steps, "patience": None, "on_budget_exceeded": "warn"}
    data["retain"]["rescale"] = False
    data["evaluation"] |= {"documents": 1, "generations": 0, "memorisation_documents": 0}
    return parse_config(data, config.places)


def probed(
    train: Train,
    config: RunConfig,
    candidate: Candidate,
    steps: int,
    world: World,
    console: Console | None,
) -> Found:
    """Trains the probe, or goes on where it was stopped, and says what it showed; its weights are not kept."""
    run = Layout(config.run_dir)
    diverged = False
    if not run.summary.is_file():
        try:
            train(config, resume=True, console=console)
        except (NonFiniteError, PeerError) as error:
            diverged = any(world.gather(isinstance(error, NonFiniteError)))
            if not diverged:
                raise
    with world.all_or_none():
        found = _found(run, config, candidate, steps, diverged)
    with world.all_or_none():
        if world.is_main:
            forget_model(config.run_dir)
    return found


def _found(run: Layout, config: RunConfig, candidate: Candidate, steps: int, diverged: bool) -> Found:
    record, line = read_json(run.provenance), last_line(run.metrics)
    costs = (float(record.get("forward_tokens", 0.0)), float(record.get("train_seconds", 0.0)))
    if diverged:
        return Found(config.name, candidate, steps, "diverged", None, None, *costs)
    domain = [source for source, about in read_json(run.data)["sources"].items() if about["role"] == "domain"]
    changes = [line[key] for source in domain if (key := f"eval/{source}/change_percent") in line]
    steered = config.retain is not None and config.retain.steer
    return Found(config.name, candidate, steps, "finished", -fmean(changes), line[SPENT], *costs, steered)
