"""What the routers of a mixture of experts decide: how many tokens each expert gets, and the loss that evens them out.

Nothing of it exists in a dense model. Routers are watched only while a forward that learns is under way, so references,
generation and checkpointing's second forward are not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.model.lora.matrices import Places, clean, recorded
from acclimate.types.errors import ConfigError


@dataclass(frozen=True)
class Router:
    """A module that chooses experts, the place of its logits in what it returns, and how many it chooses."""

    name: str
    module: nn.Module
    index: int
    top_k: int


def routers(network: Any) -> list[Router]:
    """Of a network, with or without adapters; none of a dense one."""
    places = Places(network)
    known = list(recorded(places.modules.values()))
    found = []
    for name in places.routers:
        module, around = places.modules[name], places.modules[name.rpartition(".")[0]]
        index = next((index for kind, index in known if isinstance(module, kind)), 0)
        top_k = next((k for one in (module, around, network) if (k := _top_k(one)) is not None), 1)
        found.append(Router(name, module, index, top_k))
    return found


def _top_k(module: Any) -> int | None:
    found = getattr(module, "top_k", getattr(module, "num_experts_per_tok", None))
    return found if isinstance(found, int) else None


@dataclass(frozen=True)
class Routed:
    """Of one micro-batch. L routers, E experts, n tokens that are no padding.

    Args:
        load: [L, E] float64, tokens that each expert got.
        balance: the family's own load balancing loss over the real tokens, a scalar with a gradient; None unless asked.
        tokens: n.
    """

    load: Tensor
    balance: Tensor | None
    tokens: Tensor


class Routing:
    """The routers of ``network``, and what they decided in the forwards since :meth:`begin`."""

    def __init__(self, network: Any) -> None:
        self._routers = routers(network)
        self._balance = balance_function(network)
        self._real: list[Tensor] = []
        self._logits: list[list[Tensor]] = []
        self._chosen: list[list[Tensor]] = []

    @classmethod
    def of(cls, network: Any) -> Routing | None:
        """None of a dense network."""
        found = cls(network)
        return found if found._routers else None

    def begin(self) -> None:
        """Forgets what was seen: a new micro-batch."""
        self._real = []
        self._logits = [[] for _ in self._routers]
        self._chosen = [[] for _ in self._routers]

    @contextmanager
    def watching(self, real: Tensor) -> Iterator[None]:
        """Looks at one forward.

        Args:
            real: [B, T] bool of the rows that the forward gets: no padding.
        """
        self._real.append(real.flatten())
        handles = [
            router.module.register_forward_hook(partial(self._see, layer)) for layer, router in enumerate(self._routers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see(self, layer: int, module: Any, inputs: Any, output: Any) -> None:
        found = output if isinstance(output, tuple) else (output,)
        router = self._routers[layer]
        logits = found[router.index].flatten(0, -2)  # [N, E]
        chosen = next((t for t in found if _is_choice(t, len(logits))), None)
        if chosen is None:
            chosen = logits.detach().topk(router.top_k, dim=-1).indices
        self._logits[layer].append(logits)
        self._chosen[layer].append(chosen.detach().flatten(0, -2))

    def taken(self, balanced: bool) -> Routed:
        """What was seen since :meth:`begin`, which is forgotten here.

        Args:
            balanced: whether the loss is computed.
        """
        real = torch.cat(self._real)
        seen = [layer for layer, found in enumerate(self._logits) if found]
        logits = [torch.cat(self._logits[layer]) for layer in seen]
        experts = max((found.shape[-1] for found in logits), default=0)
        load = torch.zeros(len(self._routers), experts, dtype=torch.float64, device=real.device)
        for layer in seen:
            chosen = torch.cat(self._chosen[layer])  # [N, k]
            ones = real.double()[:, None].expand(chosen.shape)
            load[layer].scatter_add_(0, chosen.flatten(), ones.flatten())
        balance = None
        if balanced and self._balance is not None and logits:
            balance = self._balance(tuple(logits), experts, self._routers[seen[0]].top_k, real.long()[None])
        self.begin()
        return Routed(load, balance, real.sum())


def balance_function(network: Any) -> Any | None:
    """The load balancing loss that transformers has for this family (Fedus et al., 2021, arXiv 2101.03961).

    ``E sum_e f_e P_e`` with f_e the part of choices that fall on expert e and P_e its mean probability, over all layers
    [from code].
    """
    return getattr(sys.modules.get(type(network).__module__), "load_balancing_loss_func", None)


def balance_weight(network: Any, asked: float | None) -> float:
    """The coefficient of the load balancing loss; 0 where there is none.

    Args:
        network: with its adapter, if it gets one.
        asked: None follows the model's own configuration.

    Raises:
        ConfigError: it is asked for, and has nothing to act on.
    """
    found = routers(network)
    if asked is None:
        return 0.0 if is_frozen(network) else own_weight(network)
    if asked == 0:
        return 0.0
    key = f"objective.router_aux_loss: {asked:g} has no effect: "
    if not found:
        raise ConfigError(key + "this model has no experts; leave it out.")
    if balance_function(network) is None:
        raise ConfigError(
            key + f"transformers has no load balancing loss for {network.config.model_type}, which was balanced "
            "otherwise; leave it out."
        )
    if is_frozen(network):
        raise ConfigError(key + "the router is frozen; name it in lora.target_modules, or leave it out.")
    return asked


def own_weight(network: Any) -> float:
    """What the model's configuration asks for: ``router_aux_loss_coef`` where ``output_router_logits`` is true."""
    config = network.config.get_text_config()
    if not getattr(config, "output_router_logits", False) or balance_function(network) is None:
        return 0.0
    return float(getattr(config, "router_aux_loss_coef", getattr(network, "router_aux_loss_coef", 0.0)))


def is_frozen(network: Any) -> bool:
    """Whether nothing in any router learns."""
    names = tuple(f"{router.name}." for router in routers(network))
    return not any(p.requires_grad and clean(n).startswith(names) for n, p in network.named_parameters() if names)


def _is_choice(tensor: Any, rows: int) -> bool:
    """[..., k] numbers of experts."""
    if not isinstance(tensor, Tensor) or tensor.is_floating_point() or tensor.ndim < 2:
        return False
    return tensor.numel() == rows * tensor.shape[-1]
