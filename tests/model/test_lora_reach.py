"""What `all-linear` and names reach in families with experts, state spaces and towers; and that it is read back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from acclimate.config.lora_schema import LoraSection
from acclimate.model.export import merged
from acclimate.model.lora.adapter import attach_lora, load_adapter
from acclimate.model.lora.coverage import coverage, partial
from acclimate.model.lora.matrices import matrices
from acclimate.model.mixture.unquantised import check_quantised
from acclimate.types.errors import ModelError, RunError
from tests.fixtures.mixtures import gemma3, mixture

IDS = torch.arange(2, 42).view(2, 20)
EXPERTS = LoraSection(rank=2, experts=True)


def reached(network: Any, section: LoraSection) -> dict[str, tuple[int, int]]:
    attach_lora(network, section)
    return {row.kind: (row.reached, row.total) for row in coverage(network) if row.kind not in ("embeddings", "head")}


def logits(network: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.eval()(input_ids=IDS, use_cache=False).logits
    return found


def moved(network: Any) -> Any:
    """With an adapter that changes something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return network


DEFAULT = {
    "llama": {"attention": (8, 8), "mlp": (6, 6)},
    "qwen3_moe": {"attention": (8, 8), "experts": (0, 4), "router": (0, 2)},
    "qwen2_moe": {"attention": (8, 8), "shared experts": (8, 8), "experts": (0, 4), "router": (0, 2)},
    "mixtral": {"attention": (8, 8), "experts": (0, 4), "router": (0, 2)},
    "deepseek_v3": {
        "attention": (10, 10), "mlp": (3, 3), "shared experts": (3, 3), "experts": (0, 2), "router": (0, 1),
    },
    "gpt_oss": {"attention": (8, 8), "experts": (0, 4), "router": (0, 2)},
    "phimoe": {"attention": (8, 8), "experts": (0, 4), "router": (0, 2)},
}  # fmt: skip


@pytest.mark.parametrize("family", DEFAULT)
def test_all_linear_means_one_thing(family: str) -> None:
    assert reached(mixture(family), LoraSection(rank=2)) == DEFAULT[family]
    if "experts" in DEFAULT[family]:
        asked = reached(mixture(family), EXPERTS)
        assert asked["experts"] == (DEFAULT[family]["experts"][1],) * 2
        assert {kind: row for kind, row in asked.items() if kind != "experts"} == {
            kind: row for kind, row in DEFAULT[family].items() if kind != "experts"
        }


@pytest.mark.parametrize(("family", "router"), [("qwen3_moe", "gate"), ("phimoe", "router"), ("gpt_oss", "router")])
def test_a_router_is_reached_by_its_name(family: str, router: str) -> None:
    """Also one that is a linear layer and returns a tuple."""
    network = mixture(family)
    base = logits(network)
    found = reached(network, LoraSection(rank=2, target_modules=[router, "q_proj"]))
    assert (found["router"], found["attention"]) == ((2, 2), (2, 8))
    assert torch.equal(logits(network), base)
    network(input_ids=IDS, use_cache=False).logits.square().sum().backward()
    assert all(p.grad is not None for name, p in network.named_parameters() if "lora_B" in name)


@pytest.mark.parametrize(
    ("family", "section"),
    [
        ("deepseek_v3", EXPERTS),
        ("deepseek_v3", LoraSection(rank=2)),
        ("qwen2_moe", LoraSection(rank=2, experts=True, target_modules=["gate", "shared_expert_gate", "q_proj"])),
        ("gpt_oss", EXPERTS),
        ("phimoe", LoraSection(rank=2, target_modules=["router", "v_proj"])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_plain_peft_and_a_merge_are_what_was_trained(tmp_path: Path, family: str, section: LoraSection) -> None:
    network = mixture(family)
    base, plain, again = logits(network), copy.deepcopy(network), copy.deepcopy(network)
    peft = attach_lora(network, section)
    tuned = logits(moved(network))
    assert (tuned - base).abs().max() > 0.01
    peft.save_pretrained(tmp_path, save_embedding_layers=False)
    load_adapter(again, tmp_path)
    for found in (PeftModel.from_pretrained(plain, str(tmp_path)), again, merged(peft)):
        torch.testing.assert_close(logits(found), tuned, rtol=1e-4, atol=1e-4)


def test_an_explicit_list_that_reaches_a_part_is_said() -> None:
    network = mixture("deepseek_v3")
    attach_lora(network, LoraSection(rank=2, target_modules=["gate_proj", "up_proj", "down_proj", "q_a_proj"]))
    rows = coverage(network)
    found = {row.kind: (row.reached, row.total) for row in rows}
    assert (found["attention"], found["mlp"], found["shared experts"]) == ((2, 10), (3, 3), (3, 3))
    said = partial(rows)
    assert said is not None
    assert said.startswith(
        "LoRA reaches attention 2 of 10, mlp 3 of 3, shared experts 3 of 3, experts 0 of 2. Left out"
    )
    assert "not named in lora.target_modules" in said
    assert "experts 0 of 2 (on request: lora.experts: true)" in said
    dense = mixture("llama")
    attach_lora(dense, LoraSection(rank=2))
    assert partial(coverage(dense)) is None


def test_a_frozen_tower_gets_no_adapter() -> None:
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        network = gemma3()
        found = reached(network, LoraSection(rank=2, target_modules=targets))
        assert found["other towers"][0] == 0 < found["other towers"][1]
        assert not [name for name, _ in network.named_parameters() if "lora_" in name and "vision" in name]
    with pytest.raises(ModelError, match="'fc1' cannot be adapted here: it belongs to another tower"):
        attach_lora(gemma3(), LoraSection(rank=2, target_modules=["q_proj", "fc1"]))


def test_a_layer_whose_weight_is_taken_past_an_adapter_is_left_out() -> None:
    network = mixture("mamba")
    assert [m.layer for m in matrices(network) if m.idle] == ["x_proj", "dt_proj", "out_proj"] * 2
    assert reached(network, LoraSection(rank=2)) == {"state space": (2, 8)}
    with pytest.raises(ModelError, match=r"'out_proj' cannot be adapted here: .* takes its weight past an adapter"):
        attach_lora(mixture("mamba"), LoraSection(rank=2, target_modules=["out_proj", "in_proj"]))


def test_what_cannot_be() -> None:
    for network, section, words in (
        (mixture("llama"), EXPERTS, "lora.experts: this model has no experts; leave it out."),
        (mixture("qwen3_moe"), LoraSection(experts=True, dropout=0.1), "lora.dropout: PEFT has none for 'down_proj'"),
        (mixture("deepseek_v3"), LoraSection(dropout=0.1), "lora.dropout: PEFT has none for 'down_proj', 'gate_proj'"),
    ):
        with pytest.raises(ModelError) as raised:
            attach_lora(network, section)
        assert words in str(raised.value)


def test_an_adapter_of_which_a_part_is_not_read_is_refused(tmp_path: Path) -> None:
    peft = attach_lora(mixture("qwen2_moe"), LoraSection(rank=2))
    for name, change in (("missing", lambda key: None), ("without a place", lambda key: f"{key[:-14]}x{key[-14:]}")):
        folder = tmp_path / name
        peft.save_pretrained(folder, save_embedding_layers=False)
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        key = next(key for key in tensors if "shared_expert.gate_proj.lora_A" in key)
        tensor = tensors.pop(key)
        if (other := change(key)) is not None:
            tensors[other] = tensor
        save_file(tensors, path)
        with pytest.raises(RunError) as raised:
            load_adapter(mixture("qwen2_moe"), folder)
        assert f"1 {name}" in str(raised.value)
        assert "shared_expert.gate_proj" in str(raised.value)


def test_an_adapter_of_a_version_that_left_it_to_peft_is_read(tmp_path: Path) -> None:
    """Experts with twice the rank, and a router, as PEFT turned all-linear into them."""
    network = mixture("qwen3_moe")
    peft = attach_lora(network, LoraSection(rank=2, experts=None))
    tuned = logits(moved(network))
    peft.save_pretrained(tmp_path, save_embedding_layers=False)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    again = mixture("qwen3_moe")
    load_adapter(again, tmp_path)
    torch.testing.assert_close(logits(again), tuned)


def test_four_bits_that_leave_experts_as_they_are_are_refused() -> None:
    with torch.device("meta"):
        network = mixture("qwen3_moe")
    with pytest.raises(ModelError, match=r"4 stacks of matrices, which bitsandbytes leaves .* GiB \(\d\d%\)"):
        check_quantised(network, "nf4")
    check_quantised(network, None)
    check_quantised(mixture("llama"), "nf4")
