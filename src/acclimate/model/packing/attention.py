"""Which implementation of attention a network runs."""

from __future__ import annotations

from typing import Any

import torch

from acclimate.kernels.attention import PACKED_SDPA, name_of
from acclimate.model.checks.reach import reach_of
from acclimate.model.packing.probe import why_alone
from acclimate.model.packing.states import States, inference
from acclimate.types.errors import ModelError

FASTEST_FIRST = ("sdpa", "eager")


def set_attention(network: Any, name: str, device: torch.device) -> bool:
    """Whether the network runs this attention from now on; on a CPU ``sdpa`` is ours, which regroups documents."""
    wanted = PACKED_SDPA if name == "sdpa" and device.type == "cpu" else name
    if network.config._attn_implementation != wanted:
        try:
            network.set_attn_implementation(wanted)
        except ValueError:  # the family has not got it
            return False
    return bool(network.config._attn_implementation == wanted)


def choose_attention(network: Any, device: torch.device) -> None:
    """Gives a loaded network the fastest attention under which packed documents are computed as each by itself.

    Where none is, the family's fastest: its documents then get rows of their own.
    """
    first = name_of(network)  # of those that the family has
    for name in dict.fromkeys((first, *FASTEST_FIRST)):
        if not set_attention(network, name, device):
            continue
        try:
            with inference(network):
                if why_alone(States(network), reach_of(network.config).positions) is None:
                    return
        except ModelError:
            continue
    set_attention(network, first, device)
