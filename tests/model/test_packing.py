"""A document is computed as by itself wherever it stands in a row, or the model is refused or limited."""

from __future__ import annotations

import pytest
import torch
from transformers import GemmaConfig, Llama4TextConfig, LlamaConfig, Phi3Config, Phi3ForCausalLM

from acclimate.model.causal import CausalModel
from acclimate.model.checks import packing
from acclimate.model.checks.reach import reach_of
from acclimate.types.errors import ModelError
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}


def phi(original: int) -> Phi3ForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    ids = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    return Phi3ForCausalLM(
        Phi3Config(
            **sizes, **ids, num_attention_heads=4, max_position_embeddings=1024, rope_scaling=dict(LONGROPE),
            original_max_position_embeddings=original, initializer_range=0.2,
        )
    )  # fmt: skip


def test_rows_under_longrope_end_where_the_frequencies_switch() -> None:
    model = CausalModel(phi(64), pico_tokenizer())
    assert (model.positions, model.reach.key) == (64, "original_max_position_embeddings")
    with model.inference():
        model(packed([[(0, 30, 0), (1, 34, 0)]]))
        with pytest.raises(ModelError, match=r"Rows of 65 tokens .* 64 positions of its original_max_position"):
            model(packed([[(0, 30, 0), (1, 35, 0)]]))


def test_a_network_whose_switch_no_key_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(CausalModel):
        positions = 1024  # type: ignore[assignment]

    Silent(pico_model(max_position_embeddings=1024), pico_tokenizer())
    with pytest.raises(ModelError, match="a document of 1024 tokens change what is computed of its neighbours"):
        Silent(phi(64), pico_tokenizer())


def test_a_place_in_the_row_that_counts_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(pico_model(), pico_tokenizer())
    honest = model.packed

    def by_place(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return honest(ids, positions) * (1 + torch.arange(ids.shape[1])[:, None] // 8)

    monkeypatch.setattr(model, "packed", by_place)
    with pytest.raises(ModelError, match="a document's place in its row change what is computed of it"):
        packing.check_packing(model)


def test_limits_of_configurations() -> None:
    assert reach_of(LlamaConfig(max_position_embeddings=512)).positions == 512
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert reach_of(LlamaConfig(max_position_embeddings=512, rope_parameters=dynamic)).positions == 512
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 128}
    assert reach_of(LlamaConfig(max_position_embeddings=512, rope_parameters=yarn)).positions == 512
    assert reach_of(GemmaConfig()).key == "max_position_embeddings"
    chunked = reach_of(Llama4TextConfig(attention_chunk_size=256, attn_temperature_tuning=False))
    assert (chunked.positions, chunked.key) == (256, "attention_chunk_size")
    tempered = reach_of(Llama4TextConfig(attention_chunk_size=256, attn_temperature_tuning=True, floor_scale=128))
    assert (tempered.positions, tempered.key) == (127, "floor_scale")
