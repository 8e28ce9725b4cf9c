"""The parts of a network that text never passes: towers, projectors and cross-attention stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from acclimate.model.whole.classes import is_composite

CROSS = re.compile(r"cross_?att|encoder_att", re.IGNORECASE)
"""In the names that transformers gives to attention over what another network has read."""


SHOWN = 4
"""Names in a sentence."""


def decoder_of(network: Any) -> Any:
    """What makes hidden states: some families' ``get_decoder`` answers with the module above it, or with the head."""
    decoder, head = network.get_decoder(), network.get_output_embeddings()
    if decoder is head:
        decoder = network.base_model
    while head is not None and any(module is head for module in decoder.modules()):
        parts = dict(decoder.named_children())
        layered = [part for part in parts.values() if any(isinstance(inner, nn.ModuleList) for inner in part.modules())]
        inner = [parts[name] for name in ("model", "language_model") if name in parts] or layered
        if not inner:
            break
        decoder = inner[0]
    return decoder


def freeze(network: Any) -> tuple[str, ...]:
    """Takes the gradient from what text never passes, and with it master, optimizer state, decay and penalties.

    Returns:
        The names of modules and of loose parameters that are frozen, none inside another.
    """
    names = (*_beside(network), *_passed_by(network))
    for _, parameter in _parameters(network, names):
        parameter.requires_grad_(False)
    return names


def said_of_towers(network: Any, names: Sequence[str]) -> list[str]:
    """What is frozen, for who plans a run."""
    if not names:
        return []
    found = tower_sizes(network, names)
    return [
        f"text trains the language model alone: {len(found)} tensors ({sum(size for _, size in found):,} parameters) "
        f"of {kinds(names)} stay as they are, and are exported with it."
    ]


def kinds(names: Sequence[str]) -> str:
    """Each name without its numbers, once.

    >>> kinds(["mtp.layers.0.a", "mtp.layers.1.a", "mtp.norm"])
    'mtp.layers.N.a, mtp.norm'
    """
    found = list(dict.fromkeys(re.sub(r"\.\d+\b", ".N", name) for name in names))
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def tower_sizes(network: Any, names: Sequence[str]) -> list[tuple[str, int]]:
    """The name of each frozen tensor, and how many numbers it has."""
    return [(name, parameter.numel()) for name, parameter in _parameters(network, names)]


def _beside(network: Any) -> Iterator[str]:
    """What is neither decoder nor head nor embeddings of tokens, in a model of several parts."""
    if not is_composite(network.config):
        return
    parts = (decoder_of(network), network.get_output_embeddings(), network.get_input_embeddings())
    kept = {id(parameter) for part in parts if part is not None for parameter in part.parameters()}
    yield from _without(network, kept, "")


def _without(module: nn.Module, kept: set[int], prefix: str) -> Iterator[str]:
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) not in kept:
            yield prefix + name
    for name, child in module.named_children():
        held = [id(parameter) in kept for parameter in child.parameters()]
        if any(held):
            yield from _without(child, kept, f"{prefix}{name}.")
        elif held:
            yield prefix + name


@torch.no_grad()
def _passed_by(network: Any) -> Iterator[str]:
    """Cross-attention and towers inside the decoder that a text does not run, found by running one."""
    decoder = decoder_of(network)
    modules = dict(decoder.named_modules())
    suspects = [name for name, module in modules.items() if name and _may_be_passed_by(name, module)]
    if not suspects:
        return
    ran: set[str] = set()
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: ran.add(name)) for name, module in modules.items()]
    was = decoder.training
    decoder.eval()
    device = network.get_input_embeddings().weight.device
    ids = torch.ones(1, 8, dtype=torch.long, device=device)
    mask = torch.zeros(1, 1, 8, 8, device=device) if device.type == "meta" else None  # or its values would be asked
    try:
        decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    except Exception:  # families raise many types; what text cannot run is refused with a sentence where it is wrapped
        return
    finally:
        decoder.train(was)
        for hook in hooks:
            hook.remove()
    prefix = next(name for name, module in network.named_modules() if module is decoder)
    tops = {_top(name, ran, modules) for name in suspects if name not in ran}
    for name in sorted(tops):
        if next(modules[name].parameters(), None) is not None and not any(name.startswith(f"{top}.") for top in tops):
            yield f"{prefix}.{name}" if prefix else name


def _may_be_passed_by(name: str, module: nn.Module) -> bool:
    last = name.rpartition(".")[2]
    return bool(CROSS.search(last) or CROSS.search(type(module).__name__) or isinstance(module, PreTrainedModel))


def _top(name: str, ran: set[str], modules: Iterable[str]) -> str:
    """The largest part around it that did not run either; a list of modules never runs itself."""
    above = name.rpartition(".")[0]
    if not above or above in ran or any(other in ran for other in modules if other.startswith(f"{above}.")):
        return name
    return _top(above, ran, modules)


def _parameters(network: Any, names: Sequence[str]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in network.named_parameters():
        if any(name == top or name.startswith(f"{top}.") for top in names):
            yield name, parameter
