"""Penalties on the distance from the base, added to the gradient.

A penalty is a gradient transform, not a loss: its gradient is known in closed form, it needs no forward pass, and
it is applied once per optimizer step, after boosting and before clipping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from acclimate.gradient.factors import by_expert, factors, is_factor
from acclimate.parallel.shard import whole
from acclimate.types.central import Metrics, Stage
from acclimate.types.dials import Dial, product


@dataclass
class L2ToBase:
    """Adds the gradient of ``weight * ||theta - theta_0||^2``, which is ``2 weight (theta - theta_0)``. A forgetting
    budget's ``strength`` multiplies the weight.

    Under LoRA the distance is that of the adapted matrices, ``dW = s B A``: with s in ``lora_scaling``,
    ``d/dB = 2 weight s^2 B (A A^T)`` and ``d/dA = 2 weight s^2 (B^T B) A``; of E experts for each by itself.

    Stores one copy of the trained parameters under full tuning, nothing under LoRA.
    """

    weight: float | Dial
    lora_scaling: Mapping[str, float] = field(default_factory=dict)
    lora_experts: Mapping[str, int] = field(default_factory=dict)
    strength: Dial | None = None
    stage: Stage = Stage.PENALTY
    _base: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # theta_0 is what every run starts from, so it is read again at each start instead of being saved.
        self._base = {name: p.detach().clone() for name, p in params.items() if not is_factor(name)}
        return {}

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Tensor], step: int
    ) -> Metrics:
        weight, distance = product(self.weight, self.strength), torch.zeros((), dtype=torch.float64)
        for name, base in self._base.items():
            difference = params[name] - base
            grads[name].add_(difference, alpha=2 * weight)
            distance += whole(difference.double().square().sum()).cpu()
        for pair in factors(self.lora_scaling):
            a_name, b_name = pair.names
            a, b = params[a_name], params[b_name]  # [r, in], [out, r]
            factor = 2 * weight * pair.scaling**2
            if (experts := self.lora_experts.get(pair.module)) is not None:
                a, b = by_expert(a, b, experts)
                grad_a, grad_b = by_expert(grads[a_name], grads[b_name], experts)  # views
                grad_b.add_(b @ (a @ a.mT), alpha=factor)
                grad_a.add_((b.mT @ b) @ a, alpha=factor)
                distance += pair.scaling**2 * ((b.mT @ b).double() * (a @ a.mT).double()).sum().cpu()
                continue
            grads[b_name].add_(b @ (a @ a.T), alpha=factor)
            grads[a_name].add_((b.T @ b) @ a, alpha=factor)
            distance += pair.scaling**2 * whole(((b.T @ b).double() * (a @ a.T).double()).sum()).cpu()
        return {"penalty/l2": weight * distance.item()}
