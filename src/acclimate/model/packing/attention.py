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
LEARNED = 32
"""Tokens of a text that is computed with a gradient and without."""


def set_attention(network: Any, name: str, device: torch.device) -> bool:
    """Whether the network runs this attention from now on; on a CPU ``sdpa`` is ours, which regroups documents."""
    wanted = PACKED_SDPA if name == "sdpa" and device.type == "cpu" else name
    parts = (network.config, network.config.get_text_config())  # transformers may have chosen for each by itself
    if any(part._attn_implementation != wanted for part in parts):
        try:
            network.set_attn_implementation(wanted)
        except ValueError:  # the family has not got it
            return False
    return all(part._attn_implementation == wanted for part in parts)


def choose_attention(network: Any, device: torch.device) -> None:
    """Gives a loaded network the fastest attention under which packed documents are computed as each by itself, and
    with a gradient as without.

    Where none is, the family's fastest: its documents then get rows of their own.
    """
    first = name_of(network)  # of those that the family has
    for name in dict.fromkeys((first, *FASTEST_FIRST)):
        if not set_attention(network, name, device):
            continue
        try:
            with inference(network):
                states = States(network)
                if why_alone(states, reach_of(network.config).positions) is None and _learns_as_measured(states):
                    return
        except ModelError:
            continue
    set_attention(network, first, device)


def _learns_as_measured(states: States) -> bool:
    """Whether a forward with a gradient is bitwise the one without.

    Where a mask learns (Doge), sdpa takes another kernel; the divergence of an untouched model would not be 0.
    """
    ids = torch.arange(1, LEARNED + 1, device=states.device)[None]
    with torch.enable_grad():
        learned = states.alone(ids).detach()
    measured = states.alone(ids)
    return torch.equal(learned, measured) or not torch.equal(measured, states.alone(ids))  # no kernel repeats itself
