"""A checkpoint is loaded whole, trained on text, and exported whole: towers, tensors, configuration, processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from acclimate.build.models import load_model, load_tuned
from acclimate.config.schema import ModelSection
from acclimate.model import load
from acclimate.model.load import empty_network, load_network
from acclimate.model.whole.carried import carry_tensors, copy_processor
from acclimate.model.whole.classes import class_of
from acclimate.model.whole.noise import as_given, quieten, switch_off
from acclimate.model.whole.origin import origin_of
from acclimate.runs.beginning import read_config
from acclimate.types.errors import ModelError
from acclimate.verbs.export import export
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.composite import TOKENS, add_tensors, save_causal, save_composite, save_processor, tensors
from tests.fixtures.pico import save_pico
from tests.fixtures.runs import config, lines

CPU = torch.device("cpu")
IDS = torch.arange(3, 43).view(2, 20)
SHORT: dict[str, Any] = {"budget": {"steps": 3, "batch_tokens": 128}, "optimizer": {"weight_decay": 0.1}}


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout where only a nested configuration says so."""
    folder = tmp_path_factory.mktemp("gemma3")
    return save_composite(folder, "Gemma3", {"attention_dropout": 0.2}, mm_tokens_per_image=4, **TOKENS)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_composite(folder, "Llava", vision_feature_layer=-1, tie_word_embeddings=False, **TOKENS)
    save_processor(folder)
    return folder


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network.eval()(input_ids=IDS, use_cache=False).logits
    return found


def is_tower(name: str) -> bool:
    return "vision" in name or "projector" in name


def test_a_model_with_a_tower_is_tuned_on_text_and_exported_whole(gemma3: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(gemma3, corpora, tmp_path, **SHORT)
    planned = validate(settings)
    source = tensors(gemma3)
    towers = {name: tensor for name, tensor in source.items() if is_tower(name)}
    size = sum(tensor.numel() for tensor in towers.values())
    (said,) = [note for note in planned.warnings if "language model alone" in note]
    assert f"{len(towers)} tensors ({size:,} parameters) of model.vision_tower, model.multi_modal_projector" in said
    assert planned.total_parameters - planned.trained_parameters == size
    run_dir = train(settings).run_dir
    assert lines(run_dir)[0]["loss/general/reverse_kl"] == 0
    export(run_dir, tmp_path / "out")
    written = tensors(tmp_path / "out")
    assert {n: (t.shape, t.dtype) for n, t in written.items()} == {n: (t.shape, t.dtype) for n, t in source.items()}
    assert all(torch.equal(written[name], tensor) for name, tensor in towers.items())
    assert not any(torch.equal(written[name], source[name]) for name in source.keys() - towers.keys())
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert whole.config.text_config.attention_dropout == 0.2
    assert whole.config.architectures == ["Gemma3ForConditionalGeneration"]
    tuned = load_tuned(read_config(run_dir), run_dir / "model", CPU)
    assert torch.equal(logits(whole), logits(tuned.network))


def test_an_adapter_stands_in_the_language_model_alone(llava: Path, corpora: Path, tmp_path: Path) -> None:
    run_dir = train(config(llava, corpora, tmp_path, lora={"rank": 2}, **SHORT)).run_dir
    tuned = load_tuned(read_config(run_dir), run_dir / "model", CPU)
    assert tuned.lora_scaling
    assert not any(map(is_tower, tuned.lora_scaling))
    from peft import PeftModel

    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(llava), str(run_dir / "model"))
    assert torch.equal(logits(plain), logits(tuned.network))
    export(run_dir, tmp_path / "out", merge=True)
    source, written = tensors(llava), tensors(tmp_path / "out")
    assert source.keys() == written.keys()
    assert all(torch.equal(written[name], source[name]) for name in source if is_tower(name))
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(merged), logits(tuned.network), rtol=0, atol=1e-5)
    for folder in (tmp_path / "out", run_dir / "model"):
        processor = AutoProcessor.from_pretrained(folder)
        seen = processor(images=Image.new("RGB", (28, 28)), text="<image> kidney", return_tensors="pt")
        assert seen["pixel_values"].shape == (1, 3, 28, 28)


@pytest.mark.parametrize("method", [{"name": "wise", "alpha": 0.3}, {"name": "l2", "weight": 0.1}])
def test_no_method_touches_a_tower(method: dict[str, Any], gemma3: Path, corpora: Path, tmp_path: Path) -> None:
    run_dir = train(config(gemma3, corpora, tmp_path, **SHORT, method=["sft", method])).run_dir
    source, written = tensors(gemma3), tensors(run_dir / "model")
    assert all(torch.equal(written[name], source[name]) == is_tower(name) for name in source)


def test_a_run_that_is_resumed_keeps_towers(gemma3: Path, corpora: Path, tmp_path: Path) -> None:
    """Masters and optimizer state hold the language model alone."""
    settings = config(gemma3, corpora, tmp_path, **SHORT, training={"save_steps": 2, "keep_last": 2})
    run_dir = train(settings).run_dir
    state = tensors(run_dir / "checkpoints" / "step-00000002")
    assert state
    assert not any(map(is_tower, state))


def test_cross_attention_that_text_never_passes_is_frozen(tmp_path: Path) -> None:
    folder = save_composite(
        tmp_path, "Mllama", {"cross_attention_layers": [1], "vocab_size": 264, "bos_token_id": 1},
        vision_config={"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "attention_heads": 2,
                       "num_global_layers": 1, "image_size": 28, "patch_size": 14, "vision_output_dim": 32,
                       "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]]},
        **TOKENS,
    )  # fmt: skip
    section = ModelSection(path=str(folder))
    network = load_network(section, torch.float32, CPU)
    assert "model.language_model.layers.1" in origin_of(network).towers
    assert origin_of(empty_network(section)).towers == origin_of(network).towers
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    network.train()
    network(input_ids=IDS, use_cache=False).logits.sum().backward()
    assert frozen == {name for name, parameter in network.named_parameters() if parameter.grad is None}


@pytest.mark.parametrize("family", ["gpt2", "phimoe"])
def test_noise_is_off_and_the_configuration_stays(family: str, corpora: Path, tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "base", family)
    run_dir = train(config(folder, corpora, tmp_path, **SHORT)).run_dir
    assert lines(run_dir)[0]["loss/general/reverse_kl"] == 0
    was, now = (json.loads((path / "config.json").read_text()) for path in (folder, run_dir / "model"))
    differ = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    assert not {key for key in differ if "drop" in key or "jitter" in key}


def test_noise_that_no_configuration_names() -> None:
    class Router(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.jitter_noise = 0.1
            self.inner = torch.nn.Linear(2, 2)

    network = torch.nn.ModuleDict({"drop": torch.nn.Dropout(0.3), "router": Router(), "attention": torch.nn.Module()})
    network["attention"].attention_dropout = 0.2
    quieten(network)
    network.train()
    assert network["drop"].p == 0
    assert network["attention"].attention_dropout == 0
    assert network["router"].jitter_noise == 0.1  # it may also choose experts
    assert not network["router"].training
    assert network["router"].inner.training  # an adapter's own dropout works


def test_tensors_that_no_class_reads_are_exported_as_they_are(corpora: Path, tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "base", "glm4_moe")
    extra = ["model.layers.2.eh_proj.weight", "model.layers.2.mlp.experts.0.up_proj.weight", "mtp.norm.weight"]
    add_tensors(folder, extra)
    console = Console(record=True, width=500)
    run_dir = train(config(folder, corpora, tmp_path, **SHORT), console=console).run_dir
    said = console.export_text()
    assert "3 tensors that Glm4MoeForCausalLM does not read are in the exported model as they were" in said
    assert "model.layers.N.eh_proj.weight" in said
    source, written = tensors(folder), tensors(run_dir / "model")
    assert source.keys() == written.keys()
    assert all(torch.equal(source[name], written[name]) and source[name].dtype == written[name].dtype for name in extra)
    assert json.loads((run_dir / "model" / "config.json").read_text())["num_nextn_predict_layers"] == 1
    again = transformers.AutoModelForCausalLM.from_pretrained(run_dir / "model")
    assert torch.equal(logits(again), logits(load_tuned(read_config(run_dir), run_dir / "model", CPU).network))
    export(run_dir, tmp_path / "out")  # from a folder of several files
    assert tensors(tmp_path / "out").keys() == source.keys()


def test_tensors_that_are_not_exported_are_named(tmp_path: Path) -> None:
    """A head that is written twice though it is tied; scales of weights that are dense now."""
    folder, out = save_pico(tmp_path / "base"), tmp_path / "out"
    extra = {"lm_head.weight": load_file(folder / "model.safetensors")["model.embed_tokens.weight"]}
    add_tensors(folder, ["model.layers.0.mlp.up_proj.weight_scale"], extra)
    network = load_network(ModelSection(path=str(folder)), torch.float32, CPU)
    network.save_pretrained(out)
    said = carry_tensors(network, folder, out)
    assert "1 tensors that LlamaForCausalLM does not read are in the exported model as they were" in said[0]
    assert "1 tensors of the checkpoint are not written under their names ('lm_head.weight' first)" in said[1]
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(config))
    network.save_pretrained(tmp_path / "dense")
    said = carry_tensors(network, folder, tmp_path / "dense")
    assert said[0].endswith(
        "are not exported: they are of a quantised checkpoint (model.layers.N.mlp.up_proj.weight_scale)."
    )
    assert "model.layers.0.mlp.up_proj.weight_scale" not in tensors(tmp_path / "dense")


def test_the_class_that_a_checkpoint_names(tmp_path: Path) -> None:
    chosen = {}
    for name, model_type in [
        ("Qwen3_5ForConditionalGeneration", "qwen3_5"), ("Qwen3_5ForCausalLM", "qwen3_5"), ("", "qwen3_5"),
        ("Mistral4ForCausalLM", "mistral4"), ("LlamaForCausalLM", "llama"), ("", "llama"),
        ("VoxtralForConditionalGeneration", "voxtral"),
    ]:  # fmt: skip
        given = AutoConfig.for_model(model_type)
        given.architectures = [name] if name else None
        chosen[name, model_type] = class_of(given).__name__
    assert chosen == {
        ("Qwen3_5ForConditionalGeneration", "qwen3_5"): "AutoModelForMultimodalLM",
        ("Qwen3_5ForCausalLM", "qwen3_5"): "AutoModelForCausalLM",
        ("", "qwen3_5"): "AutoModelForMultimodalLM",
        ("Mistral4ForCausalLM", "mistral4"): "AutoModelForMultimodalLM",
        ("LlamaForCausalLM", "llama"): "AutoModelForCausalLM",
        ("", "llama"): "AutoModelForCausalLM",
        ("VoxtralForConditionalGeneration", "voxtral"): "AutoModelForMultimodalLM",
    }


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_model_that_reads_ahead_is_refused(bidirectional: bool, tmp_path: Path) -> None:
    """PaliGemma's text is a prefix that every token of it sees, unless its configuration says otherwise."""
    text = {"use_bidirectional_attention": bidirectional}
    folder = save_composite(tmp_path, "PaliGemma", text, text_type="gemma", projection_dim=32, **TOKENS)
    section = ModelSection(path=str(folder))
    if not bidirectional:
        load_network(section, torch.float32, CPU)
        return
    with pytest.raises(ModelError, match="a PaliGemmaForConditionalGeneration, a token of a text sees those behind it"):
        load_network(section, torch.float32, CPU)


def test_a_processor_comes_from_the_hubs_snapshot(llava: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def snapshot(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        return str(llava)

    monkeypatch.setattr(load, "snapshot_download", snapshot)
    folder = load._folder_of(ModelSection(path="org/llava", revision="v2"), processor=True)
    assert asked == [("org/llava", "v2", ["*processor*.json", "audio_tokenizer_config.json", "chat_template.json"])]
    assert folder is not None
    copy_processor(folder, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"preprocessor_config.json", "processor_config.json"}


def test_a_library_that_is_missing_is_named(
    gemma3: Path, monkeypatch: pytest.MonkeyPatch, corpora: Path, tmp_path: Path
) -> None:
    from transformers.utils.import_utils import TIMM_IMPORT_ERROR

    def without(self: Any, *args: Any, **options: Any) -> None:
        raise ImportError(TIMM_IMPORT_ERROR.format("TimmWrapperModel"))

    monkeypatch.setattr(transformers.Gemma3ForConditionalGeneration, "__init__", without)
    for attempt in (validate, lambda settings: load_model(settings, CPU)):
        with pytest.raises(ModelError, match=r"model.path: .* is loaded whole, .*: run `pip install timm`\."):
            attempt(config(gemma3, corpora, tmp_path))


def test_a_setting_that_must_be_an_integer_stays_one() -> None:
    config = transformers.RwkvConfig()
    found = switch_off(config)
    assert (config.rescale_every, type(config.rescale_every)) == (0, int)
    with as_given(config, found):
        assert config.rescale_every == 6
    assert config.rescale_every == 0
