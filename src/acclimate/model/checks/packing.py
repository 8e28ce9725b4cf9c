"""Whether documents that are packed in one row are computed as each by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from acclimate.model.checks.reach import LIMITLESS
from acclimate.types.errors import ModelError

PROBE = 8
"""Tokens of a probed document; a window is made half as long, so that the document goes beyond it."""
ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Relative difference of hidden states that shapes and kernels may make."""
BFLOAT16_ROUNDING = 0.15
WINDOWS = ("sliding_window", "window_size")


class Packed(Protocol):
    """A network's hidden states [B, T, D] of packed rows."""

    network: Any
    device: torch.device

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def positions(self) -> int: ...

    def packed(self, input_ids: Tensor, position_ids: Tensor) -> Tensor: ...


def check_packing(model: Packed) -> None:
    """Refuses a network in which a document's hidden states depend on what is packed beside it.

    =========================  =====================================================================================
    other tokens before it     bitwise equal, since shapes and kernels are the same: masks
    a far position beside it   likewise: frequencies that the longest position of a forward switches. A token at the
                               last position that a row may have is as good as a document of that length
    alone in a row             equal but for rounding, with windows shorter than the document: what counts from the
                               beginning of a row
    =========================  =====================================================================================

    Raises:
        ModelError: one of them differs.
    """
    rows = model.network.get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, 4 * PROBE + 1, device=model.device).remainder(rows).view(2, 2 * PROBE)
    places = torch.arange(PROBE, device=model.device)
    positions = places.repeat(2).expand(2, 2 * PROBE)
    found = model.packed(ids, positions)[:, PROBE:]
    other = ids.clone()
    other[:, :PROBE] = other[:, :PROBE].flip(1)
    if not torch.equal(found, model.packed(other, positions)[:, PROBE:]):
        raise _refused(model, "documents that are packed in one row see each other")
    if model.positions < LIMITLESS:
        far = positions.clone()
        far[:, 0] = model.positions - 1
        far[:, 1:PROBE] -= 1  # a document of one token, and one of the others
        if not torch.equal(found, model.packed(ids, far)[:, PROBE:]):
            raise _refused(model, f"a document of {model.positions} tokens change what is computed of its neighbours")
    with _short_windows(model.network) as changed:
        beside = model.packed(ids, positions)[:, PROBE:] if changed else found
        alone = model.packed(ids[:, PROBE:], positions[:, PROBE:])
    if (beside - alone).norm() > ROUNDING.get(model.dtype, BFLOAT16_ROUNDING) * alone.norm():
        raise _refused(model, "a document's place in its row change what is computed of it")


def _refused(model: Packed, what: str) -> ModelError:
    return ModelError(
        f"{type(model.network).__name__} with attention '{model.network.config._attn_implementation}' lets {what}, so "
        "acclimate cannot train or measure it; use model.attention: sdpa or eager, and a model with plain causal "
        "attention (Llama, Qwen, Gemma ...)."
    )


@contextmanager
def _short_windows(network: Any) -> Iterator[bool]:
    """Sliding windows shorter than a probed document, in configuration and layers; whether there are any."""
    config = network.config.get_text_config()
    holders = [config, *network.modules()]
    changed = [(holder, name, vars(holder)[name]) for holder in holders for name in WINDOWS if _is_window(holder, name)]
    for holder, name, _ in changed:
        setattr(holder, name, PROBE // 2)
    try:
        yield bool(changed)
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def _is_window(holder: Any, name: str) -> bool:
    return isinstance(vars(holder).get(name), int) and vars(holder)[name] > PROBE // 2
