"""Weights and moments of an earlier step, kept beside those that learn, to go back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from acclimate.parallel.parts import placed_if_alike
from acclimate.parallel.shard import is_spread, local
from acclimate.training.weights import Weights


class KeptState:
    """The trained weights and the optimizer's state of one step: in CPU memory, or where they are spread as they are.

    They travel in checkpoints, so that a resumed run goes back to the same.
    """

    def __init__(self, weights: Weights, optimizer: torch.optim.Optimizer) -> None:
        self.weights, self.optimizer = weights, optimizer
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def keep(self) -> None:
        """Those of now, in the place of those before."""
        found = {}
        for key, tensor in self._now():
            room = self.tensors.get(key)
            if room is None:  # memory is taken once: fresh pages cost as much as the copy
                room = torch.empty_like(tensor) if is_spread(tensor) else torch.empty_like(tensor, device="cpu")
            local(room).copy_(local(tensor))
            found[key] = room
        self.tensors = found

    @torch.no_grad()
    def restore(self) -> None:
        for name, master in self.weights.masters.items():
            local(master).copy_(local(self.tensors[f"weights/{name}"]))
            state = self.optimizer.state.get(master, {})
            if any(f"optimizer/{name}/{key}" not in self.tensors for key in state):  # it had none then
                del self.optimizer.state[master]
                continue
            for key, value in state.items():
                before = self.tensors[f"optimizer/{name}/{key}"]
                if isinstance(value, Tensor):
                    local(value).copy_(local(before))
                else:
                    state[key] = type(value)(before.item())
        self.weights.publish()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """What a checkpoint held, each whole."""
        self.tensors = {}
        for key in tensors:
            master = self.weights.masters[key.split("/")[1]]
            found = placed_if_alike(tensors, key, master) if is_spread(master) else None
            self.tensors[key] = tensors[key].clone() if found is None else found

    def _now(self) -> Iterator[tuple[str, Tensor]]:
        for name, master in self.weights.masters.items():
            yield f"weights/{name}", master.detach()
            for key, value in self.optimizer.state.get(master, {}).items():
                yield f"optimizer/{name}/{key}", torch.as_tensor(value)
