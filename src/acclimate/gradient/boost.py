"""A stored gradient that is mixed into the step's own (DBA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from acclimate.gradient.blocks import blocks
from acclimate.gradient.factors import factors, is_factor
from acclimate.parallel.shard import local, spread_like, sum_of_parts
from acclimate.types.central import Metrics, Stage
from acclimate.types.dials import Dial


@dataclass
class Boost:
    """``g <- gamma_t g_G + (1 - gamma_t) g`` with ``gamma_t = clip(strength k0 (1 - t / T), 0, 1)``.

    Reports ``boost/gamma`` and ``boost/cosine``, that of g and g_G over all trained parameters, before mixing. Under
    LoRA g_G is projected by the chain rule at the current factors: ``s g_G A^T`` for B, ``s B^T g_G`` for A.

    Args:
        general: g_G by the base's own parameter names, dense.
        k0: gamma of the first step, before it is clipped.
        total_steps: T of the run.
        lora_scaling: s of every adapted module; empty under full tuning.
        strength: 1 where nothing moves it.
    """

    general: Mapping[str, Tensor]
    k0: float
    total_steps: int
    lora_scaling: Mapping[str, float] = field(default_factory=dict)
    strength: Dial | None = None
    stage: Stage = Stage.BOOST
    _general: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Kept in the store's own dtype; read again at each start instead of being saved with the run.
        for name, param in params.items():
            if not is_factor(name):
                self._general[name] = local(spread_like(self.general[name], param))
        for pair in factors(self.lora_scaling):
            self._general[pair.weight] = self.general[pair.weight].to(params[pair.names[0]].device)
        return {}

    def gamma(self, step: int) -> float:
        """Weight of the stored gradient at 0-based ``step``."""
        k0 = self.k0 if self.strength is None else self.k0 * float(self.strength)
        return min(max(k0 * (1 - step / self.total_steps), 0.0), 1.0)

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Tensor], step: int
    ) -> Metrics:
        gamma = self.gamma(step)
        first = next(iter(grads.values()))
        parts = torch.zeros(3, dtype=torch.float64, device=first.device)  # <g, g_G>, <g, g>, <g_G, g_G>
        for name, general in self._trained(grads, params).items():
            for stored, own in blocks(general, local(grads[name])):
                other = stored.to(own.dtype)
                parts += torch.stack([own.dot(other), own.dot(own), other.dot(other)])
                if gamma > 0:  # g + 0 (g_G - g) is g but for the sign of a zero
                    own.lerp_(other, gamma)
        product, own_square, other_square = sum_of_parts(parts, first).tolist()
        norms = (own_square * other_square) ** 0.5
        return {"boost/gamma": gamma, "boost/cosine": product / norms if norms > 0 else 0.0}

    def _trained(self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This rank's part of g_G by the names of trained parameters."""
        if not self.lora_scaling:
            return self._general
        found = {}
        for pair in factors(self.lora_scaling):
            (a_name, b_name), (a, b) = pair.names, pair.of(params)
            general = self._general[pair.weight].to(a.dtype)
            found[a_name] = local(spread_like((b.T @ general).mul_(pair.scaling), grads[a_name]))
            found[b_name] = local(spread_like((general @ a.T).mul_(pair.scaling), grads[b_name]))
        return found
