"""Parameters that are moved alike: their rate over the run's, their decay, and by which part of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from acclimate.config.chosen.optimizer import OptimizerSection
from acclimate.types.errors import ConfigError


@dataclass(frozen=True)
class GroupOf:
    """What a parameter's group is known by."""

    rate: float = 1.0
    """Its learning rate over ``optimizer.learning_rate``."""
    decay: float = 0.0
    hidden: bool = False
    """A matrix between embeddings and head."""


def parameter_groups(section: OptimizerSection, shapes: Mapping[str, Any], network: Any) -> dict[str, GroupOf]:
    """The group of each trained parameter, by name.

    Args:
        shapes: name -> a tensor of the parameter's shape.
        network: whose embeddings and head these may be; on the meta device it is enough.

    Raises:
        ConfigError: a rate of embeddings that are not trained.
    """
    embeddings, head = (
        _names(network, module) for module in (network.get_input_embeddings(), network.get_output_embeddings())
    )
    if section.embedding_learning_rate is not None and not embeddings & shapes.keys():
        raise ConfigError(
            "optimizer.embedding_learning_rate: has no effect, since no embeddings are trained; leave it out, or train "
            "them (model.train; with lora model.add_tokens)."
        )
    found = {}
    for name, tensor in shapes.items():
        of_table = name in embeddings or name in head
        rate = 1.0
        if name in embeddings and section.embedding_learning_rate is not None:
            rate = section.embedding_learning_rate / section.learning_rate
        decay = 0.0 if section.no_decay and tensor.dim() < 2 else section.weight_decay
        found[name] = GroupOf(rate, decay, tensor.dim() == 2 and not of_table)
    return found


def _names(network: Any, module: Any) -> set[str]:
    """Of a module's parameters, however the network calls them; tied ones have the name of the first."""
    own = set() if module is None else {id(parameter) for parameter in module.parameters()}
    return {name for name, parameter in network.named_parameters() if id(parameter) in own}


def grouped(tensors: Mapping[str, Tensor], groups: Mapping[str, GroupOf], rate: float) -> list[dict[str, Any]]:
    """As :class:`torch.optim.Optimizer` takes them, in the parameters' order; ``rate`` is the run's."""
    found: dict[tuple[float, float], dict[str, Any]] = {}
    for name, tensor in tensors.items():
        group = groups[name]
        new = {"params": [], "lr": rate * group.rate, "weight_decay": group.decay, "rate": group.rate}
        found.setdefault((group.rate, group.decay), new)["params"].append(tensor)
    return list(found.values())
