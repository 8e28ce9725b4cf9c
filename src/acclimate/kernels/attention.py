"""Attention over packed rows on a CPU: each document attends to itself, in batches of like length.

torch's attention takes a mask [T, T] for a packed row and computes all of it, also what the mask drops. Here the
documents of a micro-batch are regrouped into batches [n, H, L, d] of like length, and each batch is plain causal
attention without a mask. Padding sits at the end of a document, where no token of it looks, so it changes nothing.

float32 also in a bfloat16 model: torch's bfloat16 attention is more than twice as slow in backward on a CPU
(`docs/howto/performance.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_SDPA = "packed_sdpa"
"""The name under which transformers knows this attention."""

LENGTH_RATIO, SHORT = 0.75, 32
"""A document joins a batch if it has this share of the batch's length, or if that length is short."""


@dataclass(frozen=True)
class Packing:
    """Where each document of a micro-batch goes: P positions in rows, S slots in batches of documents."""

    slots: Tensor  # [S] position whose token sits in the slot; padding repeats some position
    real: Tensor | None  # [S] bool, False at padding; None without padding
    places: Tensor  # [P] slot of each position
    shapes: tuple[tuple[int, int], ...]  # (documents, length) of each batch

    @classmethod
    def of(cls, position_ids: Tensor) -> Packing:
        """Reads the documents off position ids [B, T] that restart at each."""
        first = position_ids == 0
        first[:, 0] = True  # a row never continues the one before it
        starts = first.flatten().nonzero().squeeze(1)
        lengths = torch.diff(starts, append=starts.new_tensor([first.numel()]))
        lengths, order = lengths.sort(descending=True, stable=True)
        starts = starts[order]
        slots, real, shapes, begin = [], [], [], 0
        for end in _batch_ends(lengths.tolist()):
            offsets = torch.arange(int(lengths[begin]))
            inside = offsets < lengths[begin:end, None]  # [n, L]
            slots.append(torch.where(inside, starts[begin:end, None] + offsets, 0).flatten())
            real.append(inside.flatten())
            shapes.append((end - begin, len(offsets)))
            begin = end
        every_slot, is_real = torch.cat(slots), torch.cat(real)
        places = torch.empty(first.numel(), dtype=torch.int64)
        places[every_slot[is_real]] = is_real.nonzero().squeeze(1)
        return cls(every_slot, None if is_real.all() else is_real, places, tuple(shapes))

    def gather(self, x: Tensor) -> Tensor:
        """Positions [P, H, d] to slots [S, H, d]."""
        regrouped: Tensor = _Regroup.apply(x, self.slots, self.places, None)  # type: ignore[no-untyped-call]
        return regrouped

    def scatter(self, x: Tensor) -> Tensor:
        """Slots [S, H, d] to positions [P, H, d]."""
        regrouped: Tensor = _Regroup.apply(x, self.places, self.slots, self.real)  # type: ignore[no-untyped-call]
        return regrouped


def _batch_ends(lengths: list[int]) -> list[int]:
    """Cuts descending lengths into batches of like length."""
    ends, longest = [], lengths[0]
    for i, length in enumerate(lengths):
        if length < LENGTH_RATIO * longest and longest > SHORT:
            ends.append(i)
            longest = length
    return [*ends, len(lengths)]


class _Regroup(torch.autograd.Function):
    """``x[index]``, whose gradient is read back by the inverse index instead of being added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor, real: Tensor | None) -> Tensor:
        ctx.save_for_backward(inverse, real)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        inverse, real = ctx.saved_tensors
        grad = grad_outputs[0].index_select(0, inverse)
        return grad if real is None else grad.masked_fill_(~real[:, None, None], 0), None, None, None


def with_packing(position_ids: Tensor) -> Tensor:
    """The same position ids, marked so that :func:`packed_sdpa` regroups their documents in every layer."""
    marked = position_ids.view_as(position_ids)
    marked.packing = Packing.of(position_ids)  # type: ignore[attr-defined]
    return marked


def packed_sdpa(
    module: torch.nn.Module,
    query: Tensor,  # [B, H, T, d]
    key: Tensor,  # [B, H_kv, T, d]
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention [B, T, H, d] in the form transformers calls.

    Without marked position ids (generation, families that do not hand them on), and with anything but plain causal
    attention, it is transformers' own ``sdpa`` under the mask. A mask that the family has changed, as sparse attention
    does, is obeyed, too.
    """
    packing: Packing | None = getattr(kwargs.get("position_ids"), "packing", None)
    window = kwargs.get("sliding_window")
    others = any(kwargs.get(name) is not None for name in ("position_bias", "cache", "softcap", "s_aux", "is_causal"))
    narrow = packing is not None and window is not None and window < packing.shapes[0][1]
    causal = getattr(module, "is_causal", True) and _is_plain(attention_mask)
    if packing is None or others or narrow or dropout or not causal:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    dtype = torch.promote_types(query.dtype, torch.float32)
    sizes = [documents * length for documents, length in packing.shapes]
    slots = [torch.split(packing.gather(x.transpose(1, 2).flatten(0, 1)).to(dtype), sizes) for x in (query, key, value)]
    outputs = []
    for (documents, length), *parts in zip(packing.shapes, *slots, strict=True):
        q, k, v = (x.view(documents, length, *x.shape[1:]).transpose(1, 2) for x in parts)  # [n, H, L, d]
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, enable_gqa=k.shape[1] != q.shape[1]
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1).to(query.dtype))
    placed = packing.scatter(torch.cat(outputs))  # [P, H, d]
    return placed.view(query.shape[0], query.shape[2], *placed.shape[1:]), None


def packed_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask of ``sdpa``, marked: what :func:`packed_sdpa` is given unchanged, it need not look at."""
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    if mask is not None:
        mask.plain = True  # type: ignore[attr-defined]
    return mask


def _is_plain(mask: Tensor | None) -> bool:
    """Whether a mask is one of :func:`packed_mask`, or a view of it."""
    return mask is None or any(getattr(one, "plain", False) for one in (mask, mask._base))


AttentionInterface.register(PACKED_SDPA, packed_sdpa)
AttentionMaskInterface.register(PACKED_SDPA, packed_mask)
