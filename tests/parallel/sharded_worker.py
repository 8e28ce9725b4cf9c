"""One of two ranks: trains each case twice, read in parts and loaded whole before it is spread, and compares shards.

WORLD_SIZE=2 RANK=r python -m tests.parallel.sharded_worker MODELS CORPORA OUTPUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file

from acclimate.build import build_training, load_model, resolve, select_labels
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.parallel.shard import is_sharded, local, whole
from acclimate.parallel.world import SOLO, World, join
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from tests.fixtures.ranks import leave_together
from tests.fixtures.runs import settings

CASES: dict[str, dict[str, Any]] = {
    "tied mol": {},
    "untied sft": {"model": {"path": "untied"}, "method": "sft"},
    "tied lora": {"lora": {"rank": 4}},
    "bfloat16": {"model": {"path": "untied", "dtype": "bfloat16"}},
    "bfloat16 lora": {"model": {"path": "untied", "dtype": "bfloat16"}, "lora": {"rank": 4}},
    "experts": {"model": {"path": "qwen3_moe"}},
    "experts sft": {"model": {"path": "qwen3_moe"}, "method": "sft"},
    "experts in one stack": {"model": {"path": "gpt_oss", "dtype": "bfloat16"}},
    "new tokens": {"model": {"add_tokens": ["kidney", "river"]}},
    "new tokens lora": {"model": {"path": "untied", "add_tokens": ["kidney"]}, "lora": {"rank": 4}},
    "rows of their own": {"model": {"path": "lfm2"}},
    "an expert and chosen labels": {
        "method": [{"name": "dae", "expert": "tuned", "distillation_weight": 0.5}, {"name": "stm", "percentile": 80}]
    },
    "with code of its own": {"model": {"trust_remote_code": True}},
    "checkpointing": {"training": {"gradient_checkpointing": True}, "parallel": {"reshard_after_forward": False}},
}


def setting(models: Path, corpora: Path, output: Path, case: str) -> RunConfig:
    changes = json.loads(json.dumps(CASES[case]))
    changes["model"] = {"path": "tied"} | changes.get("model", {})
    changes["model"]["path"] = str(models / changes["model"]["path"])
    changes["training"] = {"micro_batch_size": 1} | changes.get("training", {})
    changes["parallel"] = {"strategy": "fsdp"} | changes.get("parallel", {})
    if case == "an expert and chosen labels":
        changes["method"][0]["expert"] = str(models / "tuned")
    short = {
        "budget": {"steps": 3, "batch_tokens": 96 if changes.get("method") == "sft" else 64},
        "data": {"sequence_length": 64},
        "optimizer": {"max_grad_norm": None, "learning_rate": 3e-3},
    }
    plain = settings(models, corpora, output, name=case.replace(" ", "_"), **(short | changes))
    shares = {"domain": 0.6, "general": 0.4}  # so that no step has more than two micro-batches
    plain["sources"] = {name: plain["sources"][name] | {"share": share} for name, share in shares.items()}
    return parse_config(plain)


def trained(given: RunConfig, world: World, parts: bool, said: list[str]) -> Training:
    """A run's loop, with a model that is read in parts or loaded whole."""
    training = prepared(given, world, parts, said.append)
    run_loop(training)
    return training


def prepared(given: RunConfig, world: World, parts: bool, say: Callable[[str], None] = lambda note: None) -> Training:
    job = resolve(given, world)
    run, composition = job.config, compose(job.config)
    run.run_dir.mkdir(parents=True, exist_ok=True)
    corpora = world.main_first(lambda: load_corpora(run, load_tokenizer(run.model)))
    model = load_model(run, job.device, world if parts else SOLO, say)
    if is_sharded(model):
        learned = select_labels(run, composition, corpora, model, world)
    else:
        learned = world.main_first(lambda: select_labels(run, composition, corpora, model))
    return build_training(job, composition, model, learned, Console(quiet=True))[0]


def alike(one: Training, other: Training) -> list[str]:
    """What differs between two trainings on this rank."""
    found = []
    for name, master in one.weights.masters.items():
        twin = other.weights.masters[name]
        if master.dtype != twin.dtype or not torch.equal(local(master), local(twin)):
            found.append(name)
    references = (one.objective.references, other.objective.references)
    assert references[0].keys() == references[1].keys()
    for key in references[0]:
        twins = [dict(reference[key].model.network.named_parameters()) for reference in references]
        assert twins[0].keys() == twins[1].keys()
        found += [f"{key}/{n}" for n, p in twins[0].items() if not torch.equal(local(p), local(twins[1][n]))]
    return found


def main() -> None:
    models, corpora, output = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    world = join("cpu")
    for case in CASES:
        said: list[str] = []
        given = setting(models, corpora, output, case)
        spread = trained(given, world, parts=True, said=said)
        slow = trained(given, world, parts=False, said=said)
        found = {"differs": alike(spread, slow), "said": said, "sharded": is_sharded(spread.model)}
        found["blank"] = spread.model.blank is not None
        (output / f"{case} {world.rank}.json").write_text(json.dumps(found))
        full = {name: whole(master.detach()) for name, master in spread.weights.masters.items()}
        if world.is_main:
            save_file({name: tensor.clone() for name, tensor in full.items()}, output / f"{case}.safetensors")
    leave_together(world)


if __name__ == "__main__":
    main()
