"""A document is computed as by itself wherever it stands in a row, or the model is refused or limited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor
from transformers import (
    AfmoeConfig,
    AfmoeForCausalLM,
    DogeConfig,
    DogeForCausalLM,
    GemmaConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from acclimate.kernels.attention import PACKED_SDPA
from acclimate.model.causal import CausalModel
from acclimate.model.checks.reach import reach_of
from acclimate.model.packing import probe as packing
from acclimate.model.packing.attention import choose_attention, set_attention
from acclimate.model.packing.probe import check_alone, why_alone
from acclimate.model.packing.states import States
from acclimate.types.errors import ModelError
from tests.fixtures.batches import packed
from tests.fixtures.composite import TOKENS, save_composite
from tests.fixtures.mixtures import mixture
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


def afmoe(window: int) -> AfmoeForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 32, "num_hidden_layers": 2}
    return AfmoeForCausalLM(
        AfmoeConfig(
            vocab_size=259, **sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_dense_layers=1,
            num_experts=4, num_experts_per_tok=2, num_shared_experts=1, sliding_window=window, initializer_range=0.2,
            layer_types=["sliding_attention", "full_attention"], max_position_embeddings=8192,
        )
    ).eval()  # fmt: skip


def test_rows_under_longrope_end_where_the_frequencies_switch() -> None:
    model = CausalModel(phi(64), pico_tokenizer())
    assert (model.positions, model.reach.key) == (64, "original_max_position_embeddings")
    with model.inference():
        model(packed([[(0, 30, 0), (1, 34, 0)]]))
        with pytest.raises(ModelError, match=r"Rows of 65 tokens .* 64 positions of its original_max_position"):
            model(packed([[(0, 30, 0), (1, 35, 0)]]))


def test_a_network_whose_switch_no_key_names_is_refused() -> None:
    assert why_alone(States(pico_model(max_position_embeddings=1024).eval()), 1024) is None
    with torch.no_grad(), pytest.raises(ModelError, match="a document of 1024 tokens change what is computed of its"):
        why_alone(States(phi(64).eval()), 1024)


def altered(change: Callable[[Tensor, Tensor], Tensor]) -> States:
    """States of a network that computes ``change(hidden, ids)`` of packed rows."""
    states = States(pico_model().eval())
    honest = states.packed
    states.packed = lambda ids, places: change(honest(ids, places), ids)  # type: ignore[method-assign]
    return states


def test_a_place_in_the_row_that_counts_is_seen() -> None:
    states = altered(lambda hidden, ids: hidden * (1 + torch.arange(ids.shape[1])[:, None] // packing.PROBE))
    with torch.no_grad():
        assert why_alone(states, 512) == "a document's place in its row changes what is computed of it"


@pytest.mark.parametrize(("leak", "seen"), [(1e-3, True), (1e-7, False)])
def test_what_a_document_sees_of_another_is_seen_but_for_rounding(leak: float, seen: bool) -> None:
    states = altered(lambda hidden, ids: hidden + leak * ids.cumsum(1).sin()[..., None])
    with torch.no_grad():
        found = why_alone(states, 512)
    assert (found == "documents that are packed in one row see each other") == seen
    assert (found is None) != seen


def test_padding_that_is_seen_is_refused() -> None:
    states = States(pico_model().eval())
    honest = states.alone
    states.alone = lambda ids: honest(ids) + ids.double().mean(1)[:, None, None]  # type: ignore[method-assign]
    with (
        torch.no_grad(),
        pytest.raises(ModelError, match="other hidden states of a document when padding stands behind"),
    ):
        check_alone(states)


@pytest.mark.parametrize("window", [8, 40, 4096])
def test_documents_go_beyond_windows_of_any_length(window: int) -> None:
    """Afmoe hands its window masks no positions: documents within a window are right, under our attention on a CPU."""
    network = afmoe(window)
    network.set_attn_implementation(PACKED_SDPA)
    with torch.no_grad():
        assert why_alone(States(network), 8192) is not None
    assert network.config.sliding_window == window
    network = afmoe(window)
    choose_attention(network, torch.device("cpu"))
    model = CausalModel(network, pico_tokenizer())
    batch = packed([[(0, 60, 0), (1, 50, 0)]])
    with model.inference():
        together = model(batch)[0]
        for document in range(2):
            here = batch.document[0] == document
            alone = network.model(batch.input_ids[:, here], use_cache=False).last_hidden_state[0]
            assert (together[here] - alone).norm() < 1e-5 * alone.norm()


def test_a_window_that_layers_keep_to_themselves_is_reached() -> None:
    """GPT-Neo's masks are made when it is built: no shorter window can be set."""
    shape = GPTNeoConfig(
        vocab_size=259, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4,
        window_size=40, max_position_embeddings=128, initializer_range=0.2,
    )  # fmt: skip
    states, lengths = States(GPTNeoForCausalLM(shape).eval()), []
    honest = states.packed
    states.packed = lambda ids, places: (lengths.append(ids.shape[1]), honest(ids, places))[1]  # type: ignore
    with torch.no_grad():
        assert why_alone(states, 128) is None
    assert max(lengths) > 2 * 40


def test_experts_pack_to_rounding() -> None:
    """Groups of tokens per expert change shape with the tokens beside, so nothing is bitwise equal in float32."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 32, "num_hidden_layers": 2}
    for seed in range(4):
        torch.manual_seed(seed)
        network = Qwen3MoeForCausalLM(
            Qwen3MoeConfig(
                vocab_size=259, **sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=32,
                num_experts_per_tok=4, initializer_range=0.1,
            )
        )  # fmt: skip
        assert CausalModel(network, pico_tokenizer()).alone is None


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_experts_pack_however_they_are_computed(experts: str, dtype: torch.dtype) -> None:
    """What is asked is whether documents leak: each network is also shown with documents that do."""
    for seed in range(3):
        network = mixture("qwen3_moe", seed, num_experts=16, num_experts_per_tok=4).to(dtype).eval()
        network.set_experts_implementation(experts)
        assert network.config._experts_implementation == experts
        states = States(network)
        with torch.no_grad():
            assert why_alone(states, 512) is None
            leaking = _leaking(states)
            assert why_alone(leaking, 512) == "documents that are packed in one row see each other"


def _leaking(states: States) -> States:
    """Whose positions restart, but whose attention does not: transformers is shown a mask, and makes none."""
    network = states.network

    def packed_rows(ids: Tensor, places: Tensor, *_: object) -> Tensor:
        width = ids.shape[1]
        seen = torch.ones(width, width, dtype=torch.bool).tril().expand(len(ids), 1, width, width)
        return states(input_ids=ids, position_ids=places.contiguous(), attention_mask=seen)

    network.set_attn_implementation("sdpa")
    states.packed = packed_rows  # type: ignore[method-assign]
    return states


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.03])
def test_a_leak_is_seen_where_attention_says_little(strength: float) -> None:
    """In bfloat16 5 % are rounding; a leak of less than that is told by what one document in place of two makes."""
    network = pico_model(dtype=torch.bfloat16).eval()
    with torch.no_grad():
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.mul_(strength)
        assert why_alone(States(network), 512) is None
        assert why_alone(_leaking(States(network)), 512) is not None


def test_the_attention_computes_alike_with_a_gradient_and_without() -> None:
    """A part of Doge's mask is learned, and sdpa takes another kernel for a mask that has a gradient."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    network = DogeForCausalLM(
        DogeConfig(vocab_size=259, **sizes, num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2)
    )
    for layer in network.model.layers:
        torch.nn.init.normal_(layer.self_attn.A)
    choose_attention(network, torch.device("cpu"))
    assert network.config._attn_implementation == "eager"
    model = CausalModel(network.eval(), pico_tokenizer())
    batch = packed([[(0, 40, 0), (1, 30, 0)]])
    with torch.no_grad():
        measured = model(batch)
    assert torch.equal(model(batch), measured)


def test_one_attention_for_a_model_and_its_language_model(tmp_path: Path) -> None:
    """transformers chooses for each by itself, and a resumed run would have another one."""
    kind = transformers.Gemma3ForConditionalGeneration
    network = kind.from_pretrained(save_composite(tmp_path / "model", "Gemma3", **TOKENS), attn_implementation="sdpa")
    network.config._attn_implementation_internal = "eager"
    assert set_attention(network, "eager", torch.device("cpu"))
    assert network.config.get_text_config()._attn_implementation == "eager"


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
