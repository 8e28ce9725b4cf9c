"""The demo: one real model, tuned four ways on the same domain tokens, measured against its base."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from acclimate.config.load import RunConfig, parse_config
from acclimate.demo.corpora import DemoData, prepare
from acclimate.measurement.summary import Record
from acclimate.reports import collect, summary_table, write_page
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.layout import Layout, write_json
from acclimate.verbs.result import RunResult
from acclimate.verbs.run import train

SELF = "self"
RUNS = ("sft", "replay", "mol", SELF)
"""By method; ``self`` is mol without any general text but what the base writes, under a forgetting budget."""
OWN = "own"
"""The source of the rows that the base writes."""


@dataclass(frozen=True)
class Size:
    """How much of everything; quick takes the same path with less."""

    domain_tokens: int
    batch_tokens: int
    learning_rates: tuple[float, ...]
    domain_documents: int
    general_documents: int
    heldout: dict[str, int]  # of each source, for reports
    validation: int  # of each source, for choices
    evaluations: int  # during training
    generations: int
    new_tokens: int  # of each
    own_tokens: int  # that the base writes
    budget: float  # of forgetting, nats a token


HELD_OUT = {"medical": 64, "general": 32, "chat": 48, OWN: 48}
HELD_OUT_QUICK = {"medical": 16, "general": 8, "chat": 8, OWN: 8}
FULL = Size(16_000, 512, (1e-4, 2e-4, 5e-4), 400, 300, HELD_OUT, 16, 8, 6, 40, 16_000, 0.1)
QUICK = Size(2_560, 256, (2e-4, 5e-4), 150, 100, HELD_OUT_QUICK, 4, 2, 1, 16, 2_000, 0.1)


def run_demo(output: Path, quick: bool, seeds: int, console: Console) -> list[RunResult]:
    """Runs sft, replay, and mol twice, at equal domain tokens, and writes table, summary.json and report.html.

    The learning rate is chosen once, by sft's held-out domain text alone, and used for all. Runs that are finished
    are not repeated; an interrupted demo continues with the run that is missing.
    """
    size = QUICK if quick else FULL
    cache = Path("~/.cache/acclimate").expanduser()
    data = prepare(cache, quick, say=lambda line: console.print(line, highlight=False))
    learning_rate = _choose_learning_rate(data, size, output, console)
    results = []
    for seed in range(seeds):
        for run in RUNS:
            console.rule(f"{run}, seed {seed}")
            config = demo_config(data, size, output, f"{run}-{seed}", run, learning_rate, seed)
            results.append(train(config, resume=True, console=console))
    folders = [result.run_dir for result in results]
    write_summary(Layout(output).summary, _together(results))
    runs = collect(folders)
    write_page(runs, Layout(output).report, title=f"{data.model.name} adapted to medical definitions")
    console.print(summary_table(runs, console.width))
    console.print(f"Open {Layout(output).report}", highlight=False, soft_wrap=True)
    return results


def demo_config(
    data: DemoData, size: Size, output: Path, name: str, run: str, learning_rate: float, seed: int
) -> RunConfig:
    """The same configuration for every run but for its method, and for ``self`` its general text and budget."""
    steps = math.ceil(size.domain_tokens / size.batch_tokens)
    sources: dict[str, Any] = {
        "medical": {
            "path": str(data.domain), "share": 0.5, "route": "domain", "max_documents": size.domain_documents
        },
        "general": {
            "path": str(data.general), "share": 0.25, "route": "general", "max_documents": size.general_documents
        },
        "chat": {"path": str(data.chat), "share": 0.25, "route": "general"},
    }  # fmt: skip
    own: dict[str, Any] = {"method": run}
    if run == SELF:
        for given in ("general", "chat"):  # measured as in the other runs, and nothing else
            sources[given]["share"] = 0
        replay = {"tokens": size.own_tokens, "max_new_tokens": 192}
        sources[OWN] = {"path": "self", "route": "general", "share": 0.5, "replay": replay}
        own = {"method": "mol", "retain": {"kl": {OWN: size.budget}}}
    sources = {
        source: section | {"heldout": size.heldout[source] + size.validation} for source, section in sources.items()
    }
    return parse_config(
        {
            "name": name,
            "output_dir": str(output),
            "seed": seed,
            "model": {"path": str(data.model)},
            **own,
            "sources": sources,
            "budget": {"count": "medical", "tokens": size.domain_tokens, "batch_tokens": size.batch_tokens},
            "optimizer": {"learning_rate": learning_rate},
            "schedule": {"type": "cosine", "warmup_ratio": 0.1},
            "data": {"sequence_length": 256},
            "training": {"micro_batch_size": 4, "eval_steps": math.ceil(steps / size.evaluations)},
            "evaluation": {
                "validation_documents": size.validation,
                "memorisation_documents": size.heldout["medical"],
                "generations": size.generations,
                "max_new_tokens": size.new_tokens,
            },
        }
    )


def _choose_learning_rate(data: DemoData, size: Size, output: Path, console: Console) -> float:
    """The candidate whose sft run has the lowest bits per byte on held-out domain text."""
    console.rule("choosing the learning rate by sft alone")
    found: dict[float, float] = {}
    for learning_rate in size.learning_rates:
        config = demo_config(data, size, output / "trials", f"lr-{learning_rate:g}", "sft", learning_rate, seed=0)
        quiet = {
            "data": config.data.model_copy(update={"split": "validation"}),
            "sources": {"medical": config.sources["medical"]},
            "training": config.training.model_copy(update={"eval_steps": None}),
            "evaluation": config.evaluation.model_copy(update={"generations": 0, "memorisation_documents": 0}),
        }
        trial = config.model_copy(update=quiet)
        if Layout(trial.run_dir).summary.is_file():
            result = RunResult(trial.run_dir, read_summary(Layout(trial.run_dir).summary))
        else:
            result = train(trial, resume=True, console=console)
            shutil.rmtree(Layout(result.run_dir).model, ignore_errors=True)  # a trial's weights are never used again
        found[learning_rate] = next(r["value"] for r in result.summary if r["run"] == "sft")
    best = min(found, key=lambda rate: found[rate])
    shown = ", ".join(f"{rate:g}: {bits:.3f}" for rate, bits in found.items())
    console.print(f"Held-out domain bits per byte of sft by learning rate: {shown}; chosen: {best:g}", highlight=False)
    write_json(output / "trials" / "trials.json", {"bits_per_byte": found, "chosen": best})
    return best


def _together(results: list[RunResult]) -> list[Record]:
    """Every run's records; the base, which all runs of a seed measure on the same documents, once a seed."""
    rows: dict[tuple[Any, ...], Record] = {}
    for result in results:
        for record in result.summary:
            own = SELF if result.run_dir.name.startswith(SELF) and record["run"] != "base" else record["run"]
            rows[own, record["seed"], record["set"], record["metric"]] = record | {"run": own}
    return list(rows.values())
