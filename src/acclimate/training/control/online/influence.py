"""Measures how far the gradients of a step's sources are from those of held-out sets, as DIDS wants to know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from acclimate.objective.objective import Objective
from acclimate.objective.step import Step
from acclimate.training.control.online.alignment import Aligned, gradients_of, rows_of
from acclimate.types.central import Batch, Metrics

Form = Literal["difference", "product"]
Gradient = Mapping[str, Tensor]
"""Of the last trained tensors, by name."""
T = TypeVar("T")


def last(tensors: Sequence[T], part: float) -> Sequence[T]:
    """The last tensors of the network, at least one; a part of their number, whatever their sizes [from code].

    >>> last(list(range(20)), 0.1)
    [18, 19]
    """
    return tensors[-max(1, int(len(tensors) * part)) :]


def fisher(gradients: Sequence[Gradient]) -> Gradient:
    """The diagonal of the empirical Fisher, up to a factor: the mean of the squared gradients.

    The authors square gradients of micro-batches, of sources and of sets alike, and add 1e-10 [from code]. Here it is
    one gradient of each, and nothing is added: a constant would decide for gradients below 1e-5 [ours].

    Example:
        >>> fisher([{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([3.0, 2.0])}])["w"].tolist()
        [5.0, 2.0]
    """
    found = {name: torch.zeros_like(g) for name, g in gradients[0].items()}
    for name, total in found.items():
        for gradient in gradients:
            total.addcmul_(gradient[name], gradient[name], value=1 / len(gradients))
    return found


def difference(of: Gradient, source: Gradient, target: Gradient) -> float:
    """How unlike the model's answers would be after a step along either gradient: ``1/2 sum F (g_d - g_e)^2``.

    Example:
        >>> one, source, target = ({"w": torch.tensor(v)} for v in ([1.0, 1.0], [0.0, 1.0], [1.0, 0.0]))
        >>> difference(one, source, target), difference(one, target, target)
        (1.0, 0.0)

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; the docstring of compute_DIDS_FIM, and a line that is commented out
        there [from code].
    """
    return 0.5 * sum(_sum(of[name], source[name] - g, source[name] - g) for name, g in target.items())


def product(of: Gradient, source: Gradient, target: Gradient) -> float:
    """``1/2 sum F g_d g_e``, which the released code computes in place of :func:`difference`, and then turns around as
    if it were one: large values, of gradients that agree, get little [from code].

    Example:
        >>> one, source, target = ({"w": torch.tensor(v)} for v in ([1.0, 1.0], [0.0, 1.0], [1.0, 0.0]))
        >>> product(one, source, target), product(one, target, target)
        (0.0, 0.5)

    Reference:
        compute_DIDS_FIM of shiweijiezero/DIDS [from code].
    """
    return 0.5 * sum(_sum(of[name], source[name], g) for name, g in target.items())


FORMS = {"difference": difference, "product": product}


@dataclass(frozen=True)
class Influence:
    """``fisher/<source>/<set>`` and ``validation/<set>`` [nats/token] every ``every`` steps.

    The first is the form over ``1/2 sum F g_e^2``: of a difference 0 where the gradients are one, and 1 where the
    source has none [ours]. The ratio is free of the gradients' scale, so values of two measurements can stand beside
    each other. Gradients are those of :class:`Alignment`: of the source's own loss terms over its rows of the step, and
    of cross-entropy over all rows of the set, whose mean is the second metric. F is :func:`fisher` of all of them.

    Only the last trained tensors are compared, and they are compared as they are. The authors' projection belongs to
    their clusters [from code], and would save nothing here: F must be known before ``sqrt(F) g`` can be projected.

    It costs the step's rows and the sets' once more, forward and backward, and room for a gradient of the last tensors
    for each source, each set and F.

    Args:
        sources: whose gradients are compared.
        sets: held-out rows by name.
        loss: of the held-out rows.
        part: of the trained tensors that are compared, the last ones.
        form: ``difference``, or ``product`` as the released code has it.
    """

    every: int
    sources: Sequence[str]
    sets: Mapping[str, Sequence[Batch]]
    loss: Objective
    part: float = 0.1
    form: Form = "difference"

    def measured(self, training: Aligned, batches: Sequence[Batch]) -> Metrics:
        """What is to be known after this step: nothing, in most.

        Args:
            batches: this rank's micro-batches of the step.
        """
        if training.step % self.every:
            return {}
        metrics: Metrics = {}
        targets: dict[str, Gradient] = {}
        for name, rows in self.sets.items():
            here = [batch.to(training.model.device) for batch in rows]  # the same on all ranks, as of one
            step = self.loss.step(here)
            if (found := self._last(training, step, here)) is not None:
                targets[name], metrics[f"validation/{name}"] = found, step.report()["loss"]
        own = replace(training.objective, expected=None, balance=0.0)
        sources: dict[str, Gradient] = {}
        for source in self.sources:
            here = [rows_of(batch, source, own) for batch in batches]
            if (found := self._last(training, own.step(here, before=training.step), here)) is not None:
                sources[source] = found
        weighted = fisher([*targets.values(), *sources.values()])
        for name, target in targets.items():
            whole = product(weighted, target, target)
            for source, gradient in sources.items():
                value = FORMS[self.form](weighted, gradient, target)
                metrics[f"fisher/{source}/{name}"] = value / whole if whole else 0.0
        return metrics

    def _last(self, training: Aligned, step: Step, batches: Sequence[Batch]) -> Gradient | None:
        """Of the last tensors, over all ranks; None where no rank has a token."""
        gradients = gradients_of(training, step, batches)
        if gradients is None:
            return None
        kept = {name: gradients[name].clone() for name in last(list(gradients), self.part)}
        training.weights.drop()
        return kept


def _sum(of: Tensor, one: Tensor, other: Tensor) -> float:
    """In float64: a product of four small gradients is below what float32 holds."""
    return float((of.double() * one.double() * other.double()).sum())
