"""Whether a network with its adapter off is still its base, tensor by tensor.

An adapter may write into the base (biases, PiSSA's residual weights), stand in front of it (a saved head, embeddings
or norms, tokens of its own) or leave it alone. What it did is looked at, not inferred from its kind.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from acclimate.kernels.head import head_of
from acclimate.types.errors import ModelError

CHUNK = 4096
"""Token ids that are embedded at once."""
PROBE = 32
"""Tokens, spread over the vocabulary, whose logits are compared."""


@dataclass(frozen=True)
class Untouched:
    """A base before an adapter is put on it, as digests.

    Args:
        tensors: of each parameter and buffer, also of an expert that no probed token reaches.
        used: of what computes: the embedding of every token, the head, and logits of a few tokens.
    """

    tensors: Counter[str]
    used: str

    @classmethod
    @torch.no_grad()
    def of(cls, network: Any) -> Untouched:
        return cls(_tensors(network), _used(network))

    @torch.no_grad()
    def is_base_of(self, peft: Any) -> bool:
        """Whether ``peft`` without its adapter is this base, bitwise.

        False also where PEFT cannot switch it off, or has packed it away so that its parts cannot be read.
        """
        network = peft.get_base_model()
        try:
            with _off(peft):
                return not self.tensors - _tensors(network) and self.used == _used(network)
        except (AttributeError, RuntimeError, ValueError, ModelError):
            return False


def _off(peft: Any) -> AbstractContextManager[None]:
    off: AbstractContextManager[None] = peft.disable_adapter()
    return off


def _tensors(network: Any) -> Counter[str]:
    return Counter(_digest([tensor]) for tensor in chain(network.parameters(), network.buffers()))


def _used(network: Any) -> str:
    was = network.training
    network.eval()
    try:
        return _digest(_computed(network))
    finally:
        network.train(was)


def _computed(network: Any) -> Iterator[Tensor]:
    embed, head = network.get_input_embeddings(), head_of(network)
    yield head.weight
    if head.bias is not None:
        yield head.bias
    ids = torch.arange(embed.weight.shape[0], device=embed.weight.device)
    for part in torch.split(ids, CHUNK):
        yield embed(part)
    probe = ids[:: max(1, len(ids) // PROBE)][:PROBE]
    yield network(input_ids=probe[None], use_cache=False).logits


def _digest(tensors: Iterator[Tensor] | list[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
