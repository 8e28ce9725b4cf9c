"""Weights without memory that look as if they had some, for who asks where a layer lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def stand_ins(network: Any, device: torch.device) -> Iterator[None]:
    """On ``device``, in the place of weights on the meta device; each is one number, seen as a matrix.

    PEFT puts what it makes beside a layer where the layer's weight is. Its numbers would be lost on the meta device.
    """
    taken: dict[int, nn.Parameter] = {}
    given: dict[int, nn.Parameter] = {}
    for module, name, weight in _weights(network):
        if weight.is_meta:
            if id(weight) not in given:
                number = torch.zeros((), dtype=weight.dtype, device=device)
                given[id(weight)] = nn.Parameter(number.expand(weight.shape), weight.requires_grad)
                taken[id(given[id(weight)])] = weight
            module._parameters[name] = given[id(weight)]
    try:
        yield
    finally:
        for module, name, weight in _weights(network):
            if (back := taken.get(id(weight))) is not None:
                back.requires_grad_(weight.requires_grad)
                module._parameters[name] = back


def _weights(network: Any) -> list[tuple[nn.Module, str, nn.Parameter]]:
    return [
        (module, name, weight)
        for module in network.modules()
        for name, weight in module._parameters.items()
        if weight is not None
    ]
