"""Documents regrouped for attention against the masked row: same outputs, same gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acclimate.config.schema import ModelSection
from acclimate.kernels import attention
from acclimate.kernels.attention import PACKED_SDPA, Packing, packed_sdpa, with_packing
from acclimate.model.load import load_network
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model


def gradients(implementation: str, heads: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Hidden states of three packed rows and the gradient of every parameter, in float64."""
    network = pico_model(dtype=torch.float64, attn_implementation=implementation, num_key_value_heads=heads)
    batch = packed([[(0, 40, 0), (1, 3, 0), (2, 33, 0)], [(3, 50, 0), (4, 1, 0)], [(5, 70, 0)]])
    positions = batch.position_ids
    if implementation == PACKED_SDPA:
        positions = with_packing(positions)
        assert len(positions.packing.shapes) > 1  # type: ignore[attr-defined]
        assert positions.packing.real is not None  # type: ignore[attr-defined]
    hidden = network.get_decoder()(batch.input_ids, position_ids=positions, use_cache=False).last_hidden_state
    real = batch.document >= 0
    hidden[real].sin().sum().backward()
    grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return hidden[real].detach(), grads


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_equals_the_masked_row(heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, expected_grads = gradients("sdpa", heads)

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the slow path ran")

    monkeypatch.setattr(attention, "sdpa_attention_forward", unreachable)
    found, grads = gradients(PACKED_SDPA, heads)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert expected_grads.keys() == grads.keys()
    for name, grad in grads.items():
        assert grad.abs().max() > 1e-4
        torch.testing.assert_close(grad, expected_grads[name], rtol=0, atol=1e-9)


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=4))
def test_every_token_has_one_slot_and_comes_back(rows: list[list[int]]) -> None:
    batch = packed([[(0, length, 0) for length in row] for row in rows])
    packing = Packing.of(batch.position_ids)
    positions = batch.position_ids.numel()
    x = torch.arange(positions).double().view(-1, 1, 1)
    slots = packing.gather(x)
    assert len(slots) == sum(documents * length for documents, length in packing.shapes)
    assert torch.equal(packing.scatter(slots), x)
    used = packing.slots if packing.real is None else packing.slots[packing.real]
    assert sorted(used.tolist()) == list(range(positions))
    begin = 0
    for documents, length in packing.shapes:  # within a batch of documents, positions ascend one by one
        block = packing.slots[begin : begin + documents * length].view(documents, length)
        real = torch.ones_like(block, dtype=torch.bool)
        if packing.real is not None:
            real = packing.real[begin : begin + documents * length].view(documents, length)
        assert real[:, 0].all()
        assert (batch.position_ids.flatten()[block[real]] == torch.arange(length).expand_as(block)[real]).all()
        begin += documents * length


def test_a_mask_that_a_family_has_changed_is_obeyed() -> None:
    """As sparse attention does, which drops positions from the plain mask."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, 6, 8).unbind(0)
    positions = with_packing(torch.tensor([[0, 1, 2, 0, 1, 2]]))
    same = torch.tensor([0, 0, 0, 1, 1, 1])
    mask = (same[:, None] == same).tril()[None, None]
    module = torch.nn.Module()
    mask.plain = True  # type: ignore[attr-defined]
    plain, _ = packed_sdpa(module, query, key, value, mask, position_ids=positions)
    sparse = mask.clone()
    sparse[..., 2, 0] = False
    found, _ = packed_sdpa(module, query, key, value, sparse, position_ids=positions)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=sparse).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    assert (found[0, 2] - plain[0, 2]).abs().max() > 1e-3
    torch.testing.assert_close(found[0, 3:], plain[0, 3:])


def test_a_cpu_gets_it_and_no_file_remembers_it(pico_folder: Path, tmp_path: Path) -> None:
    network = load_network(ModelSection(path=str(pico_folder)), torch.float32, torch.device("cpu"))
    assert network.config._attn_implementation == PACKED_SDPA
    eager = load_network(ModelSection(path=str(pico_folder), attention="eager"), torch.float32, torch.device("cpu"))
    assert eager.config._attn_implementation == "eager"
    network.save_pretrained(tmp_path)
    assert PACKED_SDPA not in (tmp_path / "config.json").read_text()


def test_generation_keeps_to_the_mask() -> None:
    plain, packed_network = pico_model(), pico_model(attn_implementation=PACKED_SDPA)
    prompt = torch.tensor([[5, 6, 7, 8]])
    expected = plain.generate(prompt, max_new_tokens=8, do_sample=False)
    assert torch.equal(packed_network.generate(prompt, max_new_tokens=8, do_sample=False), expected)
