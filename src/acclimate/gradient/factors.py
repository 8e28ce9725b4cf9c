"""The adapter of one matrix: two small factors whose product changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.parallel.shard import whole

A, B = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True)
class Factors:
    """``dW = s B A`` of an adapted module.

    With P the gradient of anything with respect to dW, the chain rule gives ``s P A^T`` for B and ``s B^T P`` for A.
    """

    module: str
    scaling: float

    @property
    def weight(self) -> str:
        """The base's own name of the matrix."""
        return f"{self.module}.weight"

    @property
    def names(self) -> tuple[str, str]:
        """Of A and of B, as trained parameters."""
        return self.module + A, self.module + B

    def of(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A [r, in] and B [out, r], whole."""
        a, b = self.names
        return whole(tensors[a].detach()), whole(tensors[b].detach())

    def product(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """dW [out, in]."""
        a, b = self.of(tensors)
        return torch.mm(b, a).mul_(self.scaling)


def by_expert(a: Tensor, b: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """PEFT's factors of a stack, A [E r, in] and B [out, r E], as views [E, r, in] and [E, out, r] [from code]."""
    return a.view(experts, -1, a.shape[-1]), b.view(b.shape[0], -1, experts).permute(2, 0, 1)


def factors(lora_scaling: Mapping[str, float]) -> list[Factors]:
    return [Factors(module, scaling) for module, scaling in lora_scaling.items()]


def is_factor(name: str) -> bool:
    return name.endswith((A, B))
