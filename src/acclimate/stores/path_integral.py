"""Synaptic intelligence: what each weight's movement contributed to learning a corpus (HLR)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from acclimate.gradient.blocks import blocks
from acclimate.gradient.factors import Factors, factors, is_factor
from acclimate.model.causal import CausalModel
from acclimate.model.lora.adapter import adapted_layers
from acclimate.stores.recorder import Recorded, Recorder
from acclimate.types.central import Metrics, TrainingState
from acclimate.types.errors import RunError, UsageError
from acclimate.types.plan import Plan


@dataclass
class PathIntegral(Recorder):
    """``Omega_i = max(omega_i, 0) / ((theta_i_end - theta_i_start)^2 + xi)`` with
    ``omega_i = -sum_steps g_i (theta_i_after - theta_i_before)`` while training.

    g is the raw gradient, before clipping. The sum of omega over all weights approximates the loss that was taken
    away. Under LoRA theta is the dense ``dW = s B A`` of each adapted matrix and g its gradient, (grad of output)^T
    (input): the gradient that autograd gives the frozen matrix beside it, exact without adapter dropout.

    Args:
        xi: as a part of the mean squared movement over all weights [ours]: an absolute one swamps real movements.
    """

    kind: ClassVar[str] = "path-integral"
    moves: ClassVar[bool] = True

    xi: float = 0.1
    _pairs: list[Factors] = field(default_factory=list, init=False, repr=False)
    _gradient: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)  # of the step, raw
    _before: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)  # trained parameters, dW
    _start: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _omega: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.xi <= 0:
            raise UsageError(
                f"--xi: {self.xi:g} should be above 0; it keeps a weight that did not move from dividing by 0."
            )

    def settings(self) -> dict[str, Any]:
        return {"xi": self.xi}

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        dense = {name: p.detach() for name, p in params.items() if not is_factor(name)}
        # theta_start is what the recording starts from, so it is read again instead of being saved
        self._start = {name: p.clone() for name, p in dense.items()}
        self._before = {name: torch.empty_like(p) for name, p in dense.items()}
        self._gradient = {name: torch.empty_like(p) for name, p in dense.items()}
        self._omega = {name: torch.zeros_like(p) for name, p in dense.items()}
        for pair in factors(dict.fromkeys((n.rpartition(".lora_")[0] for n in params if is_factor(n)), 1.0)):
            a, b = pair.of(params)
            self._omega[pair.weight] = a.new_zeros(len(b), a.shape[1])
            self._gradient[pair.weight] = torch.zeros_like(self._omega[pair.weight])
        return self._omega

    def plan(self, model: CausalModel) -> Plan:
        self._pairs = factors(model.lora_scaling)
        layers = adapted_layers(model.network)
        names = {id(parameter): name for name, parameter in model.network.named_parameters()}
        takes = {names[id(layers[pair.module].weight)]: partial(self._add, pair.weight) for pair in self._pairs}
        return replace(super().plan(model), takes=takes)

    def _add(self, name: str, gradient: Tensor) -> None:
        self._gradient[name].add_(gradient)

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> Metrics:
        names = list(self._start)
        if names:
            torch._foreach_copy_([self._gradient[n] for n in names], [grads[n] for n in names])
            torch._foreach_copy_([self._before[n] for n in names], [params[n].detach() for n in names])
        for pair in self._pairs:
            self._before |= {name: t.clone() for name, t in zip(pair.names, pair.of(params), strict=True)}
        return {}

    @torch.no_grad()
    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        masters = state.weights.masters
        for name in self._start:
            tensors = (self._omega[name], self._gradient[name], masters[name].detach(), self._before[name])
            for omega, gradient, after, before in blocks(*tensors):
                omega.addcmul_(gradient, after - before, value=-1)
        for pair in self._pairs:
            moved = pair.product(masters) - pair.product(self._before)
            self._omega[pair.weight].addcmul_(self._gradient[pair.weight], moved, value=-1)
            self._gradient[pair.weight].zero_()

    def result(self, training: TrainingState, state: Mapping[str, Tensor]) -> Recorded:
        """``facts``: loss that the path took away to first order, xi as a number, and ||Omega_l|| of every matrix."""
        masters, pairs = training.weights.masters, {pair.weight: pair for pair in self._pairs}

        def movement(name: str) -> Tensor:
            moved = pairs[name].product(masters) if name in pairs else masters[name].detach() - self._start[name]
            return moved.square_()

        state = {name: state[name] for name in sorted(state)}  # a loaded state has another order, sums do not
        total = sum(float(movement(name).double().sum()) for name in state)
        if total == 0:
            raise RunError(
                "The weights did not move, so there is no path to take an integral over; raise "
                "optimizer.learning_rate or --tokens."
            )
        xi = self.xi * total / sum(omega.numel() for omega in state.values())
        importance = {name: omega.clamp(min=0) / (movement(name) + xi) for name, omega in state.items()}
        facts = {
            "loss_decrease": sum(float(omega.double().sum()) for omega in state.values()),
            "xi": xi,
            "norms": {name: float(tensor.double().norm()) for name, tensor in importance.items()},
        }
        return Recorded(importance, facts, end=training.weights.state_dict())
