"""A run between its last step and its ``model/``: the ends of its way, and what is measured between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from acclimate.measurement.measure import Scores, measure
from acclimate.measurement.summary import Record, records
from acclimate.model.pair import Pair
from acclimate.parallel.shard import local, release, spread_like
from acclimate.training.training import Training
from acclimate.types.central import Batch

NEW_ROWS = ".trainable_tokens_delta.default"
"""End of the name of the rows that an adapter trains of a table."""


@dataclass(frozen=True)
class TunedRun:
    """The :class:`~acclimate.types.plan.Tuned` of a training.

    Args:
        validation: set -> role, batches with label bytes: text that no report is made of.
    """

    training: Training
    pair: Pair
    validation: Mapping[str, tuple[str, Sequence[tuple[Batch, Tensor]]]]
    special_ids: Sequence[int]
    seed: int

    @property
    def origin(self) -> str:
        return "the base's weights" if self.pair.open_start is None else "the weights that training started from"

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """In the masters' dtype. A of an adapter is left out: dW is linear in B alone."""
        masters = self.training.weights.masters
        return {name: self.start_of(name, master) for name, master in masters.items() if ".lora_A." not in name}

    def start_of(self, name: str, master: Tensor) -> Tensor:
        """This rank's part of one weight as training found it, in the master's dtype."""
        if ".lora_B." in name:
            return torch.zeros_like(local(master))
        if name.endswith(NEW_ROWS):  # of tokens that were added: PEFT keeps what they began as beside them
            layer: Any = self.training.model.network.get_submodule(name.removesuffix(NEW_ROWS))
            return local(spread_like(layer.trainable_tokens_original["default"].to(master.dtype), master))
        return local(self.began[name]).detach().to(master.dtype)

    @cached_property
    def began(self) -> dict[str, Tensor]:
        """Every weight of the network that training started from, as it is stored."""
        began = self.pair.start().model
        release(began)  # whole since its last forward
        return dict(began.network.named_parameters())

    @cached_property
    def end(self) -> dict[str, Tensor]:
        masters = self.training.weights.masters
        return {name: local(masters[name]).detach().clone() for name in self.start}

    @torch.no_grad()
    def place(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        for name, tensor in weights:
            local(self.training.weights.masters[name]).copy_(tensor)
        self.training.weights.publish()

    def scores(self) -> dict[str, tuple[str, Scores, Scores]]:
        """Of the model as it is now on the validation documents, by set: its role, and the model's and the base's."""
        training, found = self.training, {}
        for name, (role, batches) in self.validation.items():
            scores, before = measure(training.model, self.pair.base, batches, self.special_ids, training.world)
            assert before is not None
            found[name] = role, scores, before
        return found

    def measure(self) -> list[Record]:
        found = []
        for name, (role, scores, before) in self.scores().items():
            base_records = records(before, run="base", seed=self.seed, set_name=name, role=role)
            base = {record["metric"]: record["value"] for record in base_records}
            for record in records(scores, run="tuned", seed=self.seed, set_name=name, role=role):
                found.append(record | ({"base": base[record["metric"]]} if record["metric"] in base else {}))
        return found
