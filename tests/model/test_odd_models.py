"""Models and tokenizers that are odd but right: whole runs, from validate to an exported model that is loaded again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from acclimate.build.models import load_tuned
from acclimate.config.lora_schema import LoraSection
from acclimate.config.schema import ModelSection
from acclimate.model.checkpoint.opening import from_pretrained
from acclimate.model.load import load_network
from acclimate.model.lora.adapter import attach_lora
from acclimate.runs.beginning import read_config
from acclimate.types.errors import ModelError, NonFiniteError, RunError
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model, pico_tokenizer, save_pico
from tests.fixtures.runs import config

SHORT = {"steps": 2, "batch_tokens": 128}
Change = Callable[[PreTrainedTokenizerFast], Any]
NO_EOS = "the tokenizer has no eos token, so plain documents end without one"


def without(*names: str) -> Change:
    def change(tokenizer: PreTrainedTokenizerFast) -> None:
        for name in names:
            setattr(tokenizer, name, None)

    return change


def save(folder: Path, change: Change | None = None, **shape: Any) -> Path:
    tokenizer = pico_tokenizer()
    if change is not None:
        change(tokenizer)
    pico_model(**shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
ODD: dict[str, tuple[Change | None, dict[str, Any]]] = {
    "no pad": (without("pad_token"), {"pad_token_id": None}),
    "no eos": (without("eos_token"), {"eos_token_id": None}),
    "no bos, eos or pad": (without("bos_token", "eos_token", "pad_token"), NO_IDS),
    "a bos": (lambda t: setattr(t, "bos_token", "<|im_start|>"), {"bos_token_id": 1}),
    "a pad token without an embedding": (lambda t: t.add_special_tokens({"pad_token": "<pad>"}), {}),
    "more tokens than embeddings, unused": (lambda t: t.add_tokens(["<new>"]), {}),
    "more embeddings than tokens": (None, {"vocab_size": 320}),
}


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("case", ODD)
def test_odd_tokenizers(case: str, lora: dict[str, Any] | None, corpora: Path, tmp_path: Path) -> None:
    change, shape = ODD[case]
    model = save(tmp_path / "odd", change, **shape)
    settings = config(model, corpora, tmp_path, budget=SHORT, lora=lora, training={"eval_steps": 1})
    assert any(NO_EOS in warning for warning in validate(settings).warnings) == ("eos" in case)
    result = train(settings)
    assert evaluate_run(result.run_dir).summary == result.summary
    assert json.loads((result.run_dir / "generations.json").read_text())["answers"]
    export(result.run_dir, tmp_path / "out", merge=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert tokenizer.eos_token == pico_tokenizer().eos_token if "eos" not in case else tokenizer.eos_token is None
    assert torch.isfinite(loaded(torch.tensor([tokenizer("kidney")["input_ids"]])).logits).all()


def test_silence_about_eos_where_it_was_asked_for(corpora: Path, tmp_path: Path) -> None:
    settings = config(save(tmp_path / "odd", without("eos_token")), corpora, tmp_path, budget=SHORT)
    sources = {name: section.model_copy(update={"append_eos": False}) for name, section in settings.sources.items()}
    found = validate(settings.model_copy(update={"sources": sources})).warnings
    assert not any("has no eos token" in warning for warning in found)


def test_added_tokens_that_have_an_embedding_are_learned(corpora: Path, tmp_path: Path) -> None:
    text = tmp_path / "new.jsonl"
    text.write_text("".join(json.dumps({"text": f"The <new> kidney, {i}."}) + "\n" for i in range(20)))
    model = save(tmp_path / "odd", lambda t: t.add_tokens(["<new>"]), vocab_size=260)
    settings = config(model, corpora, tmp_path, budget=SHORT)
    domain = settings.sources["domain"].model_copy(update={"path": str(text)})
    result = train(settings.model_copy(update={"sources": settings.sources | {"domain": domain}}))
    before, after = (
        AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight[259]
        for path in (model, result.run_dir / "model")
    )
    assert not torch.equal(before, after)


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_heads_survive_every_way_out(tie: bool, lora: dict[str, Any] | None, corpora: Path, tmp_path: Path) -> None:
    """Train, reload, resume, export, merge: the same logits, bit for bit where nothing is folded in."""
    model = save_pico(tmp_path / "pico", tie=tie)
    changes: dict[str, Any] = {"budget": {"steps": 4, "batch_tokens": 128}, "lora": lora, "training": {"save_steps": 2}}
    run_dir = train(config(model, corpora, tmp_path, **changes)).run_dir
    ids = torch.arange(3, 40)[None]

    def logits(network: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = network.eval()(input_ids=ids).logits
        return found

    expected = logits(load_tuned(read_config(run_dir), run_dir / "model", torch.device("cpu")).network)
    assert (logits(AutoModelForCausalLM.from_pretrained(model)) - expected).abs().max() > 1e-3
    # the last two steps again, from the checkpoint in the middle
    for name in ("summary.json", "generations.json"):
        (run_dir / name).unlink()
    for folder in ("model", "checkpoints/step-00000004"):
        for path in (run_dir / folder).iterdir():
            path.unlink()
        (run_dir / folder).rmdir()
    train(config(model, corpora, tmp_path, **changes), resume=True)
    resumed = load_tuned(read_config(run_dir), run_dir / "model", torch.device("cpu")).network
    assert torch.equal(logits(resumed), expected)
    assert resumed.config.tie_word_embeddings is tie
    same = resumed.get_input_embeddings().weight.data_ptr() == resumed.get_output_embeddings().weight.data_ptr()
    assert same is tie
    export(run_dir, tmp_path / "merged", merge=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-5 if lora else 0)
    assert merged.config.tie_word_embeddings is tie


def test_weights_of_float16_are_trained_in_float32(corpora: Path, tmp_path: Path) -> None:
    settings = config(save(tmp_path / "half", dtype=torch.float16), corpora, tmp_path, budget=SHORT)
    result = train(settings)
    assert AutoModelForCausalLM.from_pretrained(result.run_dir / "model", dtype="auto").dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "tensor"),
    [({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight"), ({"intermediate_size": 80}, "mlp")],
)
def test_weights_that_are_not_there_are_not_made_up(
    change: dict[str, int], tensor: str, corpora: Path, tmp_path: Path
) -> None:
    model = save_pico(tmp_path / "pico")
    document = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(document | change))
    with pytest.raises(
        ModelError, match=rf"not those its config\.json describes: .*'.*{tensor}.*' first; transformers"
    ):
        train(config(model, corpora, tmp_path, budget=SHORT))
    assert not (tmp_path / "run").exists()


def test_a_pickled_adapter_is_not_read(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    run_dir = train(config(pico_folder, corpora, tmp_path, budget=SHORT, lora={"rank": 2})).run_dir
    (run_dir / "model" / "adapter_model.safetensors").rename(run_dir / "model" / "adapter_model.bin")
    with pytest.raises(RunError, match="holds other weights than this run's training wrote"):
        evaluate_run(run_dir)
    record = json.loads((run_dir / "provenance.json").read_text())
    del record["tuned"]  # as of a run from before digests
    (run_dir / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"could not be read: there is no adapter_model\.safetensors\."):
        evaluate_run(run_dir)


def test_pickles_on_the_hub_are_not_loaded() -> None:
    class Factory:
        @staticmethod
        def from_pretrained(*arguments: Any, **options: Any) -> None:
            raise OSError("a/b does not appear to have a file named model.safetensors or model.safetensors.index.json")

    with pytest.raises(ModelError, match=r"'a/b' has no safetensors on the Hub, only pickles, which can run code"):
        from_pretrained(Factory, ModelSection(path="a/b"))


def test_a_learning_rate_that_destroys(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, optimizer={"learning_rate": 0.9, "max_grad_norm": None})
    assert any(
        warning.startswith("optimizer.learning_rate is 0.9, at which AdamW destroys a trained model; 2e-4 suits LoRA")
        for warning in validate(settings).warnings
    )
    assert not any("destroys" in w for w in validate(config(pico_folder, corpora, tmp_path)).warnings)


def test_a_run_that_explodes_says_so(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    optimizer = {"learning_rate": 1.0, "eps": 1e-30, "weight_decay": 1e30}
    settings = config(pico_folder, corpora, tmp_path, optimizer=optimizer, schedule={"type": "constant"})
    with pytest.raises(
        NonFiniteError, match=r"Step \d stopped before the optimizer step: .* not finite; .*lower optim"
    ):
        train(settings)


@pytest.mark.parametrize(
    ("method", "shares", "note"),
    [
        ("mol", (0.5, 0.25, 0.25), None),
        ("sft", (0.5, 0.25, 0.25), None),
        ("mol", (0.5, 0.5, None), None),
        ("mol", (0.5, 0.2, 0.1), "sum to 0.8, so they are scaled to 1: domain 0.625, general 0.25, chat 0.125."),
        ("mol", (0.9, 0.9, 0.2), "sum to 2, so they are scaled to 1: domain 0.45, general 0.45, chat 0.1."),
    ],
)  # fmt: skip
def test_shares_that_do_not_add_up(
    method: str, shares: tuple[float | None, ...], note: str | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(pico_folder, corpora, tmp_path, method=method, budget=SHORT)
    sources = {
        name: section.model_copy(update={"share": share})
        for (name, section), share in zip(settings.sources.items(), shares, strict=True)
        if share is not None
    }
    found = validate(settings.model_copy(update={"sources": sources})).warnings
    assert [warning for warning in found if "shares" in warning] == ([f"the given shares {note}"] if note else [])


def test_an_adapter_beside_a_model_is_not_put_on_it_in_silence(pico_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pico_folder, tmp_path / "both")
    network = AutoModelForCausalLM.from_pretrained(pico_folder)
    attach_lora(network, LoraSection(rank=2)).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"both' holds an adapter \(adapter_config.json\) beside a model"):
        load_network(ModelSection(path=str(folder)), torch.float32, torch.device("cpu"))
