"""Kullback-Leibler and Jensen-Shannon divergence between the student p and its reference q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from acclimate.kernels.chunk_size import JS_COPIES, KL_COPIES
from acclimate.types.central import Chunk

Direction = Literal["reverse", "forward", "js"]


@dataclass(frozen=True)
class Divergence:
    """Nats per token over the full vocabulary.

    reverse: ``KL(p || q) = sum_v p (log p - log q)``  (the MoL authors' restatement, arXiv 2509.06650) [paper]
    forward: ``KL(q || p)`` [ours]
    js: ``KL(p || m) / 2 + KL(q || m) / 2`` with ``m = (p + q) / 2`` [ours]

    Each is exactly 0, with zero gradient, where the two logits are equal. With a temperature T both logits are divided
    by T and the nats multiplied by T^2, which keeps the size of the gradient (Hinton et al., 2015, arXiv 1503.02531).
    """

    direction: Direction = "reverse"
    temperature: float = 1.0
    needs_reference: bool = True

    @property
    def name(self) -> str:
        """The divergence's name in metrics and in a source's ``terms``."""
        return "js" if self.direction == "js" else f"{self.direction}_kl"

    @property
    def per_nat(self) -> float:
        """Of a small KL, its own nats: both KLs are then equal, and Jensen-Shannon is a quarter of them."""
        return 0.25 if self.direction == "js" else 1.0

    @property
    def logit_copies(self) -> float:
        """Tensors of the logits' size that it keeps alive at once, by which chunks are sized."""
        return JS_COPIES if self.direction == "js" else KL_COPIES

    def __call__(self, chunk: Chunk) -> Tensor:
        assert chunk.reference_logits is not None
        student, reference = chunk.logits, chunk.reference_logits
        if self.temperature != 1:
            student, reference = student / self.temperature, reference / self.temperature
        nats = DIVERGENCES[self.direction](student.log_softmax(-1), reference.log_softmax(-1))
        return nats if self.temperature == 1 else nats * self.temperature**2


def reverse_kl(student: Tensor, reference: Tensor) -> Tensor:
    """``KL(p || q)`` from log-probabilities [N, V] to nats [N]."""
    return (student.exp() * (student - reference)).sum(-1)


def forward_kl(student: Tensor, reference: Tensor) -> Tensor:
    """``KL(q || p)`` from log-probabilities [N, V] to nats [N]."""
    return (reference.exp() * (reference - student)).sum(-1)


def entropy(log_p: Tensor) -> Tensor:
    """``-sum_v p_v log p_v`` from log-probabilities [N, V] to nats [N]."""
    return -(log_p.exp() * log_p).sum(-1)


def jensen_shannon(student: Tensor, reference: Tensor) -> Tensor:
    """Jensen-Shannon divergence from log-probabilities [N, V] to nats [N]."""
    gap = reference - student  # log q - log p
    return -0.5 * (student.exp() * _log_mean_exp(gap) + reference.exp() * _log_mean_exp(-gap)).sum(-1)


def _log_mean_exp(x: Tensor) -> Tensor:
    """``log((1 + e^x) / 2)``, exactly 0 at 0 and without overflow."""
    return torch.log1p(0.5 * torch.expm1(-x.abs())) + x.relu()


DIVERGENCES = {"reverse": reverse_kl, "forward": forward_kl, "js": jensen_shannon}
