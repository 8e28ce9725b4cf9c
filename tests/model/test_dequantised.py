"""Quantised checkpoints: refused in a sentence, or multiplied out on request and saved as plain ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, LlamaConfig, LlavaConfig

from acclimate.build import resolve
from acclimate.build.pairs import model_pair
from acclimate.config.schema import ModelSection
from acclimate.kernels import dequantised
from acclimate.model.checkpoint import dense
from acclimate.model.checkpoint.quantisation import forget_quantisation, quantisation_of
from acclimate.model.load import load_config_of, load_network
from acclimate.types.errors import ConfigError, ModelError
from acclimate.verbs.export import export
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.journey import CPU, logits, there_and_back
from tests.fixtures.pico import save_pico
from tests.fixtures.quantised import FP4, KINDS, change_config, save_quantised
from tests.fixtures.runs import config, lines

SHORT = {"steps": 2, "batch_tokens": 128}


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_network(ModelSection(path=str(folder), dequantize=True), dtype, CPU)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_the_one_that_was_written(kind: str, tmp_path: Path) -> None:
    weights = save_quantised(tmp_path, kind)
    quantised = quantisation_of(LlamaConfig.from_pretrained(tmp_path))
    assert quantised is not None
    assert dense.dense_tensors([tmp_path / "model.safetensors"], quantised).keys() == weights.keys()
    network = loaded(tmp_path)
    found = network.state_dict()
    assert len({name for name in found if name.endswith("_proj.weight")}) == 14
    for name, weight in weights.items():
        assert torch.equal(found[name], weight.float()), name
    network.save_pretrained(tmp_path / "plain")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert torch.equal(logits(again), logits(network))
    assert not hasattr(again.config, "quantization_config")
    assert set(load_file(tmp_path / "plain" / "model.safetensors")) == set(weights)


@pytest.mark.parametrize(("kind", "lora"), [("fp8 in blocks", {}), ("gptq", {"lora": {"rank": 2}})])
def test_a_run_from_validate_to_an_exported_model(
    kind: str, lora: dict[str, Any], corpora: Path, tmp_path: Path
) -> None:
    model = tmp_path / "quantised"
    save_quantised(model, kind)
    changes = {"model": {"dequantize": True}} | lora
    validate(config(model, corpora, tmp_path, **changes))
    plain = there_and_back(model, corpora, tmp_path, **changes)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    if lora:
        adapter = PeftModel.from_pretrained(loaded(model), export(tmp_path / "run", tmp_path / "adapter"))
        torch.testing.assert_close(logits(adapter), logits(plain), rtol=0, atol=1e-4)


def test_a_model_of_both_kinds_of_weights_and_a_plain_base(corpora: Path, tmp_path: Path) -> None:
    """Layers that are not quantised stay as they are; a base need not be quantised, too."""
    model = tmp_path / "quantised"
    weights = save_quantised(model, "fp8 in blocks")
    stored = load_file(model / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    stored[name] = weights[name] = torch.randn(64, 32)
    del stored[f"{name}_scale_inv"]
    save_file(stored, model / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(loaded(model).state_dict()[name], weights[name])
    base = save_pico(tmp_path / "base")
    settings = config(model, corpora, tmp_path, budget=SHORT, model={"dequantize": True, "base": str(base)})
    assert lines(train(settings).run_dir)[0]["loss/general/reverse_kl"] > 0


def test_shards_and_generation_settings(tmp_path: Path) -> None:
    weights = save_quantised(tmp_path, "gptq")
    stored = load_file(tmp_path / "model.safetensors")
    names = sorted(stored)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}  # the parts of a weight lie apart
    for file, held in parts.items():
        save_file({name: stored[name] for name in held}, tmp_path / file, metadata={"format": "pt"})
    (tmp_path / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2], "temperature": 0.3}))
    network = loaded(tmp_path)
    assert all(torch.equal(network.state_dict()[name], weight) for name, weight in weights.items())
    assert network.generation_config.eos_token_id == [0, 2]
    assert network.config.name_or_path == str(tmp_path)


def test_a_checkpoint_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = save_quantised(tmp_path, "gptq")
    asked: dict[str, Any] = {}

    def download(path: str, **options: Any) -> str:
        asked.update(options, path=path)
        if path == "ada/none":
            raise OSError("no network")
        return str(tmp_path)

    monkeypatch.setattr(dense, "snapshot_download", download)
    found = quantisation_of(LlamaConfig.from_pretrained(tmp_path))
    assert found is not None
    tensors = dense.dense_checkpoint("ada/model", "v1", found)
    assert (asked["path"], asked["revision"], asked["ignore_patterns"]) == ("ada/model", "v1", ["*/*"])
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name][...], weight) for name, weight in expected.items())
    with pytest.raises(ModelError, match=r"the weights of 'ada/none' could not be downloaded: no network"):
        dense.dense_checkpoint("ada/none", None, found)


def test_weights_that_are_quantised_again(tmp_path: Path) -> None:
    """QLoRA on what was published in FP8."""
    weights = save_quantised(tmp_path, "fp8 in blocks")
    section = ModelSection(path=str(tmp_path), dequantize=True, quantization="nf4")
    layer = load_network(section, torch.float32, CPU).model.layers[1].mlp.up_proj
    expected = weights["model.layers.1.mlp.up_proj.weight"]
    expected = dequantize_4bit(*quantize_4bit(expected, quant_type="nf4", compress_statistics=True))
    assert torch.equal(dequantize_4bit(layer.weight.data, layer.weight.quant_state), expected)


def test_measuring_a_quantised_model_asks_for_nothing(tmp_path: Path) -> None:
    save_quantised(tmp_path / "quantised", "awq")
    pair = model_pair(str(tmp_path / "quantised"), str(save_pico(tmp_path / "base")))
    assert pair.base.model.network.config.vocab_size == 259


def gpt_oss(folder: Path) -> dict[str, torch.Tensor]:
    """Experts in MXFP4; returns the dense tensors that they stand for."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_local_experts": 3, "num_experts_per_tok": 2}
    network = GptOssForCausalLM(
        GptOssConfig(
            **shape, num_hidden_layers=2, vocab_size=259, head_dim=8, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, pad_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    network.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    stored = dict(weights)
    for name in [name for name in weights if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        count, inputs, outputs = weights[name].shape
        codes = torch.randint(0, 16, (count, outputs, inputs))
        exponents = torch.randint(120, 124, (count, outputs, inputs // 32))
        scale = torch.exp2(exponents - 127.0).repeat_interleave(32, -1)
        weights[name] = (torch.tensor(FP4)[codes] * scale).transpose(1, 2).contiguous()
        pairs = (codes[..., ::2] | (codes[..., 1::2] << 4)).to(torch.uint8)
        stored |= {f"{name}_blocks": pairs.unflatten(-1, (-1, 16)), f"{name}_scales": exponents.to(torch.uint8)}
        del stored[name]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    return weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mxfp4_is_saved_under_names_that_load(dtype: torch.dtype, tmp_path: Path) -> None:
    """transformers would save dense weights as ``_blocks`` without scales, which nothing loads."""
    weights = gpt_oss(tmp_path)
    section = ModelSection(path=str(tmp_path), dequantize=True, attention="eager")
    network = load_network(section, dtype, CPU)
    for name, weight in weights.items():
        assert torch.equal(network.state_dict()[name], weight.to(dtype)), name
    network.save_pretrained(tmp_path / "plain")
    assert set(load_file(tmp_path / "plain" / "model.safetensors")) == set(weights)
    again, found = AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", dtype="auto", attn_implementation="eager", output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert torch.equal(logits(again), logits(network))


def test_the_answer_of_transformers_is_the_same(tmp_path: Path) -> None:
    from transformers import Mxfp4Config

    gpt_oss(tmp_path)
    own = load_network(ModelSection(path=str(tmp_path), dequantize=True, attention="eager"), torch.bfloat16, CPU)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=Mxfp4Config(dequantize=True), dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert torch.equal(logits(own), logits(theirs))


def test_parts_of_experts_that_are_stored_one_by_one(tmp_path: Path) -> None:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "n_routed_experts": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16}
    sides = {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "n_group": 1, "topk_group": 1}
    moe = {"num_experts_per_tok": 2, "first_k_dense_replace": 1, "num_hidden_layers": 2, "vocab_size": 64}
    DeepseekV3ForCausalLM(DeepseekV3Config(**shape, **heads, **sides, **moe)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    stored = {}
    for name, weight in weights.items():
        if not name.endswith("proj.weight") or "experts" not in name:
            stored[name] = weight
            continue
        short, scale = weight.to(torch.float8_e4m3fn), torch.full((-(-weight.shape[0] // 12), 1), 0.5)
        stored |= {name: short, f"{name}_scale_inv": scale}
        weights[name] = short.float() / 2
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    change_config(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [12, 128]})
    network = loaded(tmp_path)
    network.save_pretrained(tmp_path / "plain")
    saved = load_file(tmp_path / "plain" / "model.safetensors")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"quant_method": "mxfp4"}, "is quantised (mxfp4, in quantization_config of its config.json); acclimate trains "
         "weights of float32 or bfloat16. Set model.dequantize: true to have them multiplied out"),
        ({"quant_method": "aqlm"}, "(aqlm, in quantization_config of its config.json). acclimate trains weights of "
         "float32 or bfloat16, and cannot multiply out aqlm; it can awq, bitsandbytes, compressed-tensors, "),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "multiply out gptq of format marlin"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "cannot multiply out awq of format gemv"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "compressed-tensors of format marlin-24"),
        ({"quant_method": "compressed-tensors", "format": "dense", "sparsity_config": {"format": "sparse-bitmask"}},
         "compressed-tensors of format sparse-bitmask"),
        ({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"u": {}}}}, "transform_config"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights":
         {"num_bits": 3}}}}, "compressed-tensors of 3 bits"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "modelopt of algorithm W4A8_AWQ"),
        ({"bits": 4}, "cannot multiply out of no named method"),
    ],
)  # fmt: skip
def test_what_cannot_be_multiplied_out_is_named(section: dict[str, Any], words: str, tmp_path: Path) -> None:
    change_config(save_pico(tmp_path / "model"), quantization_config=section)
    dequantize = "Set model.dequantize" not in words
    with pytest.raises(ModelError) as caught:
        load_config_of(ModelSection(path=str(tmp_path / "model"), dequantize=dequantize))
    assert str(caught.value).startswith(f"model.path: '{tmp_path / 'model'}' is quantised (")
    assert words in str(caught.value)
    assert ("made from" in str(caught.value)) == dequantize


def test_a_section_of_a_configuration_is_looked_into(tmp_path: Path) -> None:
    LlavaConfig(architectures=["LlavaForConditionalGeneration"]).save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    document["text_config"]["quantization_config"] = {"quant_method": "compressed-tensors"}
    (tmp_path / "config.json").write_text(json.dumps(document))
    found = LlavaConfig.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\(compressed-tensors, in text_config\.quantization_config of its config"):
        load_config_of(ModelSection(path=str(tmp_path)))
    forget_quantisation(found)
    assert quantisation_of(found) is None
    assert "quantization_config" not in json.dumps(found.to_dict())


def test_parts_that_do_not_fit_name_the_weight(tmp_path: Path) -> None:
    save_quantised(tmp_path, "fp8 in blocks")
    stored = load_file(tmp_path / "model.safetensors")
    stored["model.layers.0.mlp.up_proj.weight_scale_inv"] = torch.ones(5, 7)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"'model\.layers\.0\.mlp\.up_proj\.weight' could not be multiplied out of fp8"
    ):
        loaded(tmp_path)


def test_scales_of_an_activation_are_not_lost(tmp_path: Path) -> None:
    """AWQ folds some scales into an activation, in families that have no layer to fold them into."""
    save_quantised(tmp_path, "awq")
    stored = load_file(tmp_path / "model.safetensors") | {"model.layers.0.mlp.act.scales": torch.ones(64)}
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"'model\.layers\.0\.mlp\.act\.scales' is a part of no weight that awq is known"
    ):
        loaded(tmp_path)


def test_asking_for_nothing_is_said(corpora: Path, tmp_path: Path) -> None:
    model = save_pico(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model\.dequantize: has no effect on '.*', whose weights are not quantised"):
        resolve(config(model, corpora, tmp_path, model={"dequantize": True}))


def test_a_cut_last_block_is_not_shared_out() -> None:
    """576 rows in blocks of 128 have five scales, as in DeepSeek-V3; transformers 5.23 refuses them."""
    scale = torch.arange(1.0, 6.0)[:, None]
    found = dequantised.scaled(torch.ones(576, 128), scale, blocks=[(128, 128)])
    assert found[:, 0].tolist() == [1.0 + row // 128 for row in range(576)]
    with pytest.raises(ValueError, match="fit no blocks"):
        dequantised.scaled(torch.ones(576, 128), scale)


def test_numbers_of_three_bits_are_not_guessed() -> None:
    """compressed-tensors 0.15 fills no word with them, later versions do."""
    with pytest.raises(ValueError, match="10 words are no row of 96 numbers of 2, 4 or 8 bits"):
        dequantised.packed_rows(torch.zeros(2, 10, dtype=torch.int32), torch.ones(2, 3), [2, 96], None, None)
