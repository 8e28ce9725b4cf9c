"""Which implementation of attention a network runs."""

from __future__ import annotations

from typing import Any

import torch

from acclimate.config.schema import ModelSection
from acclimate.kernels.attention import PACKED_SDPA
from acclimate.kernels.varlen import PACKED_VARLEN, why_no_varlen
from acclimate.model.checks.reach import reach_of
from acclimate.model.packing.probe import why_alone
from acclimate.model.packing.states import States, inference
from acclimate.types.errors import ModelError

FASTEST_FIRST = ("sdpa", "eager")
OURS = {PACKED_SDPA: "sdpa", PACKED_VARLEN: "varlen"}
"""What transformers knows under a name of ours, as a configuration names it."""
LEARNED = 32
"""Tokens of a text that is computed with a gradient and without."""


def name_of(network: Any) -> str:
    """The attention of a network as a configuration names it."""
    name = str(network.config._attn_implementation)
    return OURS.get(name, name)


def asked_attention(section: ModelSection) -> str | None:
    """As transformers is asked for it; None lets it take the fastest that the family has."""
    if section.attention == "auto":
        return None
    return PACKED_VARLEN if section.attention == "varlen" else section.attention


def check_attention_here(section: ModelSection, dtype: torch.dtype, device: torch.device) -> None:
    """Refuses an attention that was asked for and that this machine has not got.

    Raises:
        ModelError: it is ``varlen``, and there is no such kernel for this device and dtype.
    """
    if section.attention == "varlen" and (why := why_no_varlen(device, dtype)) is not None:
        raise ModelError(
            f"model.attention: 'varlen' is not usable here: {why}. Leave it out, and the fastest that is exact here is "
            "taken."
        )


def set_attention(network: Any, name: str, device: torch.device) -> bool:
    """Whether the network runs this attention from now on; on a CPU ``sdpa`` is ours, which regroups documents."""
    wanted = PACKED_VARLEN if name == "varlen" else name
    if name == "sdpa" and device.type == "cpu":
        wanted = PACKED_SDPA
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
    dtype = network.get_input_embeddings().weight.dtype
    fastest = ("varlen",) if why_no_varlen(device, dtype) is None else ()
    for name in dict.fromkeys((*fastest, first, *FASTEST_FIRST)):
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
