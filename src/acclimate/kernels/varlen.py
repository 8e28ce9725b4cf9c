"""Attention over packed rows on CUDA: torch's variable-length flash attention, without a mask.

All positions of a micro-batch stand in one line [B * T], and the kernel is told where documents begin. So nothing of
size T x T exists, nothing between two documents is computed, grouped heads are not repeated, and a sliding window is a
number. The kernel needs CUDA: here it is tried with a loop over documents in its place (tests/model/test_varlen.py),
and not run on a GPU.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from acclimate.types.batch import Bounds

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None  # type: ignore[assignment]

PACKED_VARLEN = "packed_varlen"
"""The name under which transformers knows this attention."""
NEEDS = ("scale", "window_size", "enable_gqa")
"""Parameters of ``varlen_attn`` that are used; torch 2.10 and 2.11 lack some [second-hand]."""
WIDEST_HEAD, HEAD_STEP = 256, 8
"""Flash attention computes heads of at most so many numbers, in steps of 8 [from code]."""
CAPABILITY = (8, 0)
"""Of the GPU, least (Ampere) [from code]."""


def why_no_varlen(device: torch.device, dtype: torch.dtype) -> str | None:
    """What the kernel lacks here, as a sentence's end; None where it runs."""
    if device.type != "cuda":
        return f"it is a CUDA kernel, and the model is on '{device.type}'"
    if varlen_attn is None or not set(NEEDS) <= inspect.signature(varlen_attn).parameters.keys():
        return f"torch {torch.__version__} has no variable-length attention with windows; 2.12 has"
    if (found := torch.cuda.get_device_capability(device)) < CAPABILITY:
        return f"the GPU has compute capability {found[0]}.{found[1]}, and flash attention wants 8.0"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"flash attention computes in bfloat16, and the model is {str(dtype).removeprefix('torch.')}"
    return None


def with_bounds(position_ids: Tensor, bounds: Bounds) -> dict[str, Tensor]:
    """What a decoder is given beside the tokens, so that :func:`packed_varlen` knows the documents in every layer.

    transformers hands a mask of four dimensions on as it is: it builds none, and asks the device for nothing. This one
    has a single element.

    Args:
        position_ids: [B, T].
    """
    rows, width = position_ids.shape
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=position_ids.device)
    marked = position_ids.view_as(position_ids)
    everything.bounds = marked.bounds = bounds  # type: ignore[attr-defined]
    return {"position_ids": marked, "attention_mask": everything.expand(rows, 1, width, width)}


def packed_varlen(
    module: torch.nn.Module,
    query: Tensor,  # [B, H, T, d]
    key: Tensor,  # [B, H_kv, T, d]
    value: Tensor,  # [B, H_kv, T, d_v]
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention [B, T, H, d_v] in the form transformers calls.

    ``softmax(s q k^T) v`` over those tokens of a query's document that do not come after it; with a window W over the
    last W of them, itself included. Without the marks of :func:`with_bounds` (generation, panels, rows of one document)
    it is transformers' own ``sdpa`` under the mask.

    Raises:
        ValueError: the family asks for what the kernel does not compute, or changes the mask.
    """
    asked = [name for name in ("softcap", "s_aux", "position_bias", "cache") if kwargs.get(name) is not None]
    if asked:
        raise ValueError(f"model.attention 'varlen' has no {' and no '.join(asked)}, which this family asks for")
    bounds = _bounds_of(attention_mask)
    if bounds is None:
        if getattr(kwargs.get("position_ids"), "bounds", None) is not None:
            raise ValueError("model.attention 'varlen' has no mask, and this family makes one of its own in its layers")
        if sliding_window is not None:
            kwargs["sliding_window"] = sliding_window
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
        return result
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if dropout or not causal:
        raise ValueError(f"model.attention 'varlen' has no {'dropout' if dropout else 'attention to later tokens'}")
    rows, heads, width, wide = query.shape
    longest = max(wide, value.shape[-1])
    if longest > WIDEST_HEAD:
        raise ValueError(
            f"model.attention 'varlen' has heads of at most {WIDEST_HEAD} numbers, and these have {longest}"
        )
    room = -(-longest // HEAD_STEP) * HEAD_STEP
    q, k, v = (
        _padded(x.transpose(1, 2).reshape(rows * width, x.shape[1], x.shape[3]), room) for x in (query, key, value)
    )
    starts, scale = bounds.starts, wide**-0.5 if scaling is None else scaling
    window = (-1, 0) if sliding_window is None else (sliding_window - 1, 0)  # the kernel's left does not count itself
    attended = varlen_attn(
        q,
        k,
        v,
        starts,
        starts,
        bounds.longest,
        bounds.longest,
        scale=scale,
        window_size=window,
        enable_gqa=key.shape[1] != heads,
    )
    assert isinstance(attended, Tensor)
    return attended[..., : value.shape[-1]].reshape(rows, width, heads, value.shape[-1]), None


def _padded(x: Tensor, width: int) -> Tensor:
    """Heads [P, H, d] with zeros behind, which change no product."""
    return x if x.shape[-1] == width else torch.nn.functional.pad(x, (0, width - x.shape[-1]))


def _bounds_of(mask: Tensor | None) -> Bounds | None:
    """Of the mask of :func:`with_bounds`, or of a view of it."""
    if mask is None:
        return None
    found = (getattr(one, "bounds", None) for one in (mask, mask._base))
    return next((bounds for bounds in found if isinstance(bounds, Bounds)), None)


AttentionInterface.register(PACKED_VARLEN, packed_varlen)
AttentionMaskInterface.register(PACKED_VARLEN, sdpa_mask)
