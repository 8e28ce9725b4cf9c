"""GGUF files: by name, alone in a folder, multiplied out, with their tokenizer, exported as plain safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from acclimate.build import resolve
from acclimate.build.models import load_tuned
from acclimate.config.schema import ModelSection
from acclimate.model import identity
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.checkpoint.opening import from_pretrained
from acclimate.model.identity import model_digest
from acclimate.model.load import load_network, load_tokenizer
from acclimate.runs.beginning import read_config
from acclimate.types.errors import ConfigError, ModelError
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from acclimate.verbs.validate import validate
from tests.fixtures.journey import CPU, logits
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config

Kind = gguf.GGMLQuantizationType


def write_gguf(path: Path, kind: Kind) -> Any:
    """A pico Llama as llama.cpp converts it; returns the network that its weights stand for."""
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    network = pico_model(hidden_size=64, intermediate_size=256, vocab_size=260, **heads)
    shape, tokenizer = network.config, merging_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(256)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(260)
    tokens = tokenizer.convert_ids_to_tokens(range(260))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for name, weight in network.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        values = weight.numpy()
        plain = values.ndim == 1 or name == "model.embed_tokens.weight"
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp turns pairs of neighbours
            values = permuted(values, 2 if "q_proj" in name else 1)
        stored = gguf.quants.quantize(values, Kind.F32 if plain else kind)
        meant = gguf.quants.dequantize(stored, Kind.F32 if plain else kind).reshape(values.shape)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            meant = restored(meant, 2 if "q_proj" in name else 1)
        weight.copy_(torch.from_numpy(np.array(meant)))
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight",)), stored, raw_dtype=Kind.F32 if plain else kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return network


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """The pico tokenizer with one merge, since a GGUF file has some."""
    plain = pico_tokenizer()
    backend = Tokenizer(BPE(vocab=plain.get_vocab() | {"ab": 259}, merges=[("a", "b")]))
    backend.pre_tokenizer, backend.decoder = plain.backend_tokenizer.pre_tokenizer, plain.backend_tokenizer.decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=plain.eos_token, pad_token=plain.pad_token)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = plain.chat_template
    return tokenizer


def permuted(weight: Any, heads: int) -> Any:
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def restored(weight: Any, heads: int) -> Any:
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
def test_every_weight_is_the_one_that_was_written(kind: Kind, tmp_path: Path) -> None:
    expected = write_gguf(tmp_path / "m.gguf", kind)
    network = load_network(ModelSection(path=str(tmp_path / "m.gguf")), torch.float32, CPU)
    found = network.state_dict()
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6, msg=name)
    torch.testing.assert_close(logits(network), logits(expected), rtol=0, atol=1e-4)
    network.save_pretrained(tmp_path / "plain")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "plain")), logits(network))


def test_a_run_of_a_folder_with_a_gguf_file(corpora: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_gguf(folder / "m-Q8_0.gguf", Kind.Q8_0)
    (folder / "mmproj-F16.gguf").write_bytes(b"GGUF")  # of a vision tower
    settings = config(folder, corpora, tmp_path, budget={"steps": 2, "batch_tokens": 128})
    validate(settings)
    result = train(settings)
    assert evaluate_run(result.run_dir).summary == result.summary
    expected = logits(load_tuned(read_config(result.run_dir), result.run_dir / "model", CPU).network)
    out = export(result.run_dir, tmp_path / "out", merge=True)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(out)), expected)
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float32}
    text = "<|im_start|>The renal cabin, naïve 東京.<|im_end|>"
    own = merging_tokenizer()
    assert 259 in own(text)["input_ids"]
    for tokenizer in (AutoTokenizer.from_pretrained(out), load_tokenizer(ModelSection(path=str(folder)))):
        assert tokenizer(text)["input_ids"] == own(text)["input_ids"]
        assert tokenizer.chat_template == own.chat_template
    assert model_digest(ModelSection(path=str(folder))) == model_digest(ModelSection(path=str(folder / "m-Q8_0.gguf")))


def test_settings_without_effect(corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write_gguf(tmp_path / "folder" / "m.gguf", Kind.F16)
    both = {"model": {"quantization": "nf4"}, "lora": {"rank": 2}}
    with pytest.raises(ConfigError, match=r"model\.quantization: 'nf4' quantises whole weights, but '.*folder' is a"):
        resolve(config(tmp_path / "folder", corpora, tmp_path, **both))
    with pytest.raises(ConfigError, match=r"model\.dequantize: has no effect .*a GGUF file, .* always multiplied out"):
        resolve(config(tmp_path / "folder", corpora, tmp_path, model={"dequantize": True}))


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        (["a-Q4_0.gguf", "a-Q8_0.gguf"], "", r"holds 2 GGUF files \(a-Q4_0\.gguf or a-Q8_0\.gguf\); name one"),
        (["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], "", r"one part of a GGUF file that was split, .*--merge"),
        (["a-00001-of-00002.gguf"], "a-00001-of-00002.gguf", r"'a-00001-of-00002\.gguf' is one part of a GGUF file"),
        ([], "b.gguf", r"there is no GGUF file '.*b\.gguf'"),
    ],
)
def test_files_that_cannot_be_meant(files: list[str], path: str, words: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=words):
        gguf_of(str(tmp_path / path))


def test_a_model_beside_a_gguf_file_is_the_model(tmp_path: Path) -> None:
    pico_model().save_pretrained(tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert gguf_of(str(tmp_path)) is None


def test_a_family_that_transformers_cannot_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba7")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"m\.gguf' could not be loaded: GGUF model with architecture mamba7 is not"):
        load_network(ModelSection(path=str(tmp_path / "m.gguf")), torch.float32, CPU)


def test_a_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Factory:
        @staticmethod
        def from_pretrained(place: str, **options: Any) -> None:
            asked.update(options, place=place)
            raise OSError("no network")

    path = "ada/small-GGUF/Q4/small-Q4_K_M.gguf"
    with pytest.raises(ModelError, match=r"there is no folder 'ada/small-GGUF/Q4/small-Q4_K_M\.gguf' in .* no network"):
        from_pretrained(Factory, ModelSection(path=path, revision="v1"))
    assert (asked["place"], asked["gguf_file"]) == ("ada/small-GGUF", "Q4/small-Q4_K_M.gguf")
    assert (asked["revision"], asked["local_files_only"]) == ("v1", False)
    cached = str(tmp_path / "snapshots" / "12ab" / "Q4" / "small-Q4_K_M.gguf")
    monkeypatch.setattr(identity, "try_to_load_from_cache", lambda place, file, revision: cached)
    assert model_digest(ModelSection(path=path)) == f"hub:{path}@12ab"
