"""Which results of a forward are kept for the backward, and which are computed again."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from acclimate.types.errors import ModelError

How = Literal["layers", "selective"]
"""layers: of each layer its input alone is kept. selective: its products and attention, too, which cost most."""

PRODUCTS = frozenset(
    {
        "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_grouped_mm", "aten::_scaled_mm",
        "aten::_scaled_dot_product_flash_attention", "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention",
        "aten::_flash_attention_forward", "aten::_efficient_attention_forward", "torch_attn::_varlen_attn",
        "torch_attn::_varlen_attn_out", "acclimate::adapted",
    }
)  # fmt: skip
"""Operations whose results ``selective`` keeps: those that torchtitan's selective checkpointing keeps [from code], with
the kernels of attention on a CPU and the fused adapter's."""


def recompute(network: Any, how: How | None) -> None:
    """Lets every layer of ``network`` be computed again in the backward; gradients stay bitwise the same, dropout too.

    Args:
        network: a transformers model, with its adapter, where it has one.
        how: ``layers`` takes least memory and about a third more time; ``selective`` computes norms, activations and
            rotations again, and no matrix product; None computes nothing again.

    Raises:
        ModelError: the family has no gradient checkpointing.
    """
    options: dict[str, Any] = {"use_reentrant": False}
    if how == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    for module in network.modules():
        if hasattr(module, "one_operation"):  # a fused adapter
            module.one_operation = how == "selective"
    # transformers 5.23 calls them otherwise, and warns of the name that older versions have
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    disable = getattr(network, "activation_checkpointing_disable", None) or network.gradient_checkpointing_disable
    if how is None:
        disable()
        return
    try:
        enable(options)
    except ValueError:
        raise ModelError(
            f"training.gradient_checkpointing: transformers cannot compute the layers of a {type(network).__name__} "
            "again; set it to false."
        ) from None


def _policy(context: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    name = operation._schema.name if isinstance(operation, torch._ops.OpOverload) else ""
    return CheckpointPolicy.MUST_SAVE if name in PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE
