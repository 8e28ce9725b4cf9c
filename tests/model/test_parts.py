"""Which checkpoints a process can read a part of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.core_model_loading import Chunk, Concatenate, MergeModulelist, Transpose

from acclimate.config.schema import ModelSection
from acclimate.model.checkpoint.parts import NotCut, Split, _loose, _plan, _tie_as, parts_of, read_whole
from acclimate.model.lora.stand_ins import stand_ins
from tests.fixtures.pico import pico_model


def loaded(*operations: Any) -> Any:
    """As transformers leaves it: meta tensors would be refused as unread, which comes later."""
    network = pico_model()
    network._weight_conversions = [SimpleNamespace(operations=list(operations))]
    return network


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([Chunk(dim=0)], "Chunk"),
        ([Concatenate(dim=0)], "Concatenate"),
        ([MergeModulelist(dim=1)], "MergeModulelist"),
        ([MergeModulelist(dim=0), Concatenate(dim=1), Transpose(1, 2)], "Transpose"),
    ],
)
def test_rows_that_are_made_of_other_rows_are_not_cut(operations: list[Any], said: str) -> None:
    """transformers would cut the source as the result is cut, and the rows would be other ones [from code]."""
    with pytest.raises(NotCut, match=f"transformers' {said} makes tensors"):
        parts_of(pico_model(), loaded(*operations))


def test_stacked_experts_are_cut() -> None:
    """They pass this check; the next one says that nothing was read for FSDP here."""
    with pytest.raises(NotCut, match="was not read"):
        parts_of(pico_model(), loaded(MergeModulelist(dim=0), Concatenate(dim=1)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "m.gguf"}, "GGUF"),
        ({"trust_remote_code": True}, "code"),
        ({"quantization": "nf4"}, "quantised"),
    ],
)
def test_known_before_anything_is_read(changes: dict[str, Any], said: str, tmp_path: Any) -> None:
    if "path" in changes:
        changes = {"path": str(tmp_path / "m.gguf")}
        (tmp_path / "m.gguf").touch()
    why = read_whole(ModelSection(**({"path": "there"} | changes)))
    assert why is not None
    assert said in why


def test_another_device_than_transformers_reads_for() -> None:
    with pytest.raises(NotCut, match="reads parts for this machine's"):
        Split(2, device="other").config(pico_model())


def test_the_plan_names_the_decoder_s_layers() -> None:
    assert _plan(pico_model()) == {"model.layers.*": "free_full_weight"}


def test_numbers_that_are_no_buffer_are_seen() -> None:
    with torch.device("meta"):
        network = pico_model()
    assert _loose(network) is None
    network.model.tables = [torch.ones(2, device="meta")]
    assert _loose(network) == "model"


def test_names_are_of_one_tensor_as_in_the_checkpoint() -> None:
    tied, untied = pico_model(), pico_model(tie=False)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    _tie_as(tied, dict(untied.named_parameters(remove_duplicate=False)))
    assert tied.lm_head.weight is not tied.model.embed_tokens.weight
    _tie_as(tied, dict(pico_model().named_parameters(remove_duplicate=False)))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


def test_stand_ins_take_no_memory_and_leave_nothing() -> None:
    with torch.device("meta"):
        network = pico_model()
    before = dict(network.named_parameters(remove_duplicate=False))
    device = torch.device("cpu")
    with stand_ins(network, device):
        weights = list(network.parameters())
        assert all(w.device == device and w.untyped_storage().nbytes() == w.element_size() for w in weights)
        assert network.lm_head.weight is network.model.embed_tokens.weight
        network.requires_grad_(False)
    after = dict(network.named_parameters(remove_duplicate=False))
    assert all(after[name] is weight for name, weight in before.items())
    assert not any(weight.requires_grad for weight in after.values())
