"""The optimizers by name: how each is made, what it keeps of a parameter, and what it needs."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acclimate.build.optimizer.groups import GroupOf, grouped
from acclimate.build.optimizer.muon import MuonWithAdamW
from acclimate.config.chosen.optimizer import OptimizerSection
from acclimate.types.errors import ConfigError

Groups = list[dict[str, Any]]
Make = Callable[[Groups, Groups, OptimizerSection], torch.optim.Optimizer]
"""(groups of hidden matrices, other groups, settings) to an optimizer."""
QUANTISED, BLOCK = 4096, 256
"""bitsandbytes quantises the states of tensors of so many elements, in such blocks, each with a float32 scale [from
code]."""


@dataclass(frozen=True)
class Kind:
    """One optimizer."""

    make: Make
    state: Callable[[tuple[int, ...], bool], float]
    """Bytes that it keeps of a parameter of this shape, which is a hidden matrix or not."""
    step: float
    """Bytes that a step takes beside them, of an element of the largest parameter [from code]."""
    needs: str | None = None
    """A library beside torch."""
    extra: str = ""
    masters: bool = True
    """Whether it moves float32 masters of a bfloat16 model's weights."""


def build_optimizer(
    section: OptimizerSection, masters: Mapping[str, Tensor], groups: Mapping[str, GroupOf], frozen: bool
) -> torch.optim.Optimizer:
    """The optimizer of these tensors; where nothing is updated SGD at rate 0, which keeps no state.

    Args:
        groups: by the tensors' names.

    Raises:
        ConfigError: its library is not installed.
    """
    if frozen:
        return torch.optim.SGD(list(masters.values()), lr=0.0)
    check_optimizer(section)
    hidden = {name: tensor for name, tensor in masters.items() if groups[name].hidden}
    others = {name: tensor for name, tensor in masters.items() if name not in hidden}
    if section.name != "muon":
        hidden, others = {}, dict(masters)
    rate = section.learning_rate
    return OPTIMIZERS[section.name].make(grouped(hidden, groups, rate), grouped(others, groups, rate), section)


def check_optimizer(section: OptimizerSection, dtype: str | None = None) -> None:
    """
    Args:
        dtype: of the model, where it is known.

    Raises:
        ConfigError: the optimizer's library is not installed, or it has no effect on weights of this dtype.
    """
    kind = OPTIMIZERS[section.name]
    if kind.needs is not None and importlib.util.find_spec(kind.needs) is None:
        raise ConfigError(
            f"optimizer.name: {section.name} needs {kind.needs}; run `pip install 'acclimate[{kind.extra}]'`, or use "
            "adamw."
        )
    if not kind.masters and dtype == "float32":
        raise ConfigError(
            f"optimizer.name: {section.name} rounds bfloat16 weights, and model.dtype is float32; set bfloat16, or use "
            "adamw."
        )


def state_bytes(section: OptimizerSection, shapes: Mapping[str, Tensor], groups: Mapping[str, GroupOf]) -> float:
    """What the optimizer keeps between two steps."""
    kind = OPTIMIZERS[section.name]
    return sum(kind.state(tuple(tensor.shape), groups[name].hidden) for name, tensor in shapes.items())


def step_bytes(section: OptimizerSection, shapes: Iterable[Tensor]) -> float:
    """What a step takes beside states and gradients."""
    return OPTIMIZERS[section.name].step * max((tensor.numel() for tensor in shapes), default=0)


def _adamw(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    return torch.optim.AdamW(others, lr=section.learning_rate, betas=section.betas, eps=section.eps, fused=True)


def _adamw_8bit(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(others, lr=section.learning_rate, betas=section.betas, eps=section.eps)
    return optimizer


def _adamw_bf16(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    from torchao.optim import _AdamW

    optimizer: torch.optim.Optimizer = _AdamW(
        others, lr=section.learning_rate, betas=section.betas, eps=section.eps, bf16_stochastic_round=True
    )
    return optimizer


def _adafactor(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(others, lr=section.learning_rate)


def _muon(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    return MuonWithAdamW(hidden, others, section)


def _lion(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    from bitsandbytes.optim import Lion

    optimizer: torch.optim.Optimizer = Lion(others, lr=section.learning_rate, betas=section.betas)
    return optimizer


def _lion_8bit(hidden: Groups, others: Groups, section: OptimizerSection) -> torch.optim.Optimizer:
    from bitsandbytes.optim import Lion8bit

    optimizer: torch.optim.Optimizer = Lion8bit(others, lr=section.learning_rate, betas=section.betas)
    return optimizer


def _floats(count: int, width: int = 4) -> Callable[[tuple[int, ...], bool], float]:
    return lambda shape, hidden: float(count * width * math.prod(shape))


def _eighths(count: int) -> Callable[[tuple[int, ...], bool], float]:
    """Moments of one byte; those of small tensors are float32."""

    def size(shape: tuple[int, ...], hidden: bool) -> float:
        elements = math.prod(shape)
        return count * (elements * 4.0 if elements < QUANTISED else elements + 4.0 * math.ceil(elements / BLOCK))

    return size


def _factored(shape: tuple[int, ...], hidden: bool) -> float:
    """A row's and a column's variance of a matrix, all of a vector."""
    elements = math.prod(shape)
    return 4.0 * (elements / shape[-1] + elements / shape[-2]) if len(shape) > 1 else 4.0 * elements


OPTIMIZERS: Mapping[str, Kind] = {
    "adamw": Kind(_adamw, _floats(2), 0),
    "adamw_8bit": Kind(_adamw_8bit, _eighths(2), 20, "bitsandbytes", "qlora"),
    "adamw_bf16": Kind(_adamw_bf16, _floats(2, 2), 0, "torchao", "torchao", masters=False),
    "adafactor": Kind(_adafactor, _factored, 8),
    "muon": Kind(_muon, lambda shape, hidden: (4.0 if hidden else 8.0) * math.prod(shape), 12),
    "lion": Kind(_lion, _floats(1), 8, "bitsandbytes", "qlora"),
    "lion_8bit": Kind(_lion_8bit, _eighths(1), 16, "bitsandbytes", "qlora"),
}
