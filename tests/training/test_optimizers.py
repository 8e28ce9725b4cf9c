"""Optimizers by name: each goes on bitwise, keeps what the estimate says, and refuses what it has no use for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from acclimate.build.optimizer import OPTIMIZERS, GroupOf, build_optimizer, parameter_groups, state_bytes
from acclimate.build.optimizer.muon import MuonWithAdamW
from acclimate.config.chosen.optimizer import NAMES, OptimizerSection
from acclimate.types.errors import ConfigError
from acclimate.verbs.run import train
from tests.fixtures.pico import pico_model
from tests.fixtures.runs import config, killed_after, metric_lines, same_weights, settings

NO_TORCHAO = importlib.util.find_spec("torchao") is None
HERE = [
    pytest.param(name, marks=pytest.mark.skipif(NO_TORCHAO and name == "adamw_bf16", reason="torchao is not installed"))
    for name in NAMES
]


def changes(name: str) -> dict[str, Any]:
    return {
        "model": {"dtype": "bfloat16" if name in ("adamw_bf16", "adamw_8bit") else "float32"},
        "optimizer": {
            "name": name, "learning_rate": 2e-3, "embedding_learning_rate": 1e-3, "weight_decay": 0.1, "no_decay": True,
            "max_grad_norm": 0.5,
        },
        "method": "sft",
        "schedule": {"type": "cosine"},
        "budget": {"steps": 4, "batch_tokens": 128},
        "training": {"micro_batch_size": 2, "save_steps": 2},
        "evaluation": {"generations": 0, "memorisation_documents": 0, "documents": 2},
    }  # fmt: skip


@pytest.mark.parametrize("name", HERE)
def test_a_run_goes_on_bitwise(name: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """States of each optimizer, also numbers and tables that no tensor of the parameter's shape is."""
    whole = train(config(pico_folder, corpora, tmp_path, name="whole", **changes(name))).run_dir
    parted = config(pico_folder, corpora, tmp_path, name="parted", **changes(name))
    killed_after(3, parted)
    again = train(parted, resume=True).run_dir
    assert same_weights(whole, again)
    assert metric_lines(whole) == metric_lines(again)
    first, *_, last = metric_lines(whole)
    assert last["learning_rate"] < first["learning_rate"]


def masters(section: OptimizerSection) -> tuple[dict[str, nn.Parameter], dict[str, GroupOf]]:
    dtype = torch.float32 if OPTIMIZERS[section.name].masters else torch.bfloat16
    network = pico_model(dtype=dtype, tie=False, hidden_size=64, intermediate_size=128)
    found = dict(network.named_parameters())
    for parameter in found.values():
        parameter.grad = torch.full_like(parameter, 0.01)
    return found, parameter_groups(section, found, network)


@pytest.mark.parametrize("name", HERE)
def test_its_state_is_what_the_estimate_says(name: str) -> None:
    """But for step counts and the quantisation's tables, which do not grow with the model."""
    section = OptimizerSection(name=name)
    found, groups = masters(section)
    optimizer = build_optimizer(section, found, groups, frozen=False)
    optimizer.step()
    kept = 0
    for parameter in found.values():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, torch.Tensor) and value.dim() > 0 and not key.startswith("qmap"):
                kept += value.numel() * value.element_size()
    assert kept == state_bytes(section, found, groups) > 0


def test_muon_moves_hidden_matrices_and_nothing_else() -> None:
    section = OptimizerSection(name="muon", momentum=0.8)
    found, groups = masters(section)
    optimizer = build_optimizer(section, found, groups, frozen=False)
    optimizer.step()
    assert isinstance(optimizer, MuonWithAdamW)
    momentum = {name for name, tensor in found.items() if "momentum_buffer" in optimizer.state[tensor]}
    assert momentum == {name for name in found if ".layers." in name and "norm" not in name}
    assert {group.get("momentum") for group in optimizer.param_groups} == {0.8, None}


def test_groups() -> None:
    section = OptimizerSection(
        learning_rate=1e-3, embedding_learning_rate=1e-4, weight_decay=0.1, no_decay=True, max_grad_norm=None
    )
    found, groups = masters(section)
    assert groups["model.embed_tokens.weight"] == GroupOf(0.1, 0.1)
    assert groups["lm_head.weight"] == GroupOf(1.0, 0.1)
    assert groups["model.norm.weight"] == GroupOf(1.0, 0.0)
    assert groups["model.layers.0.mlp.up_proj.weight"] == GroupOf(1.0, 0.1, hidden=True)
    optimizer = build_optimizer(section, found, groups, frozen=False)
    rates = {(group["rate"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert rates.keys() == {(0.1, 0.1), (1.0, 0.1), (1.0, 0.0)}
    assert sum(rates.values()) == len(found)


def test_embeddings_move_at_their_own_rate(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The first step of AdamW is as long as the rate."""
    from safetensors.torch import load_file

    from tests.fixtures.runs import weights

    own = {"learning_rate": 1e-3, "embedding_learning_rate": 1e-5}
    run = config(
        pico_folder, corpora, tmp_path, method="sft", optimizer=own, schedule={"type": "constant", "warmup_ratio": 0},
        budget={"steps": 1, "batch_tokens": 128}, evaluation={"generations": 0, "memorisation_documents": 0},
    )  # fmt: skip
    base, tuned = load_file(pico_folder / "model.safetensors"), weights(train(run).run_dir)
    moved = {name: (tuned[name] - base[name]).abs().max().item() for name in base}
    assert moved["model.embed_tokens.weight"] == pytest.approx(1e-5, rel=0.05)
    assert moved["model.layers.0.mlp.up_proj.weight"] == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": {"name": "adam_8bit"}}, "there is no optimizer 'adam_8bit'; accepted: adamw, adamw_8bit"),
        ({"optimizer": {"name": "lionn"}}, "Did you mean 'lion'?"),
        ({"optimizer": {"name": "adafactor", "betas": [0.8, 0.9]}}, "betas has no effect on adafactor"),
        ({"optimizer": {"name": "lion", "eps": 1e-6}}, "eps has no effect on lion; it belongs to adamw"),
        ({"optimizer": {"momentum": 0.9}}, "momentum has no effect on adamw; it belongs to muon"),
        ({"optimizer": {"no_decay": True}}, "no_decay has no effect without weight_decay"),
        ({"optimizer": {"name": "muon"}, "lora": {"rank": 4}}, "muon is for whole hidden matrices"),
        ({"optimizer": {"name": "lion"}, "parallel": {"strategy": "fsdp"}}, "lion does not take spread weights"),
    ],
)
def test_what_has_no_effect_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, tmp_path, tmp_path, **change)
    assert "optimizer" in str(caught.value)
    assert said in str(caught.value)


def test_lion_has_betas_of_its_own() -> None:
    assert OptimizerSection(name="lion").betas == (0.9, 0.99)
    assert OptimizerSection(name="lion", betas=(0.9, 0.999)).betas == (0.9, 0.999)
    written = OptimizerSection(name="adafactor").model_dump()  # as config.yaml has it
    assert OptimizerSection.model_validate(written) == OptimizerSection(name="adafactor")


def test_embeddings_that_are_not_trained_have_no_rate(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    from acclimate.verbs.validate import validate

    run = config(pico_folder, corpora, tmp_path, lora={"rank": 4}, optimizer={"embedding_learning_rate": 1e-4})
    with pytest.raises(ConfigError, match=r"optimizer.embedding_learning_rate: has no effect, since no embeddings"):
        validate(run)


def test_a_library_that_is_absent_and_a_dtype(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from acclimate.build.optimizer import check_optimizer

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"optimizer.name: lion needs bitsandbytes; run .*acclimate\[qlora\]"):
        check_optimizer(OptimizerSection(name="lion"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(ConfigError, match=r"adamw_bf16 rounds bfloat16 weights, and model.dtype is float32"):
        check_optimizer(OptimizerSection(name="adamw_bf16"), "float32")
    check_optimizer(OptimizerSection(name="adamw_bf16"), "bfloat16")


def test_settings_of_an_old_run_mean_what_they_did(tmp_path: Path) -> None:
    plain = settings(tmp_path, tmp_path, tmp_path)
    assert config(tmp_path, tmp_path, tmp_path).optimizer == OptimizerSection(**plain["optimizer"], name="adamw")
