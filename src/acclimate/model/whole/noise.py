"""A model's own dropout and jitter, which are off while it is trained and measured.

A frozen reference runs without them, and the divergence of an untouched model must be 0 [ours]. A LoRA adapter's
dropout is its own.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PretrainedConfig

Path = tuple[str, ...]
"""Of a number in nested configurations."""
DROPS, JITTERS = ("drop",), ("jitter",)
"""Parts of the names that transformers gives to rates of dropout (``attention_dropout``, ``layerdrop``, ``attn_pdrop``,
``drop_path_rate``), and to noise of routers (``router_jitter_noise``, ``moe_jitter_eps``)."""
RESCALES = "rescale_every"
"""RWKV divides weights in place in evaluation, and an export in between would save them so [from code]."""


def switch_off(config: Any) -> dict[Path, float]:
    """Sets every rate of dropout to 0, also in nested configurations, and what changes weights in evaluation.

    Returns:
        What stood there.
    """
    found = {}
    for path, holder, name in _rates(config, ()):
        found[path] = getattr(holder, name)
        setattr(holder, name, type(found[path])(0))  # a configuration may insist on an integer
    return found


@contextmanager
def as_given(config: Any, given: Mapping[Path, float]) -> Iterator[None]:
    """The configuration as its checkpoint has it, to be written."""
    _put(config, given)
    try:
        yield
    finally:
        _put(config, {path: type(value)(0) for path, value in given.items()})


def quieten(network: nn.Module) -> None:
    """Switches off what no configuration names: rates that stand in modules, and the noise of routers.

    A router's jitter stays what it is, since Phi-MoE's also decides which experts count [from code]; the modules that
    hold one stay in evaluation mode, in which they add no noise and draw nothing.
    """
    for module in network.modules():
        for name, value in list(vars(module).items()):
            if _is_rate(name, value, DROPS) or (isinstance(module, nn.modules.dropout._DropoutNd) and name == "p"):
                setattr(module, name, 0.0)
            elif _is_rate(name, value, JITTERS):
                module.train = types.MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]
                module.training = False


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    for child in module.children():
        child.train(mode)
    module.training = False
    return module


def _rates(config: Any, path: Path) -> Iterator[tuple[Path, Any, str]]:
    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            yield from _rates(value, (*path, name))
        elif _is_rate(name, value, DROPS) or (name == RESCALES and value):
            yield (*path, name), config, name


def _is_rate(name: str, value: Any, parts: tuple[str, ...]) -> bool:
    return isinstance(value, float) and value > 0 and any(part in name for part in parts)


def _put(config: Any, values: Mapping[Path, float]) -> None:
    for path, value in values.items():
        holder = config
        for name in path[:-1]:
            holder = getattr(holder, name)
        setattr(holder, path[-1], value)
