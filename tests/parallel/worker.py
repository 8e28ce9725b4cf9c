"""One of two ranks: the gradient of every registered method under ddp and fsdp (rank 0 writes it), then failures.

WORLD_SIZE=2 RANK=r python -m tests.parallel.worker MODEL CORPORA OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from acclimate.config.load import RunConfig
from acclimate.methods.registry import METHODS
from acclimate.parallel.world import join
from acclimate.training.loop import run_loop
from acclimate.types.central import IGNORE
from acclimate.types.errors import AcclimateError, DataError
from tests.fixtures.gradients import built, step_gradient
from tests.fixtures.methods import spec
from tests.fixtures.ranks import leave_together
from tests.fixtures.runs import config

STRATEGIES = ("ddp", "fsdp")
VARIANTS = {
    "full": {},
    "lora": {"lora": {"rank": 4}},
    "untied": {},
    "checkpointing": {"training": {"gradient_checkpointing": True}},
    "sequences": {"objective": {"average": "sequence"}},
    "one denominator": {"objective": {"normalise": "all"}},
    "half boosted": {"method": {"k0": 0.5}},  # by default so short a run follows the stored gradient alone
    "half boosted lora": {"method": {"k0": 0.5}, "lora": {"rank": 4}},
    "rows of their own": {},  # of a family that does not pack; ranks need different numbers of forwards
    "token lora": {  # fewer rows than ranks; weights stay gathered between the reference's forward and the student's
        "lora": {"rank": 4},
        "model": {"add_tokens": ["kidney"]},
        "parallel": {"reshard_after_forward": False},
    },
    "small share": {  # its general rows are absent from some steps
        "sources": {
            "domain": {"path": "domain.jsonl", "share": 0.94, "heldout": 4},
            "general": {"path": "general.jsonl", "share": 0.03, "heldout": 4},
            "chat": {"path": "chat.jsonl", "share": 0.03, "heldout": 4, "route": "general"},
        }
    },
}
"""The first two over all methods, the others over mol, those that boost over dba."""

Case = tuple[str, str, str]


def cases() -> list[Case]:
    """(method, variant, strategy)"""
    return [
        (method, variant, strategy)
        for strategy in STRATEGIES
        for variant in VARIANTS
        for method in (METHODS if variant in ("full", "lora") else ("dba",) if "boosted" in variant else ("mol",))
    ]


def setting(model: Path, corpora: Path, output: Path, case: Case) -> RunConfig:
    method, variant, strategy = case
    changes = dict(VARIANTS[variant])
    own = spec(method, model / "tied", corpora, model, changes.get("lora"))
    apart = changes.pop("parallel", {})
    changes["method"] = own | changes.get("method", {})
    changes["training"] = {"micro_batch_size": 2} | changes.get("training", {})
    if sources := changes.get("sources"):
        changes["sources"] = {n: s | {"path": str(corpora / s["path"])} for n, s in sources.items()}
    return config(
        model / (variant if variant in ("untied", "rows of their own") else "tied"), corpora, output,
        name=f"{method}-{variant}-{strategy}".replace(" ", "_"),
        parallel={"strategy": strategy} | (apart if strategy == "fsdp" else {}),
        optimizer={"max_grad_norm": 0.5}, **changes,
    )  # fmt: skip


def main() -> None:
    model, corpora, output = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    world = join("cpu")
    alone = 0  # micro-batches without a token of their own
    for case in cases():
        training = built(setting(model, corpora, output, case), torch.float64, world)
        state = training.data.state_dict()
        for _ in range(2):
            alone += sum(bool((batch.labels == IGNORE).all()) for batch in training.data.next_step())
        training.data.load_state_dict(state)
        gradient = step_gradient(training)
        if world.is_main:
            save_file(gradient, output / f"{'-'.join(case)}.safetensors")
    for strategy in STRATEGIES:
        training = built(setting(model, corpora, output, ("mol", "full", strategy)), torch.float32, world)
        with torch.no_grad():
            for weight in training.weights.masters.values():
                weight.mul_(float("nan"))
        try:
            run_loop(training)
        except AcclimateError as error:
            (output / f"{strategy} rank {world.rank}").write_text(f"{type(error).__name__}: {error}")
    try:
        with world.all_or_none():
            if world.rank == 1:
                raise DataError("rank 1 cannot read its file.")
    except AcclimateError as error:
        (output / f"one fails, rank {world.rank}").write_text(f"{type(error).__name__}: {error}")
    if sum(world.gather(alone)) and world.is_main:
        (output / "some rank had nothing to do").touch()
    leave_together(world)


if __name__ == "__main__":
    main()
