"""What a network of a configuration will do with packed documents, told before its weights are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.config.schema import ModelSection
from acclimate.model.causal import CausalModel
from acclimate.model.load import empty_network
from acclimate.model.packing.attention import choose_attention, set_attention
from acclimate.model.packing.states import UNFIT
from acclimate.model.whole.towers import decoder_of
from acclimate.types.errors import ModelError

TOKENS = 128
"""Rows of the sketch's embeddings and head."""
LARGEST = 600_000_000
"""Weights of a sketch, of which a larger one is not made: they are float32, and take time to fill."""


@dataclass(frozen=True)
class Outlook:
    """The attention that a network will have, and why its documents will have rows of their own, if they will."""

    attention: str
    alone: str | None


def outlook(section: ModelSection, device: torch.device) -> Outlook | None:
    """What :class:`CausalModel` will find out when the weights are loaded; None where a sketch cannot tell.

    The sketch has the configuration's own layers, the first ones up to the last kind, with weights that are made up:
    how a family treats packed documents does not depend on them.
    """
    try:
        network = empty_network(section)
        _keep_kinds(network)
        _cut_vocabulary(network)
        if sum(weight.numel() for weight in network.parameters()) > LARGEST:
            return None
        _fill(network, device)
        if device.type == "cuda" and section.dtype != "float32":
            network.to(torch.bfloat16)  # in which a GPU has kernels that float32 has not
        if section.attention == "auto":
            choose_attention(network, device)
        else:
            set_attention(network, section.attention, device)
        model = CausalModel(network, None)
    except (ModelError, *UNFIT):  # what stops a run stops it when the weights are loaded, with a sentence
        return None
    return Outlook(model.attention, model.alone)


def _keep_kinds(network: Any) -> None:
    """Takes out the layers behind the first one of the last kind."""
    lists = [module for module in decoder_of(network).modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=lambda found: sum(weight.numel() for weight in found.parameters()))
    types = getattr(network.config.get_text_config(), "layer_types", None) or [None] * len(layers)
    kinds: dict[Any, int] = {}
    for i, (layer, kind) in enumerate(zip(layers, types, strict=False)):
        shapes = tuple((name, weight.shape) for name, weight in layer.named_parameters())
        kinds.setdefault((type(layer), kind, shapes), i)
    del layers[max(kinds.values()) + 1 :]


def _cut_vocabulary(network: Any) -> None:
    embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
    tied = embeddings.weight is head.weight
    for module in (embeddings, head):
        for name in ("weight", "bias"):
            if isinstance(whole := getattr(module, name, None), Tensor):
                setattr(module, name, nn.Parameter(whole[:TOKENS].clone()))
    if tied:
        head.weight = embeddings.weight
    embeddings.padding_idx = None


@torch.no_grad()
def _fill(network: Any, device: torch.device) -> None:
    """Buffers as the family makes them, matrices that neither shrink nor blow up what goes through them."""
    network.to_empty(device=device).float()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        tensor.fill_(1 if name.endswith("norm.weight") else 0)  # what no rule of the family's makes
    network.init_weights()
    generator = torch.Generator(device).manual_seed(0)
    for weight in network.parameters():
        if weight.dim() > 1:
            bound = math.sqrt(3 / weight.shape[-1])
            weight.uniform_(-bound, bound, generator=generator)
    network.requires_grad_(False).eval()
