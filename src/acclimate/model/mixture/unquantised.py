"""What 4-bit quantisation would leave as it is."""

from __future__ import annotations

from typing import Any

from acclimate.kernels.quantised import BYTES
from acclimate.model.lora.matrices import Kind, is_linear, matrices
from acclimate.types.errors import ModelError

WIDTH = 2
"""Bytes of a weight that is not quantised, in bfloat16."""


def check_quantised(network: Any, kind: str | None) -> None:
    """Refuses ``model.quantization`` where experts keep their bytes: bitsandbytes knows linear layers only.

    Args:
        network: on the meta device its shapes suffice.
        kind: ``nf4``, or None, which leaves nothing to check.

    Raises:
        ModelError: with how much would stay.
    """
    if kind is None:
        return
    stacked = [
        m for m in matrices(network) if m.kind is Kind.EXPERTS and not is_linear(network.get_submodule(m.module))
    ]
    if not stacked:
        return
    head = network.get_output_embeddings()
    layers = {module for module in network.modules() if is_linear(module) and module is not head}
    quantised = sum(layer.weight.numel() for layer in layers)
    total = network.num_parameters()
    left = WIDTH * sum(network.get_parameter(m.name).numel() for m in stacked)
    after = WIDTH * (total - quantised) + BYTES * quantised
    raise ModelError(
        f"model.quantization: '{kind}' is for linear layers, and its experts are {len(stacked)} stacks of matrices, "
        f"which bitsandbytes leaves as they are: {left / 2**30:.2g} of {after / 2**30:.2g} GiB "
        f"({left / after:.0%}), which would be {WIDTH * total / 2**30:.2g} GiB without it. Leave it out."
    )
