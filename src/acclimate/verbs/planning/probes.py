"""Short runs that tell a law's parameters apart: chosen, counted, trained or gone on with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from acclimate.build.plan import anchored, compose
from acclimate.config.chosen.search import AUTO
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.data.deal.mix import resolve_shares
from acclimate.laws.anchored import drift_forms, gain_forms
from acclimate.laws.competing import FARTHEST
from acclimate.model.load import load_tokenizer, resolve_device
from acclimate.model.packing.sketch import outlook
from acclimate.parallel.launch import launched_processes
from acclimate.runs.layout import Layout
from acclimate.types.errors import ConfigError, UsageError
from acclimate.verbs.compare.execute import forget_model
from acclimate.verbs.planning.design import choose_runs
from acclimate.verbs.planning.predictions import Setting
from acclimate.verbs.planning.reading.settings import role_of, weight_of
from acclimate.verbs.replay import with_placeholders
from acclimate.verbs.run import train
from acclimate.verbs.search.candidate import with_share
from acclimate.verbs.search.forwards import Forwards
from acclimate.verbs.search.rungs import SHORTEST

MOST = 6
"""Runs."""
SHARES = (0.25, 0.5, 0.75, 0.9)
"""Of the domain, that a probe may have."""
FACTORS = (0.5, 1.0, 2.0)
"""Of the configured learning rate."""
LENGTHS = (0.25, 0.5, 1.0)
"""Of the longest probe, which is so long that laws still say something of the whole run."""
SPARE = 1.1
"""Times that length, since a run's last row ends it sooner or later."""


@dataclass(frozen=True)
class Probes:
    """Runs that are to be trained, and what they cost.

    Args:
        configs: one for each.
        forwards: tokens through the network of all of them, a backward counting as two.
        run_forwards: the same of the run as it is configured.
        tokens: of the domain, of that run.
    """

    configs: tuple[RunConfig, ...]
    settings: tuple[Setting, ...]
    forwards: float
    run_forwards: float
    tokens: float

    @property
    def says(self) -> list[str]:
        """What is done, and what that costs, in sentences."""
        return [
            f"{len(self.configs)} probes take {self.forwards:,.0f} forwards (tokens through the network, a backward "
            f"counting as two), {self.forwards / self.run_forwards:.2f} of one run as it is configured "
            f"({self.run_forwards:,.0f}):",
            *(f"  {setting}" for setting in self.settings),
        ]


def foresee(config: RunConfig) -> Probes:
    """The probes of a configuration; nothing is trained.

    Raises:
        UsageError: several processes, or `method: auto`.
        ConfigError: the run is too short for probes, or has no source of the domain.
        DataError, ModelError: as a run.
    """
    if launched_processes() > 1:
        raise UsageError(f"--probe trains in one process, and this is one of {launched_processes()}.")
    if config.method == AUTO:
        raise UsageError(
            "--probe: method: auto chooses its own setting by probes; name the method that is planned for."
        )
    config = anchored(config)
    roles = {name: role_of(config, name) for name, one in config.sources.items() if one.share != 0}
    if "domain" not in roles.values():
        raise ConfigError("sources: none is of the domain, so there is nothing to learn; give one the route domain.")
    quiet = _measured_alone(config)
    tokenizer = load_tokenizer(config.model)
    corpora, own = (load_corpora(with_placeholders(one)[0], tokenizer) for one in (quiet, config))
    device = torch.device("cpu") if config.model.device == "cpu" else resolve_device(config.model)
    foreseen = outlook(config.model, device)
    alone = foreseen is not None and foreseen.alone is not None
    run = Forwards(quiet, own, 1, alone)
    whole = _share(config)
    tokens = run.tokens * (1.0 if config.budget.count != "all" else whole)
    mixed = any(role != "domain" for role in roles.values()) and not _learns_alone(config)
    settings = _chosen(config, run.steps, tokens, whole if not mixed else None)
    configs = tuple(_probe(config, setting, steps, run.steps, mixed) for setting, steps in settings)
    cost = sum(Forwards(one, corpora, 1, alone).of(steps) for one, (_, steps) in zip(configs, settings, strict=True))
    return Probes(configs, tuple(setting for setting, _ in settings), cost, run.of(run.steps), tokens)


def probed(probes: Probes, console: Console) -> list[Path]:
    """Trains what is not finished, and gives the run folders; their weights are not kept.

    A probe that was stopped goes on from its last checkpoint, where `training.save_steps` keeps some.
    """
    for number, (config, setting) in enumerate(zip(probes.configs, probes.settings, strict=True), 1):
        if not Layout(config.run_dir).summary.is_file():
            console.rule(f"probe {number} of {len(probes.configs)}: {setting}")
            train(config, resume=True, console=console)
        forget_model(config.run_dir)
    return [config.run_dir for config in probes.configs]


def _chosen(config: RunConfig, total: int, tokens: float, only: float | None) -> list[tuple[Setting, int]]:
    """Settings with their steps, that tell most of the laws that a plan fits."""
    longest = math.ceil(SPARE * total / FARTHEST)
    lengths = sorted({max(SHORTEST, round(part * longest)) for part in LENGTHS})
    if longest < SHORTEST + 1 or len(lengths) < 2:
        raise ConfigError(
            f"budget: a probe may have {longest} steps, a {FARTHEST:g}th of the run's {total}, and two lengths from "
            f"{SHORTEST} steps on are needed; give the run more steps (a smaller budget.batch_tokens)."
        )
    shares = SHARES if only is None else (only,)
    rate, weight = config.optimizer.learning_rate, weight_of(config)
    grid = list(itertools.product(shares, (factor * rate for factor in FACTORS), lengths))
    columns = {
        "share": np.array([share for share, _, _ in grid]),
        "weight": np.full(len(grid), weight),
        "rate": np.array([value for _, value, _ in grid]),
        "tokens": np.array([tokens * steps / total for _, _, steps in grid]),
    }
    varied = {"rate", "tokens", *(() if only is not None or weight == 0 else ("share",))}
    rows = choose_runs(columns, [*drift_forms(varied), *gain_forms(varied)], MOST)
    return [(Setting(grid[row][0], grid[row][1], columns["tokens"][row], weight), grid[row][2]) for row in rows]


def _probe(config: RunConfig, setting: Setting, steps: int, total: int, mixed: bool) -> RunConfig:
    """The run in small: its whole schedule, measured once, on documents that no report uses."""
    data = _measured_alone(config).model_dump(mode="json")
    share = f"{100 * setting.share:g}-percent-" if mixed else ""
    data |= {
        "name": f"{share}rate-{setting.learning_rate:g}-{steps}-steps",
        "output_dir": str(config.run_dir.with_name(f"{config.name}-probes")),
    }
    data["budget"] |= {"tokens": None, "epochs": None, "steps": steps}
    data["optimizer"]["learning_rate"] = setting.learning_rate
    if (warmup := config.schedule.warmup_steps) is not None:
        data["schedule"]["warmup_steps"] = round(warmup * steps / total)
    if mixed:
        for name, value in with_share(config.sources, setting.share).items():
            data["sources"][name]["share"] = value
    return parse_config(data, config.places)


def _measured_alone(config: RunConfig) -> RunConfig:
    """Without what watches or chooses while training, and on validation documents."""
    data = config.model_dump(mode="json")
    data |= {"report_to": [], "retain": None, "search": None}
    data["training"] |= {"eval_steps": None, "patience": None, "on_budget_exceeded": "warn", "final": "last"}
    data["data"]["split"] = "validation"
    data["evaluation"] |= {"generations": 0, "memorisation_documents": 0, "validation_documents": 0}
    return parse_config(data, config.places)


def _share(config: RunConfig) -> float:
    """The domain's, as configured."""
    shares = resolve_shares({name: one for name, one in config.sources.items() if one.share != 0})
    return math.fsum(share for name, share in shares.items() if role_of(config, name) == "domain")


def _learns_alone(config: RunConfig) -> bool:
    """Whether the method learns from the domain and nothing else, so that shares are nothing to it."""
    routes: Sequence[str] = [route for routed in compose(config).terms for route in routed.routes]
    return all(route == "domain" for route in routes)
