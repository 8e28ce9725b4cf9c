"""Gradient transforms for a plain loop: what is done to gradients between the last backward and the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acclimate.gradient.boost import Boost
from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.gradient.importance import ImportancePenalty
from acclimate.gradient.penalty import L2ToBase
from acclimate.model.causal import CausalModel
from acclimate.stores.lowrank import Matrices
from acclimate.stores.store import open_store
from acclimate.types.central import GradientTransform, Metrics
from acclimate.types.dials import Dial
from acclimate.types.errors import UsageError

Statistics = str | Path | Mapping[str, Tensor]
"""A folder of ``acclimate stats``, or tensors by the names of the base's own parameters."""


def clip(max_norm: float | None = 1.0) -> ClipNorm:
    """``g <- g * min(1, max_norm / ||g||_2)`` over all parameters; reports ``gradient_norm`` before clipping.

    Args:
        max_norm: above 0; None only measures.

    >>> clip(0.5).max_norm
    0.5
    """
    if max_norm is not None and not max_norm > 0:
        raise UsageError(f"clip: max_norm is {max_norm!r}; accepted: a number above 0, or None to measure only.")
    return ClipNorm(max_norm)


def l2_to_base(weight: float | Dial) -> L2ToBase:
    """Adds the gradient of ``weight * ||theta - theta_0||^2``, theta_0 being the weights when ``chain`` is made.

    Under LoRA the distance is that of the adapted matrices, ``dW = s B A``. Reports ``penalty/l2``.

    Args:
        weight: 0 or more.

    >>> l2_to_base(0.01).weight
    0.01
    """
    return L2ToBase(_strength("l2_to_base", weight))


def importance(statistics: Statistics, weight: float | Dial = 1.0, *, name: str = "ewc") -> ImportancePenalty:
    """Adds the gradient of ``weight * sum_i F_i (theta_i - theta_0,i)^2``: elastic weight consolidation.

    Args:
        statistics: F, of ``acclimate stats fisher``, or float32 tensors by the base's own parameter names.
        weight: lambda, 0 or more; no factor 1/2.
        name: of the metric, ``penalty/<name>``.

    Raises:
        UsageError: a weight below 0.
        ConfigError: the folder is no store of a Fisher.

    Reference: Kirkpatrick et al., 2017, arXiv 1612.00796 [paper].

    >>> importance({"w": torch.ones(2)}, weight=0.5).weight
    0.5
    """
    return ImportancePenalty(name, _strength("importance", weight), _tensors(statistics, "fisher"))


def boost(general: Statistics, k0: float, total_steps: int) -> Boost:
    """``g <- gamma_t g_G + (1 - gamma_t) g`` with ``gamma_t = clip(k0 (1 - t / T), 0, 1)``: a stored mean gradient of
    general text is mixed into each step's own. Reports ``boost/gamma`` and ``boost/cosine``.

    Args:
        general: g_G, of ``acclimate stats mean-gradient``, or tensors by the base's own parameter names.
        k0: gamma of the first step, 0 or more.
        total_steps: T, 1 or more.

    Raises:
        UsageError: a number that is out of range.
        ConfigError: the folder is no store of a mean gradient.

    >>> boost({"w": torch.ones(2)}, k0=0.2, total_steps=10).gamma(5)
    0.1
    """
    if total_steps < 1:
        raise UsageError(f"boost: total_steps is {total_steps!r}; accepted: 1 or more.")
    return Boost(_tensors(general, "mean-gradient"), float(_strength("boost", k0)), total_steps)


class GradientChain:
    """What ``chain`` gives; see there."""

    def __init__(self, student: CausalModel, transforms: tuple[GradientTransform, ...]) -> None:
        self.parameters = student.trainable()
        self.steps = 0
        """Updates so far."""
        self._chain = Chain(transforms, self.parameters)

    def update(self) -> Metrics:
        """Edits the gradients of the parameters in place; after the last backward, before ``optimizer.step()``.

        Returns:
            What the transforms report.
        """
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = {name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None}
        found = self._chain.update(grads, self.steps)
        self.steps += 1
        return found

    def state_dict(self) -> dict[str, Any]:
        """Steps and the transforms' state, for a checkpoint. Anchors are the weights of the start, not in it."""
        return {"steps": self.steps, "states": self._chain.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken; make the chain of the weights that training started from first."""
        if (found := len(state["states"])) != (own := len(self._chain.states)):
            raise UsageError(f"chain: the state is of {found} transforms, and this chain has {own}; make the same one.")
        self.steps = state["steps"]
        self._chain.load_state_dict(state["states"])


def chain(student: CausalModel, *transforms: GradientTransform) -> GradientChain:
    """Gradient transforms in their fixed order (observe, boost, penalty, project, clip), whatever order is given.

    Make it before the first update: penalties hold the weights that they find.

    Args:
        student: what ``acclimate.causal`` gave; its trained parameters are those that are edited.
        transforms: of ``clip``, :func:`l2_to_base`, ``importance`` and ``boost``, or of one's own.

    Raises:
        UsageError: nothing to do, or statistics that lack a trained parameter.

    Example:
        >>> gradients = chain(student, l2_to_base(0.01), clip(1.0))
        >>> metrics = gradients.update()  # between backward and optimizer.step()
        >>> metrics["gradient_norm"] > 0
        True
    """
    if not isinstance(student, CausalModel):
        raise UsageError("chain: the first argument is the student, what acclimate.causal(network, tokenizer) gives.")
    if not transforms:
        raise UsageError("chain: there is no transform; give one, such as acclimate.clip(1.0).")
    known = {"lora_scaling": student.lora_scaling, "lora_experts": student.lora_experts}
    placed = tuple(_placed(transform, known) for transform in transforms)
    for transform in placed:
        _check(transform, student)
    return GradientChain(student, placed)


def _placed(transform: GradientTransform, known: Mapping[str, Any]) -> GradientTransform:
    """With what it has to know of the student's adapter."""
    if not is_dataclass(transform) or isinstance(transform, type):
        return transform
    wanted = {field.name for field in fields(transform)} & known.keys()
    return replace(transform, **{name: known[name] for name in wanted}) if wanted else transform


def _check(transform: GradientTransform, student: CausalModel) -> None:
    tensors = getattr(transform, "importance", None) or getattr(transform, "general", None)
    if not isinstance(tensors, Mapping):
        return
    adapted = {f"{module}.weight" for module in student.lora_scaling}
    changed = adapted or set(student.trainable())
    if absent := sorted(changed - tensors.keys()):
        raise UsageError(
            f"chain: the statistics of {type(transform).__name__} lack {len(absent)} of the {len(changed)} weights "
            f"that the student changes, '{absent[0]}' first; take them of this network, under its adapter."
        )


def _strength(asked: str, weight: float | Dial) -> float | Dial:
    if not (weight.low if isinstance(weight, Dial) else weight) >= 0:
        raise UsageError(f"{asked}: the weight may be {weight!r}; accepted: numbers of 0 or more.")
    return weight


def _tensors(statistics: Statistics, kind: str) -> Mapping[str, Tensor]:
    """Of a store, whose weights must be those that it was taken of; its digest is held against its manifest."""
    if isinstance(statistics, Mapping):
        return statistics
    store = open_store(str(statistics), kind)
    store.verify()
    return Matrices(store.tensors) if kind == "mean-gradient" else store.tensors
