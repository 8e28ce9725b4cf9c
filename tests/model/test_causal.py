"""Packed rows equal documents alone; the reference equals the student before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from acclimate.config.lora_schema import LoraSection
from acclimate.config.schema import ModelSection
from acclimate.kernels.head import Head, check_head, head_of
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_network, load_tokenizer
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.reference import AdapterOff, FrozenCopy, base_reference
from acclimate.training.weights import Weights
from acclimate.types.errors import ModelError
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer

CPU = torch.device("cpu")


def student(
    folder: Path, dtype: torch.dtype = torch.float32, lora: LoraSection | None = None, **model: str
) -> CausalModel:
    section = ModelSection(path=str(folder), **model)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = load_network(section, dtype, CPU)
    peft = attach_lora(network, lora) if lora else None
    return CausalModel(network, load_tokenizer(section), peft)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "packed_sdpa"])
@pytest.mark.parametrize("window", [None, 5])
def test_packed_documents_equal_documents_alone(attention: str, window: int | None) -> None:
    if window is None:
        network = pico_model(attn_implementation=attention)
    else:  # a sliding window must count positions within the document, not within the row
        from transformers import MistralConfig, MistralForCausalLM

        torch.manual_seed(0)
        network = MistralForCausalLM(
            MistralConfig(
                vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, sliding_window=window, initializer_range=0.2, attn_implementation=attention,
            )
        )  # fmt: skip
    model = CausalModel(network, pico_tokenizer())
    batch = packed([[(0, 9, 0), (1, 14, 0), (2, 1, 0)], [(3, 20, 0)]])
    with model.inference():
        together = model.head.logits(model(batch))
        for document in range(4):
            here = batch.document == document
            alone = network(input_ids=batch.input_ids[here][None], use_cache=False).logits[0]
            torch.testing.assert_close(together[here], alone, rtol=0, atol=2e-5)
            wrong = network(input_ids=batch.input_ids[:1], use_cache=False).logits[0]
    # the guard: without document masks a second document sees the first
    assert (wrong[9:23] - together[0, 9:23]).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lora", [None, LoraSection(rank=4), LoraSection(rank=4, rslora=True, dropout=0.5)])
def test_reference_equals_the_student_at_step_zero(
    pico_folder: Path, dtype: torch.dtype, lora: LoraSection | None
) -> None:
    model = student(pico_folder, dtype, lora)
    reference = base_reference(model)
    assert isinstance(reference, AdapterOff if lora else FrozenCopy)
    batch = packed([[(0, 9, 0), (1, 14, 0)], [(3, 20, 0)]])
    model.network.train()
    if lora is None or lora.dropout == 0:
        assert torch.equal(model(batch), reference.hidden(batch))
    assert model.network.training  # the mode came back
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.1)
    difference = (model(batch) - reference.hidden(batch)).abs().max()
    assert difference > 1e-3
    base = student(pico_folder, dtype)
    with base.inference():
        assert torch.equal(reference.hidden(batch), base(batch))


def test_adapter_trains_only_the_adapter(pico_folder: Path) -> None:
    model = student(pico_folder, torch.bfloat16, LoraSection(rank=4))
    names = list(model.trainable())
    assert names
    assert all("lora_" in name for name in names)
    assert {p.dtype for p in model.trainable().values()} == {torch.bfloat16}  # no activation is cast for it
    assert {m.dtype for m in Weights(model.trainable()).masters.values()} == {torch.float32}  # trained unrounded
    assert set(model.lora_scaling.values()) == {8.0}  # alpha 32 over rank 4
    rank_stable = student(pico_folder, torch.float32, LoraSection(rank=4, rslora=True))
    assert set(rank_stable.lora_scaling.values()) == {16.0}  # alpha over sqrt(rank)


def test_lora_target_that_matches_nothing(pico_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"lora.target_modules: 'qq_proj' matches no layer; .* Did you mean 'q_proj'"):
        student(pico_folder, lora=LoraSection(target_modules=["qq_proj"]))
    with pytest.raises(ModelError, match="adapts the output head"):
        student(pico_folder, lora=LoraSection(target_modules=["lm_head"]))


def test_head_of_families() -> None:
    from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM, GraniteConfig
    from transformers import GraniteForCausalLM as Granite

    small = {
        "vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "initializer_range": 0.5, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    families = [
        (Gemma2ForCausalLM(Gemma2Config(**small, head_dim=8, final_logit_softcapping=3.0)), 1.0, 3.0),
        (CohereForCausalLM(CohereConfig(**small, logit_scale=0.25)), 0.25, None),
        (Granite(GraniteConfig(**small, logits_scaling=4.0)), 0.25, None),
        (pico_model(tie=False), 1.0, None),
    ]
    for network, scale, softcap in families:
        model = CausalModel(network, None)  # its constructor compares the head with the network's own logits
        assert (model.head.scale, model.head.softcap) == (scale, softcap)


def test_a_family_with_an_unknown_head_is_refused() -> None:
    network = pico_model()
    ids = torch.arange(3, 11)[None]
    hidden = network.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    logits = network(ids).logits
    check_head(network, head_of(network), hidden, logits)
    with pytest.raises(ModelError, match="changes its logits after the output head in a way acclimate does not know"):
        check_head(network, Head(network.lm_head.weight, None, scale=0.5), hidden, logits)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.gguf", "model.path: there is no GGUF file 'missing.gguf'."),
        ("./nowhere", "model.path: './nowhere' is no model folder or .gguf file; give a folder written by"),
        ("EMPTY", "holds no config.json (it holds notes.txt); give a folder written by save_pretrained"),
        ("nobody/nothing", "model.path: there is no folder 'nobody/nothing' in "),
    ],
)
def test_wrong_model_paths(path: str, message: str, tmp_path: Path) -> None:
    if path == "EMPTY":
        (tmp_path / "notes.txt").write_text("x")
        path = str(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(ModelSection(path=path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
