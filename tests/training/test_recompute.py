"""Layers that are computed again in the backward: the same gradients bitwise, and which products are made twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from acclimate.config.lora_schema import LoraSection
from acclimate.kernels.recompute import recompute
from acclimate.model.causal import CausalModel
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.packing.attention import set_attention
from acclimate.types.errors import ModelError
from tests.fixtures.pico import pico_model, pico_tokenizer

KINDS: dict[str, Any] = {
    "full": None,
    "lora": LoraSection(rank=4),
    "dropout": LoraSection(rank=4, dropout=0.5),
}
PRODUCTS = ("aten::mm", "aten::addmm", "acclimate::adapted", "aten::_scaled_dot_product_flash_attention_for_cpu")


class Counted(TorchDispatchMode):
    """How many products and attentions are made."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.others = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in PRODUCTS:
            self.products += 1
        else:
            self.others += 1
        return func(*args, **(kwargs or {}))


def passes(kind: str, how: Any, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], Counted]:
    """Gradients of one micro-batch of two packed documents, and what was computed for them."""
    network = pico_model(dtype=dtype)
    peft = attach_lora(network, KINDS[kind]) if KINDS[kind] is not None else None
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.manual_seed(len(name))
            nn.init.normal_(parameter)
    set_attention(network, "sdpa", torch.device("cpu"))
    model = CausalModel(network, pico_tokenizer(), peft)
    recompute(network, how)
    network.train()
    ids = torch.arange(3, 35).view(2, 16)
    positions = torch.arange(8).repeat(2, 2)
    torch.manual_seed(7)
    with Counted() as counted:
        hidden = model.states.packed(ids, positions)
        hidden.backward(torch.linspace(-1, 1, hidden.numel(), dtype=dtype).view_as(hidden))
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found, counted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_bitwise_the_same(kind: str, dtype: torch.dtype) -> None:
    plain, once = passes(kind, None, dtype)
    selective, kept = passes(kind, "selective", dtype)
    layers, again = passes(kind, "layers", dtype)
    assert plain.keys() == selective.keys() == layers.keys()
    assert len(plain) > 4
    for name, gradient in plain.items():
        assert gradient.any(), name
        assert torch.equal(selective[name], gradient), name
        assert torch.equal(layers[name], gradient), name
    if kind == "full":
        assert kept.products == once.products
    assert kept.products < again.products
    assert kept.others > once.others  # something is computed again


def test_a_fused_adapter_is_not_computed_again() -> None:
    """The product of the frozen matrix is added to in place, so its result alone could not be kept."""
    _, kept = passes("lora", "selective")
    _, again = passes("lora", "layers")
    _, once = passes("lora", None)
    assert kept.products < once.products < again.products


def test_a_family_without_it_is_refused() -> None:
    network = pico_model()
    network.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match=r"gradient_checkpointing: .* LlamaForCausalLM again; set it to false"):
        recompute(network, "layers")
