"""A quadratic penalty with a weight of its own for every parameter (EWC, HLR), added to the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from acclimate.gradient.blocks import BLOCK, blocks
from acclimate.gradient.factors import Factors, factors, is_factor
from acclimate.parallel.shard import local, spread_like, sum_of_parts
from acclimate.types.central import Metrics, Stage
from acclimate.types.dials import Dial, product


@dataclass
class ImportancePenalty:
    """Adds the gradient of ``weight * sum_l alpha_l sum_{i in l} F_i (theta_i - anchor_i)^2``.

    No factor 1/2: the gradient is ``2 weight alpha F (theta - anchor)``. Under LoRA ``theta - anchor`` of an adapted
    matrix is ``s (B A - B* A*)``, the gradient P with respect to it is dense, and ``s P A^T`` and ``s B^T P`` reach B
    and A.

    Args:
        name: of the metric, ``penalty/<name>``.
        importance: F by the base's own parameter names; float32, [shape of the parameter].
        lora_scaling: s of every adapted module; empty under full tuning.
        layer_weights: alpha by the base's own names, in the first step's metrics (``penalty/<name>_alpha/<weight>``);
            None is 1 everywhere.
        anchor: by names of trained parameters; None is where the run starts (under LoRA ``B* A* = 0``).
        constants: metrics that stay as they are, ``penalty/<name>_<key>``.
        strength: a forgetting budget's, which multiplies the weight.
    """

    name: str
    weight: float | Dial
    importance: Mapping[str, Tensor]
    lora_scaling: Mapping[str, float] = field(default_factory=dict)
    layer_weights: Mapping[str, float] | None = None
    anchor: Mapping[str, Tensor] | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    strength: Dial | None = None
    stage: Stage = Stage.PENALTY
    _importance: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _anchor: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Both are read again at each start instead of being saved: a run always starts from the same weights.
        for name, param in params.items():
            if not is_factor(name):
                self._importance[name] = local(spread_like(self._weighted(name, param.dtype), param))
                anchored = None if self.anchor is None else spread_like(self.anchor[name].to(param.dtype), param)
                self._anchor[name] = local(param.detach().clone() if anchored is None else anchored)
        for pair in factors(self.lora_scaling):
            like = params[pair.names[0]]
            self._importance[pair.weight] = self._weighted(pair.weight, like.dtype).to(like.device)
            if self.anchor is not None:
                self._anchor |= {name: self.anchor[name].to(like.device, like.dtype) for name in pair.names}
        return {}

    def _weighted(self, name: str, dtype: torch.dtype) -> Tensor:
        alpha = 1.0 if self.layer_weights is None else self.layer_weights[name]
        return self.importance[name].to(dtype) * alpha

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Tensor], step: int
    ) -> Metrics:
        first, weight = next(iter(grads.values())), product(self.weight, self.strength)
        parts = torch.zeros((), dtype=torch.float64, device=first.device)
        for name, anchor in self._anchor.items():
            if not is_factor(name):
                tensors = (local(params[name].detach()), anchor, self._importance[name], local(grads[name]))
                for theta, start, importance, grad in blocks(*tensors):
                    difference = theta - start
                    pull = difference * importance
                    parts += pull.dot(difference)
                    grad.add_(pull, alpha=2 * weight)
        total = sum_of_parts(parts, first)
        for pair in factors(self.lora_scaling):
            total = total + self._adapter(pair, grads, params, weight)
        named = {f"penalty/{self.name}_{key}": value for key, value in self.constants.items()}
        if step == 0:
            named |= {f"penalty/{self.name}_alpha/{n}": alpha for n, alpha in (self.layer_weights or {}).items()}
        return named | {f"penalty/{self.name}": weight * total.item()}

    def _adapter(
        self, pair: Factors, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], weight: float
    ) -> Tensor:
        """Adds to the gradients of one matrix's factors, some of its rows at a time; returns its sum."""
        (a_name, b_name), (a, b) = pair.names, pair.of(params)
        grad_a, grad_b = torch.zeros_like(a), torch.empty_like(b)
        total = torch.zeros((), dtype=torch.float64, device=a.device)
        factor = 2 * weight * pair.scaling
        rows = max(1, BLOCK // a.shape[1]) if a.device.type == "cpu" else len(b)
        for begin in range(0, len(b), rows):
            here = slice(begin, begin + rows)
            difference = torch.mm(b[here], a)
            if self.anchor is not None:
                difference.addmm_(self._anchor[b_name][here], self._anchor[a_name], alpha=-1)
            difference *= pair.scaling
            pull = difference * self._importance[pair.weight][here]
            total += pull.flatten().dot(difference.flatten())
            torch.mm(pull, a.T, out=grad_b[here])
            grad_a.addmm_(b[here].T, pull)
        grads[b_name].add_(spread_like(grad_b, grads[b_name]), alpha=factor)
        grads[a_name].add_(spread_like(grad_a, grads[a_name]), alpha=factor)
        return total
