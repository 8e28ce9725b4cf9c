"""Trained parameters by name, with float32 master copies where the model computes in a shorter dtype."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from acclimate.parallel.parts import placed
from acclimate.parallel.shard import is_spread
from acclimate.parallel.world import World


class Weights:
    """What the optimizer moves.

    A bfloat16 parameter has 8 bits of mantissa: an update below 1/256 of it would be lost, and so would small
    gradients added over micro-batches. Its master and the master's gradient are float32; the parameter is a rounded
    copy. A float32 (or float64) parameter is its own master.

    Args:
        masters: False of an optimizer that rounds at random, so that a small update is kept on average: then every
            parameter is its own master, and gradients are added over micro-batches in its dtype.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], masters: bool = True) -> None:
        self.parameters = dict(parameters)
        self.masters: dict[str, Tensor] = {
            name: p if not masters or p.dtype in (torch.float32, torch.float64) else p.detach().float().requires_grad_()
            for name, p in self.parameters.items()
        }
        self._room: dict[str, Tensor] = {}
        self._without: set[str] = set()

    @torch.no_grad()
    def accumulate(self) -> None:
        """Adds each parameter's gradient to its master's: call after every micro-batch's backward."""
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is parameter or parameter.grad is None:
                continue
            if master.grad is None:  # room for it is kept: fresh memory of this size costs page faults each step
                room = self._room.setdefault(name, torch.empty_like(master))
                master.grad = room.copy_(parameter.grad)
            else:
                master.grad += parameter.grad
            parameter.grad = None

    def reduce(self, world: World) -> dict[str, Tensor]:
        """The step's gradients over all ranks; spread ones were summed by their backward."""
        gradients = self.gradients
        world.sum_gradients([gradient for gradient in gradients.values() if not is_spread(gradient)])
        return gradients

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradient of every master; zeros for one that no token reached."""
        self._without = {name for name, master in self.masters.items() if master.grad is None}
        for name in self._without:
            self.masters[name].grad = torch.zeros_like(self.masters[name])
        return {name: master.grad for name, master in self.masters.items() if master.grad is not None}

    def leave_unreached(self, optimizer: torch.optim.Optimizer, world: World) -> None:
        """Takes the zeros from what no token has reached yet, on any rank and in any step: call before the optimizer's.

        Weight decay would move what nothing is learned of, such as a bias that only chooses experts. What was reached
        once is moved in every step.
        """
        if not any(group["weight_decay"] for group in optimizer.param_groups):
            return
        new = [name for name, master in self.masters.items() if not optimizer.state.get(master)]
        if new:  # after the first step, the same on all ranks: what is left
            reached = world.sum(torch.tensor([float(name not in self._without) for name in new]))
            for name, ranks in zip(new, reached.tolist(), strict=True):
                gradient = self.masters[name].grad
                if not ranks and gradient is not None and not gradient.any():  # a penalty may pull at it
                    self.masters[name].grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the model and drops the gradients."""
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is not parameter:
                parameter.copy_(master)
            master.grad = None

    def drop(self) -> None:
        """Forgets the gradients."""
        for master in self.masters.values():
            master.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        return {name: master.detach() for name, master in self.masters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, master in self.masters.items():
            master.copy_(placed(state, name, master))
        self.publish()
