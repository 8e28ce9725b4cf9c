"""Which matrices of a network an adapter reaches, and of what kind the others are."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from acclimate.model.whole.towers import decoder_of

KINDS = {
    "shared experts": r"shared_?expert|shared_mlp",
    "experts": r"expert",
    "router": r"router|(^|\.)gate(\.weight)?$|gate\.(weight|wg)|_gate\.weight$",
    "convolutions": r"conv",
}
"""What a matrix is, by its name; the first that fits. A router's gate is not the gate_proj of an MLP."""


def reached(model: Any) -> dict[str, Any]:
    """``of`` so many matrices and stacks of the text model so many are ``adapted``, with their ``share`` of weights,
    and the kinds of the others.

    Embeddings, head and towers are not counted: they stay frozen under LoRA.
    """
    network, scaled = model.network, model.lora_scaling
    adapted = {
        f"{name}.{getattr(module, 'parameter_name', 'weight')}".replace(".base_layer", "")
        for name, module in network.named_modules()
        if name in scaled
    }
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    tables.add(id(network.get_output_embeddings().weight))
    text = {id(value) for value in decoder_of(network).parameters()}
    matrices = {
        name.replace(".base_layer", ""): value.numel()
        for name, value in network.named_parameters()
        if value.ndim >= 2 and "lora_" not in name and id(value) in text - tables
    }
    missed = matrices.keys() - adapted
    return {
        "adapted": len(matrices.keys() & adapted),
        "of": len(matrices),
        "share": round(sum(matrices[name] for name in matrices.keys() & adapted) / sum(matrices.values()), 3),
        "missed": sorted({kind_of(name) for name in missed}),
    }


def kind_of(name: str) -> str:
    """
    >>> kind_of("model.layers.0.mlp.experts.gate_up_proj"), kind_of("model.layers.1.mlp.gate.weight")
    ('experts', 'router')
    >>> kind_of("model.layers.1.mlp.gate_proj.weight")
    'gate_proj'
    """
    for kind, pattern in KINDS.items():
        if re.search(pattern, name):
            return kind
    return name.removesuffix(".weight").rpartition(".")[2]
