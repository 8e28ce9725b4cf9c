"""What leaves a run: merged weights, and where an exported model stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from acclimate.config.lora_schema import LoraSection
from acclimate.model.causal import CausalModel
from acclimate.model.export import merged, save_model
from acclimate.model.lora.adapter import attach_lora
from acclimate.reports import model_card
from acclimate.runs.layout import read_json
from acclimate.verbs.run import export, train
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config

END, EOS = 2, 0


def test_merging_rounds_once() -> None:
    """Within half a step of bfloat16 of the exact sum, everywhere."""
    network = pico_model(dtype=torch.bfloat16)
    peft = attach_lora(network, LoraSection(rank=8))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    layer = network.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    exact = layer.base_layer.weight.double() + layer.scaling["default"] * b @ a
    before = layer.base_layer.weight.clone()
    found = merged(peft).model.layers[0].self_attn.q_proj.weight
    assert found.dtype == torch.bfloat16
    step = torch.exp2(exact.abs().log2().floor() - 7)
    assert ((found.double() - exact).abs() / step).max() <= 0.5 + 1e-3
    assert torch.equal(layer.base_layer.weight, before)  # the run's model stays what it is


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_a_base_tuned_on_chats_stops_where_turns_end(
    lora: dict[str, int] | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(pico_folder, corpora, tmp_path, method="sft", lora=lora)
    chats = settings.sources["chat"].model_copy(update={"route": None, "share": None})
    run = train(settings.model_copy(update={"sources": {"domain": chats}})).run_dir
    ends = {"ids": [END], "tokens": ["<|im_end|>"], "stops_at": [EOS, END]}
    assert read_json(run / "data.json")["turn_ends"] == ends
    export(run, tmp_path / "out", merge=True)
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == [EOS, END]
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == pico_tokenizer().chat_template
    assert "stops at `<|im_end|>`" in model_card(run, merged=True)
    if lora is None:
        assert GenerationConfig.from_pretrained(run / "model").eos_token_id == [EOS, END]
    else:
        card = model_card(run)
        assert "An adapter cannot say so" in card
        assert "model.generation_config.eos_token_id = [0, 2]" in card


def test_a_run_on_plain_text_changes_no_stop(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Nor does one that only holds chats to the base."""
    run = train(config(pico_folder, corpora, tmp_path)).run_dir
    assert read_json(run / "data.json")["turn_ends"] == {}
    before, after = (json.loads((one / "generation_config.json").read_text()) for one in (pico_folder, run / "model"))
    assert before["eos_token_id"] == after["eos_token_id"]
    assert "stops at" not in model_card(run)


def test_a_rendered_pair_that_ends_a_turn_counts(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"<|im_start|>user\nSay {i}.<|im_end|>\n", "completion": f"{i}<|im_end|>"} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = config(pico_folder, corpora, tmp_path, method="sft", budget={"steps": 1, "batch_tokens": 128})
    pairs = settings.sources["domain"].model_copy(update={"path": str(tmp_path / "pairs.jsonl"), "share": None})
    run = train(settings.model_copy(update={"sources": {"domain": pairs}})).run_dir
    assert read_json(run / "data.json")["turn_ends"]["ids"] == [END]


def test_an_adapter_folder_says_no_stop(pico_folder: Path, tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(pico_folder)
    model = CausalModel(network, pico_tokenizer(), attach_lora(network, LoraSection(rank=2)))
    save_model(model, tmp_path / "adapter", str(pico_folder), stops_at=[EOS, END])
    assert not (tmp_path / "adapter" / "generation_config.json").exists()
    assert network.generation_config.eos_token_id == EOS
