"""A micro-batch's forward and backward on the meta device: what they keep and take, for any family, without weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.kernels.attention import PACKED_SDPA, Packing
from acclimate.model.packing.attention import set_attention
from acclimate.model.packing.states import UNFIT
from acclimate.model.whole.towers import decoder_of
from acclimate.verbs.footprint.live import LiveBytes

ACTIVATIONS, MASKS, GRADIENTS, TEMPORARIES = "activations", "masks", "gradients", "temporaries"


@dataclass(frozen=True)
class Dry:
    """Bytes of one micro-batch, weights and head left out."""

    kept: Counter[str]
    """Between forward and backward, by kind."""
    forward: Counter[str]
    """At the forward's peak."""
    backward: Counter[str]
    """At the backward's, with the gradients that are there then."""


@dataclass(frozen=True)
class Shape:
    """Of a micro-batch, and how it is attended to."""

    rows: int
    length: int
    attention: str
    """As ``model.attention`` names it; sdpa is that of a CPU where ``cpu`` is set."""
    cpu: bool
    masked: bool
    """Whether attention has a mask [T, T] over each row, as packed rows have in sdpa on CUDA."""


def dry_run(network: Any, shape: Shape, accumulated: bool) -> Dry | None:
    """Runs the decoder, with each operation's result but nothing in it.

    Args:
        network: on the meta device, in its dtype, with its adapter and its checkpointing.
        accumulated: the gradients of an earlier micro-batch are there already.

    Returns:
        None of a network that looks at values on its way, as a mixture of experts may.
    """
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    was, attention = network.training, network.config._attn_implementation
    live = LiveBytes(lambda tensor: MASKS if _is_square(tensor, shape.length) else None)
    live.leave_out([*network.parameters(), *network.buffers()])
    try:
        with ExitStack() as held:
            for parameter in learned:
                hook = parameter.register_post_accumulate_grad_hook(lambda one: live.rename(one.grad, GRADIENTS))
                held.callback(hook.remove)
                held.callback(setattr, parameter, "grad", None)
            set_attention(network, shape.attention, torch.device("cpu" if shape.cpu else "cuda"))
            return _passes(network, shape, live, learned, accumulated)
    except UNFIT:
        return None
    finally:
        network.train(was)
        network.set_attn_implementation(attention)


def _passes(network: Any, shape: Shape, live: LiveBytes, learned: list[nn.Parameter], accumulated: bool) -> Dry:
    network.train()
    with _kernels(), live:
        live.begin(GRADIENTS)
        if accumulated:
            for parameter in learned:
                parameter.grad = torch.empty_like(parameter)
        live.begin(ACTIVATIONS)
        hidden = _hidden(network, shape)
        kept, forward = Counter(live.live), live.at_peak
        live.begin(TEMPORARIES)
        hidden.backward(torch.empty_like(hidden))  # type: ignore[no-untyped-call]
        return Dry(kept, forward, live.at_peak)


def _hidden(network: Any, shape: Shape) -> Tensor:
    """[B, T, D] of rows that each hold one document. How they are cut into documents changes little."""
    ids = torch.zeros(shape.rows, shape.length, dtype=torch.int64, device="meta")
    options: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if shape.masked or network.config._attn_implementation == PACKED_SDPA:
        mask = torch.empty(shape.rows, 1, shape.length, shape.length, dtype=torch.bool, device="meta")
        options["attention_mask"] = mask  # else a family would ask the positions where documents end
        options["position_ids"] = torch.zeros_like(ids)
    if network.config._attn_implementation == PACKED_SDPA:
        packing = Packing.of(torch.arange(shape.length)[None].expand(shape.rows, -1).clone())
        options["attention_mask"].plain = True
        options["position_ids"].packing = Packing(
            packing.slots.to("meta"), None, packing.places.to("meta"), packing.shapes
        )
    hidden: Tensor = decoder_of(network)(**options).last_hidden_state
    return hidden


def _is_square(tensor: Tensor, length: int) -> bool:
    """[B, H, T, T]; a layer's [B, T, I] may have I = T."""
    return tensor.dim() == 4 and tensor.shape[-2:] == (length, length)


@contextmanager
def _kernels() -> Iterator[None]:
    """Scaled dot-product attention by the kernels that a device has: the meta device takes the formula, whose
    probabilities [T, T] no kernel keeps. A function mode would be off while layers are computed again."""
    functional, own = torch.nn.functional, torch.nn.functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _fused
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if attn_mask is None:
        attended: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, is_causal, scale=scale
        )[0]
        return attended
    bias = attn_mask.to(query.dtype).expand(query.shape[0], query.shape[1], -1, -1)  # each call makes its own
    masked: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, 0.0, False, scale=scale
    )[0]
    return masked
