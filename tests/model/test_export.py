"""What leaves a run: merged weights, and where an exported model stops."""

from __future__ import annotations

import copy
import json
import os
import stat
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from acclimate.config.lora_schema import LoraSection
from acclimate.model import transformers4
from acclimate.model.causal import CausalModel
from acclimate.model.export import merged, save_model
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.transformers4 import readable_by_4
from acclimate.reports import model_card
from acclimate.runs.layout import read_json
from acclimate.verbs.export import export
from acclimate.verbs.run import train
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


def test_others_may_read_every_file(pico_folder: Path, tmp_path: Path) -> None:
    """A server runs as another user than the one who trained; safetensors writes for its owner only."""
    network = AutoModelForCausalLM.from_pretrained(pico_folder)
    before = os.umask(0o027)
    try:
        save_model(CausalModel(network, pico_tokenizer()), tmp_path / "out", str(pico_folder))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert modes["model.safetensors"] == 0o640
    assert set(modes.values()) == {0o640}


ROPE = {
    "Llama": {"rope_type": "llama3", "rope_theta": 5e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32},
    "GPTNeoX": {"rope_type": "default", "rope_theta": 5e4, "partial_rotary_factor": 0.5},
    "Gemma3Text": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
                   "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}},
}  # fmt: skip
OLD = {
    "Llama": {"rope_theta": 5e4, "rope_scaling": {k: v for k, v in ROPE["Llama"].items() if k != "rope_theta"}},
    "GPTNeoX": {"rotary_emb_base": 5e4, "rotary_pct": 0.5},
    "Gemma3Text": {
        "rope_theta": 2e6, "rope_local_base_freq": 3e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
}  # fmt: skip
"""The names of transformers 4, which computed the same logits of such folders (docs/howto/serving.md)."""


@pytest.mark.parametrize("family", ROPE)
def test_positions_have_the_names_of_transformers_4_too(family: str, tmp_path: Path) -> None:
    given = copy.deepcopy(ROPE[family])
    configuration = getattr(transformers, f"{family}Config")(rope_parameters=given, num_hidden_layers=1)
    configuration.save_pretrained(tmp_path)
    before = type(configuration).from_pretrained(tmp_path).to_dict()
    assert readable_by_4(tmp_path) == []
    written = json.loads((tmp_path / "config.json").read_text())
    assert {name: written[name] for name in OLD[family]} == OLD[family]
    after = type(configuration).from_pretrained(tmp_path).to_dict()
    assert {name: after[name] for name in before} == before


def test_a_tokenizer_has_a_class_that_transformers_4_knows(tmp_path: Path) -> None:
    tokenizer = pico_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<tool>"]})
    tokenizer.save_pretrained(tmp_path)
    assert readable_by_4(tmp_path) == []
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert written["additional_special_tokens"] == ["<tool>"]
    assert written["model_input_names"] == tokenizer.model_input_names
    assert "extra_special_tokens" not in written  # a list, where transformers 4 wants a mapping
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("<tool>x")["input_ids"] == tokenizer("<tool>x")["input_ids"]
    assert again.extra_special_tokens == ["<tool>"]


def test_what_transformers_4_would_misread_is_left_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that change what transformers 5 reads are taken back."""
    transformers.LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    monkeypatch.setattr(transformers4, "with_old_names", lambda config: {**config, "vocab_size": 8})
    assert readable_by_4(tmp_path) == [
        "transformers 4 does not compute the positions of this model; it needs transformers 5."
    ]
    assert (tmp_path / "config.json").read_bytes() == before
