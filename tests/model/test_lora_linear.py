"""The fused LoRA layer beside PEFT's own."""

from __future__ import annotations

import copy

import pytest
import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from acclimate.config.lora_schema import LoraSection
from acclimate.kernels.lora_linear import FusedLinear
from acclimate.model.lora.adapter import attach_lora
from tests.fixtures.pico import pico_model


def layers(bias: bool, dtype: torch.dtype = torch.float64) -> tuple[FusedLinear, Linear]:
    """Two layers of equal weights, whose B is not 0: ours and PEFT's."""
    torch.manual_seed(0)
    network = pico_model().to(dtype)
    attach_lora(network, LoraSection(rank=3, alpha=5.0, target_modules=["up_proj"]))
    ours = next(module for module in network.modules() if isinstance(module, Linear))
    if bias:
        ours.base_layer.bias = nn.Parameter(torch.randn(ours.base_layer.out_features, dtype=dtype))
    nn.init.normal_(ours.lora_B["default"].weight)
    theirs = copy.deepcopy(ours)
    theirs.__class__ = Linear
    assert type(ours) is FusedLinear
    return ours, theirs


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dense", [False, True], ids=["frozen", "dense gradient"])
@pytest.mark.parametrize("shape", [(4, 6), (7,)], ids=str)
def test_outputs_and_gradients_are_pefts(bias: bool, dense: bool, shape: tuple[int, ...]) -> None:
    found: list[list[Tensor]] = []
    for layer in layers(bias):
        layer.base_layer.requires_grad_(dense)
        torch.manual_seed(1)
        x = torch.randn(*shape, layer.in_features, dtype=torch.float64, requires_grad=True)
        y = layer(x)
        y.backward(torch.randn_like(y))
        assert x.grad is not None
        gradients = [parameter.grad for parameter in layer.parameters() if parameter.requires_grad]
        assert len(gradients) == 2 + (1 + bias) * dense
        found.append([y.detach(), x.grad, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_an_adapter_it_is_the_base_bitwise(dtype: torch.dtype) -> None:
    """Both where the adapter is off and where B is 0, as at step 0: an anchor is exactly 0 there."""
    ours, _ = layers(bias=False, dtype=dtype)
    x = torch.randn(2, 5, ours.in_features, dtype=dtype)
    base = ours.base_layer(x)
    assert not torch.equal(ours(x), base)
    ours.enable_adapters(False)
    assert torch.equal(ours(x), base)
    ours.enable_adapters(True)
    nn.init.zeros_(ours.lora_B["default"].weight)
    assert torch.equal(ours(x), base)


def test_it_merges_as_pefts_does() -> None:
    ours, _ = layers(bias=False)
    x = torch.randn(2, 5, ours.in_features, dtype=torch.float64)
    before = ours(x)
    ours.merge()
    torch.testing.assert_close(ours(x), before, rtol=1e-12, atol=1e-12)
    ours.unmerge()
    torch.testing.assert_close(ours(x), before, rtol=1e-12, atol=1e-12)


def test_dropout_is_left_to_peft() -> None:
    network = pico_model()
    attach_lora(network, LoraSection(rank=3, dropout=0.5, target_modules=["up_proj"]))
    adapted = [module for module in network.modules() if isinstance(module, Linear)]
    assert adapted
    assert all(type(module) is Linear for module in adapted)
