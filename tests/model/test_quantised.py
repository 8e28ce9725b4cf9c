"""A base in 4 bits under a LoRA adapter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from acclimate.build import load_model, resolve
from acclimate.config.load import RunConfig
from acclimate.model.causal import CausalModel
from acclimate.runs.scores import read_lines
from acclimate.types.errors import ModelError
from acclimate.verbs.export import export
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config

LORA = {"lora": {"rank": 4}}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pico model whose rows are whole blocks of 64 weights."""
    folder = tmp_path_factory.mktemp("wide")
    pico_model(hidden_size=64).save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


def quantised(kind: str | None) -> dict[str, object]:
    return LORA | {"model": {"quantization": kind}}


def loaded(config: RunConfig) -> CausalModel:
    job = resolve(config)
    return load_model(job.config, job.device)


def test_only_the_linear_layers_are_rounded(wide: Path, corpora: Path, tmp_path: Path) -> None:
    models = [loaded(config(wide, corpora, tmp_path, **quantised(kind))) for kind in (None, "nf4")]
    plain, short = (model.network.state_dict() for model in models)
    kinds = {type(module).__name__ for module in models[1].network.modules()}
    assert "Linear4bit" in kinds
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        assert torch.equal(plain[name], short[name])
    layer, original = (model.network.model.layers[0].mlp.up_proj.base_layer for model in models[::-1])
    found = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    assert 0.01 < ((found - original.weight).norm() / original.weight.norm()).item() < 0.12  # 16 levels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_whole_run(dtype: str, wide: Path, corpora: Path, tmp_path: Path) -> None:
    training = {"micro_batch_size": 2, "save_steps": 3}
    model = {"quantization": "nf4", "dtype": dtype}
    settings = config(wide, corpora, tmp_path, training=training, model=model, **LORA)
    result = train(settings)
    first = read_lines(result.run_dir / "metrics.jsonl")[0]
    assert first["loss/general/reverse_kl"] == 0  # the reference is the quantised base, which is the student
    tuned, base = (
        next(
            r["value"] for r in result.summary if (r["run"], r["set"], r["metric"]) == (run, "domain", "bits_per_byte")
        )
        for run in ("mol", "base")
    )
    assert tuned < base
    adapter = load_file(result.run_dir / "model" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {getattr(torch, dtype)}

    merged = AutoModelForCausalLM.from_pretrained(export(result.run_dir, tmp_path / "merged", merge=True), dtype="auto")
    plain = AutoModelForCausalLM.from_pretrained(wide, dtype=getattr(torch, dtype))
    with_adapter = PeftModel.from_pretrained(plain, str(result.run_dir / "model"))
    ids = torch.arange(40)[None]
    with torch.no_grad():
        expected = with_adapter(ids).logits
        assert (merged(ids).logits - expected).norm() < {"float32": 1e-5, "bfloat16": 0.05}[dtype] * expected.norm()


def test_resume_is_bitwise(wide: Path, corpora: Path, tmp_path: Path) -> None:
    from tests.parallel.test_launch import back_to

    training = {"micro_batch_size": 2, "save_steps": 3, "keep_last": 9}
    settings = config(wide, corpora, tmp_path, training=training, **quantised("nf4"))
    path = train(settings).run_dir / "model" / "adapter_model.safetensors"
    straight = path.read_bytes()
    back_to(settings.run_dir, 3)
    train(settings, resume=True)
    assert path.read_bytes() == straight


def test_the_plan_counts_the_bytes_that_are_saved(wide: Path, corpora: Path, tmp_path: Path) -> None:
    found = {k: validate(config(wide, corpora, tmp_path, **quantised(k))).memory_bytes for k in (None, "nf4")}
    linear = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 64)  # weights in the two layers
    assert found[None] - found["nf4"] == pytest.approx((4 - 0.52) * linear)


def test_without_bitsandbytes(wide: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as error:
        loaded(config(wide, corpora, tmp_path, **quantised("nf4")))
    assert str(error.value) == (
        "model.quantization: 'nf4' needs bitsandbytes; run `pip install 'acclimate[qlora]'` or leave it out."
    )
