"""Packed rows in one line against the masked rows: same outputs, same gradients, and no T x T."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import modeling_flash_attention_utils as flash

from acclimate.build.job import resolve
from acclimate.config.load import parse_config
from acclimate.config.schema import ModelSection
from acclimate.kernels import varlen
from acclimate.kernels.varlen import PACKED_VARLEN, packed_varlen, why_no_varlen, with_bounds
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_network
from acclimate.model.packing import attention
from acclimate.model.packing.attention import choose_attention, name_of
from acclimate.model.packing.states import FLASH, States
from acclimate.types.batch import Bounds
from acclimate.types.central import Batch
from acclimate.types.errors import ModelError
from tests.fixtures.batches import packed
from tests.fixtures.mixtures import SMALL, mixture
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.varlen import looped, looped_varlen

__all__ = ["looped_varlen"]


def windowed(window: int = 7) -> Any:
    """A window in every layer, shorter than most documents."""
    torch.manual_seed(0)
    kind = transformers.MistralForCausalLM
    return kind(kind.config_class(**(SMALL | {"sliding_window": window})))


def half_windowed() -> Any:
    """A window in one layer of two."""
    torch.manual_seed(0)
    kind = transformers.Gemma3ForCausalLM
    own = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9}
    return kind(kind.config_class(**(SMALL | own)))


def latent() -> Any:
    """Values narrower than queries. float64 experts are computed one by one."""
    network = mixture("deepseek_v3", qk_nope_head_dim=16)
    network.set_experts_implementation("eager")
    return network


def adapted() -> Any:
    network = pico_model()
    torch.manual_seed(1)
    get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False))
    return network


def checkpointed() -> Any:
    network = pico_model()
    network.train()
    network.gradient_checkpointing_enable({"use_reentrant": False})
    return network


NETWORKS = {
    "every head its own": lambda: pico_model(num_key_value_heads=4),
    "grouped heads": lambda: pico_model(num_key_value_heads=2),
    "one head of keys": lambda: pico_model(num_key_value_heads=1),
    "heads of 12": lambda: pico_model(hidden_size=48),
    "values narrower than queries": latent,
    "a window": windowed,
    "a window in one layer": half_windowed,
    "lora": adapted,
    "checkpointing": checkpointed,
}


def documents() -> Batch:
    return packed([[(0, 40, 0), (1, 3, 0), (2, 33, 0)], [(3, 50, 0), (4, 1, 0)], [(5, 70, 0)]])


def gradients(network: Any, implementation: str, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    """Hidden states of three packed rows, padding left out, and the gradient of every parameter."""
    network = network.to(dtype)
    for part in (network.config, network.config.get_text_config()):
        part._attn_implementation = implementation
    batch = documents()
    states = States.__new__(States)
    states.network, states.through, states.decoder = network, None, network.get_decoder()
    hidden = states.packed(batch.input_ids, batch.position_ids)
    real = batch.document >= 0
    hidden[real].sin().sum().backward()
    return hidden[real].detach(), {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_equals_the_masked_row(
    kind: str, dtype: torch.dtype, error: float, looped_varlen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 differs by rounding alone: 2e-4 of a sum over 197 tokens [ours]."""
    expected, expected_grads = gradients(NETWORKS[kind](), "sdpa", dtype)
    assert looped_varlen == []

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the slow path ran")

    monkeypatch.setattr(varlen, "sdpa_attention_forward", unreachable)
    found, grads = gradients(NETWORKS[kind](), PACKED_VARLEN, dtype)
    assert set(looped_varlen) == {3 * 76}
    assert len(looped_varlen) == (4 if kind == "checkpointing" else 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=error)
    assert expected_grads.keys() == grads.keys()
    assert any(grad.abs().max() > 1e-3 for grad in grads.values())
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=error, atol=error * 10, msg=name)


def test_one_family_in_both_places_sees_the_window(looped_varlen: list[int]) -> None:
    """A window of one token more is another model, so that the test above can fail."""
    one = gradients(windowed(), PACKED_VARLEN, torch.float64)[0]
    assert (gradients(windowed(8), PACKED_VARLEN, torch.float64)[0] - one).abs().max() > 1e-3


def test_bounds() -> None:
    bounds = Bounds.of(documents().position_ids)
    assert bounds.starts.tolist() == [0, 40, 43, 76, 126, 127, 152, 222, 228]  # padding is a document
    assert (bounds.longest, bounds.starts.dtype) == (70, torch.int32)


class Largest(TorchDispatchMode):
    """The largest tensor that a computation makes, in elements."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return found


@pytest.mark.skipif(varlen.varlen_attn is None, reason="torch has no variable-length attention")
@pytest.mark.parametrize("network", [pico_model, windowed])
def test_a_context_of_32k_makes_nothing_of_its_square(network: Any) -> None:
    """On the meta device, by torch's own kernel: shapes without numbers, forward and backward."""
    made, width = network().to("meta"), 32768
    for part in (made.config, made.config.get_text_config()):
        part._attn_implementation = PACKED_VARLEN
    ids = torch.zeros(1, width, dtype=torch.int64, device="meta")
    bounds = Bounds(torch.zeros(66, dtype=torch.int32, device="meta"), 512)
    with Largest() as largest:
        given = with_bounds(ids, bounds)
        made.get_decoder()(input_ids=ids, use_cache=False, **given).last_hidden_state.sum().backward()
    assert width * 32 <= largest.elements < width * 1024
    with Largest() as largest:  # and what makes one is seen
        made.config._attn_implementation = "eager"
        mask = torch.zeros(1, 1, 1, 1, device="meta").expand(1, 1, 2048, 2048)
        made.get_decoder()(input_ids=ids[:, :2048], attention_mask=mask, use_cache=False)
    assert largest.elements >= 2048**2


def test_is_chosen_where_there_is_a_kernel(looped_varlen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "why_no_varlen", lambda device, dtype: None)
    network = pico_model().eval()
    choose_attention(network, torch.device("cpu"))
    assert (network.config._attn_implementation, name_of(network)) == (PACKED_VARLEN, "varlen")
    model = CausalModel(network, pico_tokenizer())
    assert (model.alone, model.attention, model.wants_bounds) == (None, "varlen", True)


@pytest.mark.parametrize(("family", "found"), [("gpt_oss", "eager"), ("mamba", None)])
def test_is_not_chosen_where_the_kernel_lacks_something(
    family: str, found: str | None, looped_varlen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gpt-oss has sinks; Mamba has no attention, so that no choice separates its documents."""
    monkeypatch.setattr(attention, "why_no_varlen", lambda device, dtype: None)
    network = mixture(family).eval()
    choose_attention(network, torch.device("cpu"))
    assert name_of(network) != "varlen"
    assert found in (None, name_of(network))


def test_a_softcap_is_not_left_out(looped_varlen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "why_no_varlen", lambda device, dtype: None)
    torch.manual_seed(0)
    kind = transformers.Gemma2ForCausalLM
    network = kind(kind.config_class(**(SMALL | {"attn_logit_softcapping": 5.0}))).eval()
    choose_attention(network, torch.device("cpu"))
    assert name_of(network) == "eager"


def call(**changed: Any) -> tuple[Tensor, None]:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, 6, 8).unbind(0)
    places = torch.tensor([[0, 1, 2, 0, 1, 2]])
    marked = with_bounds(places, Bounds.of(places))
    return packed_varlen(torch.nn.Module(), **({"query": query, "key": key, "value": value} | marked | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"softcap": 5.0}, "'varlen' has no softcap"),
        ({"s_aux": torch.ones(4), "softcap": 1.0}, "has no softcap and no s_aux"),
        ({"dropout": 0.1}, "has no dropout"),
        ({"is_causal": False}, "has no attention to later tokens"),
        ({"attention_mask": torch.ones(1, 1, 6, 6, dtype=torch.bool)}, "makes one of its own"),
        ({name: torch.randn(1, 4, 6, 264) for name in ("query", "key", "value")}, "at most 256 numbers"),
    ],
)
def test_what_it_does_not_compute_is_refused(changed: Any, said: str, looped_varlen: list[int]) -> None:
    assert call()[0].shape == (1, 6, 4, 8)
    with pytest.raises(ValueError, match=said):
        call(**changed)


def test_views_of_the_mask_know_the_documents(looped_varlen: list[int]) -> None:
    places = torch.tensor([[0, 1, 2, 0, 1, 2]])
    mask = with_bounds(places, Bounds.of(places))["attention_mask"]
    assert (mask.shape, mask.untyped_storage().nbytes()) == ((1, 1, 6, 6), 1)
    with torch.no_grad():
        torch.testing.assert_close(call(attention_mask=mask[:, :, :, :6]), call())


def test_generation_and_panels_keep_to_masks(looped_varlen: list[int]) -> None:
    plain, network = pico_model().eval(), pico_model(attn_implementation=PACKED_VARLEN).eval()
    prompt = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    options: dict[str, Any] = {"attention_mask": (prompt > 0).long(), "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(network.generate(prompt, **options), plain.generate(prompt, **options))
    one, other = (CausalModel(found, pico_tokenizer()) for found in (plain, network))
    del looped_varlen[:]
    mask = torch.full((6, 6), torch.finfo(torch.float32).min).triu(1)
    mask[4:, 2:4] = mask.min()  # two answers to one question
    ids, places = torch.tensor([[5, 6, 7, 8, 7, 8]]), torch.tensor([[0, 1, 2, 3, 2, 3]])
    with torch.no_grad():
        found, expected = (model.rows(ids, places, mask[None, None]) for model in (other, one))
    torch.testing.assert_close(found, expected)
    assert looped_varlen == []


def test_a_machine_without_the_kernel_says_so(pico_folder: Path) -> None:
    section = ModelSection(path=str(pico_folder), attention="varlen")
    said = r"model.attention: 'varlen' is not usable here: it is a CUDA kernel, and the model is on 'cpu'. Leave it out"
    with pytest.raises(ModelError, match=said):
        load_network(section, torch.float32, torch.device("cpu"))
    sources = {"domain": {"path": "d.jsonl"}}
    data = {"model": {"path": str(pico_folder), "attention": "varlen"}, "sources": sources, "budget": {"steps": 1}}
    with pytest.raises(ModelError, match=said):  # before weights are read
        resolve(parse_config(data | {"method": "sft"}), keep_missing=True)


@pytest.mark.parametrize(
    ("dtype", "capability", "said"),
    [
        (torch.float32, (9, 0), "computes in bfloat16, and the model is float32"),
        (torch.bfloat16, (7, 5), "has compute capability 7.5, and flash attention wants 8.0"),
        (torch.bfloat16, (9, 0), None),
    ],
)
def test_why_a_gpu_has_none(
    dtype: torch.dtype, capability: tuple[int, int], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(varlen, "varlen_attn", looped)
    why = why_no_varlen(torch.device("cuda"), dtype)
    assert why is None if said is None else said in str(why)
    monkeypatch.setattr(varlen, "varlen_attn", None)
    assert "2.12 has" in str(why_no_varlen(torch.device("cuda"), dtype))


def test_torch_has_the_parameters_that_are_used() -> None:
    """The contract of the loop above is the kernel's."""
    if varlen.varlen_attn is None:
        pytest.skip("torch has no variable-length attention")
    import inspect

    own, theirs = (inspect.signature(kind).parameters for kind in (looped, varlen.varlen_attn))
    assert {name: found.kind for name, found in own.items()}.items() <= {n: p.kind for n, p in theirs.items()}.items()


def test_flash_attention_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers separates documents of a single row alone; the stand-in has the contract of the flash-attn package,
    and nothing asks the device in a layer."""
    calls = []

    def varlen_func(q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, **options: Any) -> Any:
        calls.append(len(q))
        most = (options["max_seqlen_q"], options["max_seqlen_k"])
        return looped(
            q, k, v, cu_seqlens_q, cu_seqlens_k, *most, scale=options["softmax_scale"], window_size=(-1, 0),
            enable_gqa=True,
        )  # fmt: skip

    def plain(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        found = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return found.transpose(1, 2)

    supports = dict.fromkeys(
        ("dropout_p", "window_size", "deterministic", "softcap", "s_aux", "learnable_sink", "block_table", "page_table",
         "cache_seqlens"), False
    ) | {"max_seqlen_q": True, "max_seqlen_k": True}  # fmt: skip

    def lazy(*args: Any, **kwargs: Any) -> Any:
        def process(**options: Any) -> Any:
            return flash._process_flash_attention_kwargs(**options, supports_mapping=supports)

        return (plain, varlen_func, None, None, None), (process, process)

    monkeypatch.setattr(flash, "lazy_import_flash_attention", lazy)
    monkeypatch.setattr(flash, "_is_packed_sequence", lambda *args: pytest.fail("the device was asked"))
    expected, _ = gradients(pico_model(), "sdpa", torch.float64)
    found, _ = gradients(pico_model(), FLASH, torch.float64)
    assert calls == [3 * 76] * 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_no_file_remembers_it(tmp_path: Path) -> None:
    network = pico_model(attn_implementation=PACKED_VARLEN)
    network.save_pretrained(tmp_path)
    assert "varlen" not in (tmp_path / "config.json").read_text()
