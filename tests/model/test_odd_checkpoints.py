"""Checkpoints that are odd but right: vocabularies, heads and dtypes, and where the files lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

from acclimate.config.schema import ModelSection
from acclimate.model.load import load_network, load_tokenizer
from acclimate.types.errors import ModelError
from acclimate.verbs.validate import validate
from tests.fixtures.journey import CPU, there_and_back
from tests.fixtures.pico import pico_model, pico_tokenizer, save_pico
from tests.fixtures.quantised import change_config
from tests.fixtures.runs import config

ROUNDED = "are float16, and are rounded to bfloat16"


def with_a_head(folder: Path, tie: bool, equal: bool, **shape: int) -> Path:
    """A checkpoint that holds embeddings and head, whatever its configuration says of them."""
    pico_model(tie=tie, **shape).save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    embeddings = stored["model.embed_tokens.weight"]
    stored["lm_head.weight"] = embeddings.clone() if equal else embeddings.flip(0).contiguous()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("changes", [{}, {"lora": {"rank": 2}}], ids=["full", "lora"])
def test_a_head_that_is_not_the_embeddings_though_the_configuration_says_so(
    changes: dict[str, Any], corpora: Path, tmp_path: Path
) -> None:
    model = with_a_head(tmp_path / "model", tie=True, equal=False)
    loaded = there_and_back(model, corpora, tmp_path, **changes)
    assert loaded.config.tie_word_embeddings is False
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert not torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


def test_a_tied_head_that_is_stored_twice_stays_tied(tmp_path: Path) -> None:
    section = ModelSection(path=str(with_a_head(tmp_path / "model", tie=True, equal=True)))
    loaded = load_network(section, torch.float32, CPU)
    assert loaded.config.tie_word_embeddings is True
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_an_untied_head_that_is_equal_and_a_padded_vocabulary(corpora: Path, tmp_path: Path) -> None:
    model = with_a_head(tmp_path / "model", tie=False, equal=True, vocab_size=320)
    loaded = there_and_back(model, corpora, tmp_path)
    assert loaded.config.tie_word_embeddings is False
    assert loaded.lm_head.weight.shape[0] == loaded.config.vocab_size == 320
    before = load_file(model / "model.safetensors")["lm_head.weight"]
    assert torch.equal(before[259:], loaded.model.embed_tokens.weight[259:])  # never read
    assert not torch.equal(before[259:], loaded.lm_head.weight[259:])  # but part of the softmax


def test_float16_is_read_in_a_dtype_that_trains(corpora: Path, tmp_path: Path) -> None:
    """Where weights are rounded, it is said; auto is float32 or bfloat16, never the checkpoint's float16."""
    model = save_pico(tmp_path / "half")
    stored = load_file(model / "model.safetensors")
    mixed = {name: tensor if "norm" in name else tensor.half() for name, tensor in stored.items()}  # as is usual
    save_file(mixed, model / "model.safetensors", metadata={"format": "pt"})
    change_config(model, dtype="float16")
    for dtype, said in (("bfloat16", True), ("float32", False)):
        settings = config(model, corpora, tmp_path, model={"dtype": dtype})
        assert any(ROUNDED in note for note in validate(settings).warnings) is said
    auto = validate(config(model, corpora, tmp_path, model={"dtype": "auto"})).config.model.dtype
    assert auto in {"float32", "bfloat16"}
    loaded = there_and_back(model, corpora, tmp_path)
    assert loaded.dtype == torch.float32
    for dtype in (torch.float32, torch.bfloat16):
        start = load_network(ModelSection(path=str(model)), dtype, CPU).state_dict()
        assert all(torch.equal(start[name], weight.to(dtype)) for name, weight in mixed.items())


def test_tensors_that_a_family_keeps_in_float32(tmp_path: Path) -> None:
    """GLM-4.5's routers choose by a bias in float32, whatever the weights are."""
    shape = {"hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "first_k_dense_replace": 1}
    Glm4MoeForCausalLM(Glm4MoeConfig(**shape, **heads, n_routed_experts=4, vocab_size=64)).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    name = next(name for name in stored if name.endswith("e_score_correction_bias"))
    stored[name] = torch.full_like(stored[name], 1 + 2**-12)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    network = load_network(ModelSection(path=str(tmp_path)), torch.bfloat16, CPU)
    network.save_pretrained(tmp_path / "out")
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")[name], stored[name])


def test_a_configuration_without_architectures(tmp_path: Path) -> None:
    model = save_pico(tmp_path / "model")
    document = json.loads((model / "config.json").read_text())
    del document["architectures"]
    (model / "config.json").write_text(json.dumps(document))
    load_network(ModelSection(path=str(model)), torch.float32, CPU).save_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors"])
def test_a_variant_is_named(name: str, tmp_path: Path) -> None:
    model = save_pico(tmp_path / "model")
    (model / "model.safetensors").rename(model / name)
    with pytest.raises(ModelError, match=rf"are of a variant \({name.replace('.', '[.]')}\); save the one you want"):
        load_network(ModelSection(path=str(model)), torch.float32, CPU)


@pytest.mark.parametrize("kept", [[], ["tokenizer_config.json"], ["special_tokens_map.json"]])
def test_no_tokenizer_is_not_an_empty_one(kept: list[str], tmp_path: Path) -> None:
    model = save_pico(tmp_path / "model")
    for path in model.iterdir():
        if path.name not in {"config.json", "model.safetensors", *kept}:
            path.unlink()
    with pytest.raises(ModelError, match=r"model' holds no tokenizer; copy tokenizer\.json and tokenizer_config\.json"):
        load_tokenizer(ModelSection(path=str(model)))


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_are_cut_short(sharded: bool, tmp_path: Path) -> None:
    model = tmp_path / "model"
    pico_model().save_pretrained(model, max_shard_size="40KB" if sharded else "1GB")
    path = sorted(model.glob("*.safetensors"))[-1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=rf"'.*{path.name}' is damaged or cut short \(.*\); download or copy it again"):
        load_network(ModelSection(path=str(model)), torch.float32, CPU)
