"""The frozen model that a KL term compares with: a frozen copy, or the student with its adapter off."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from torch import Tensor

from acclimate.kernels.head import Head
from acclimate.model.causal import CausalModel
from acclimate.types.central import Batch


class Reference(Protocol):
    """Hidden states and head of a frozen model, on the same batch as the student."""

    @property
    def head(self) -> Head: ...

    @property
    def model(self) -> CausalModel: ...

    @property
    def tokenizer(self) -> Any:
        """The frozen model's own."""
        ...

    def hidden(self, batch: Batch) -> Tensor:
        """[B, T, D], without gradient."""
        ...

    def generator(self) -> AbstractContextManager[CausalModel]:
        """The model to generate with, while the context lasts."""
        ...


class FrozenCopy:
    """A second network whose weights never change. Costs its weights once."""

    def __init__(self, model: CausalModel) -> None:
        self.model = model.requires_grad_(False).eval()

    @classmethod
    def of(cls, model: CausalModel) -> FrozenCopy:
        wrapped = vars(model.network).pop("forward", None)  # a trainer's, which would run the student in the copy
        try:
            network = copy.deepcopy(model.network)
        finally:
            if wrapped is not None:
                model.network.forward = wrapped
        network.zero_grad(set_to_none=True)
        return cls(CausalModel(network, model.tokenizer, like=model))

    @property
    def head(self) -> Head:
        return self.model.head

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def hidden(self, batch: Batch) -> Tensor:
        with self.model.inference():
            hidden: Tensor = self.model(batch)
        return hidden

    def generator(self) -> AbstractContextManager[CausalModel]:
        return nullcontext(self.model)


class AdapterOff:
    """The student itself without its adapter: no second model in memory.

    Only for an adapter that leaves the base alone: a fresh one of ours, or one that
    :class:`~acclimate.model.checks.untouched.Untouched` has looked at.

    Args:
        tokenizer: the base's, where the adapter brought its own.
    """

    def __init__(self, model: CausalModel, tokenizer: Any = None) -> None:
        self.model = model
        self.tokenizer = model.tokenizer if tokenizer is None else tokenizer

    @property
    def head(self) -> Head:
        with self.model.adapter_off():  # an adapter may stand in front of it
            return self.model.head

    def hidden(self, batch: Batch) -> Tensor:
        with self.model.inference(), self.model.adapter_off():
            hidden: Tensor = self.model(batch)
        return hidden

    @contextmanager
    def generator(self) -> Iterator[CausalModel]:
        with self.model.adapter_off():
            yield self.model


def base_reference(model: CausalModel) -> Reference:
    """The base of ``model`` as it is now: call before the first update."""
    return FrozenCopy.of(model) if model.peft is None else AdapterOff(model)
