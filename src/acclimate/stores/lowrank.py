"""Matrices kept as two thin factors where that takes less room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

LEFT, RIGHT = "/left", "/right"


def shortened(tensor: Tensor, rank: int | None, dtype: torch.dtype) -> dict[str, Tensor]:
    """The best approximation of a matrix by ``rank`` singular triplets, as suffix -> tensor.

    ``{"/left": U S [m, r], "/right": V^T [r, n]}``, or ``{"": tensor}`` where ``rank`` is None, the tensor is no
    matrix, or ``r (m + n) >= m n``: the factors would be larger.
    """
    if rank is None or tensor.ndim != 2 or rank * sum(tensor.shape) >= tensor.numel():
        return {"": tensor.to(dtype)}
    u, s, v = torch.linalg.svd(tensor.float(), full_matrices=False)
    return {LEFT: (u[:, :rank] * s[:rank]).to(dtype), RIGHT: v[:rank].to(dtype)}


class Matrices(Mapping[str, Tensor]):
    """What :func:`shortened` made, multiplied out again, by name; dense matrices in the dtype of their factors."""

    def __init__(self, stored: Mapping[str, Tensor]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> Tensor:
        if name in self._stored:
            return self._stored[name]
        left, right = self._stored[name + LEFT], self._stored[name + RIGHT]
        return (left.float() @ right.float()).to(left.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.removesuffix(LEFT).removesuffix(RIGHT) for name in self._stored))

    def __len__(self) -> int:
        return len(list(iter(self)))
