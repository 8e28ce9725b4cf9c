"""ODM: a bandit that gives more to sources of large loss. On arrays, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from acclimate.training.control.online.weights import Vector

Form = Literal["smoothed", "exp3"]
SCALE = 10.0
"""By which EXP3 divides a loss, so that sums do not explode [from code]."""


def exploration(sources: int, step: int) -> float:
    """The least share of a source: ``eps_t = min(1 / K, sqrt(ln K / (K t)))``.

    Args:
        sources: K, 2 or more.
        step: t, from 1; at 0 it is 1 / K.

    Example:
        >>> round(exploration(2, 2), 6), exploration(2, 1)
        (0.416277, 0.5)

    Reference:
        ODM, arXiv 2312.02406; alon-albalak/online-data-mixing [from code].
    """
    return 1 / sources if step < 1 else min(1 / sources, math.sqrt(math.log(sources) / (sources * step)))


def smoothed(last: ArrayLike, loss: ArrayLike, kept: float = 0.9) -> Vector:
    """Rewards of the form that the authors' README calls the paper's: ``R <- kept R + (1 - kept) e^loss``.

    Args:
        last: [K] R so far, 0 at first.
        loss: [K] mean nats a token of a source's rows in the step; nan of a source that is absent, which keeps its R.
        kept: from 0 to below 1; .9, and .5 in some of the authors' scripts [from code].

    Example:
        >>> smoothed([0.0, 0.0], [2.0, 1.0]).round(6).tolist()
        [0.738906, 0.271828]

    Reference:
        ODM, arXiv 2312.02406; SmoothedMeanWeightUpdater.group_update [from code].
    """
    last, loss = np.asarray(last, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    return np.where(np.isnan(loss), last, kept * last + (1 - kept) * np.exp(loss))


def exp3(last: ArrayLike, loss: ArrayLike, shares: ArrayLike) -> Vector:
    """Rewards of EXP3, weighted by importance: ``R <- R + loss / (10 a)``.

    Args:
        last: [K] R so far, 0 at first.
        loss: [K] nats a token; nan of a source that is absent.
        shares: [K] a by which the step was dealt.

    Example:
        >>> exp3([0.0, 0.0], [2.0, 1.0], [0.5, 0.5]).tolist()
        [0.4, 0.2]

    Reference:
        ODM, arXiv 2312.02406; Exp3WeightUpdater.group_update [from code].
    """
    loss = np.asarray(loss, dtype=np.float64)
    return np.asarray(last + np.where(np.isnan(loss), 0.0, loss / (SCALE * np.asarray(shares, dtype=np.float64))))


def odm(rewards: ArrayLike, step: int, form: Form = "smoothed") -> Vector:
    """Shares of which each source has at least eps_t.

    ``a = (1 - K eps_t) policy + eps_t``, where policy is ``R / sum R`` (smoothed) or ``softmax(eps_(t-1) R)`` (exp3)

    Args:
        rewards: [K] of :func:`smoothed` or :func:`exp3`.
        step: t, of the run, from 1.
        form: which of the two.

    Returns:
        [K] the new shares, summing to 1.

    Example:
        >>> twice = smoothed(smoothed([0.0, 0.0], [2.0, 1.0]), [2.0, 1.0])
        >>> odm(twice, 2).round(6).tolist()
        [0.53869, 0.46131]
        >>> odm([0.8, 0.4], 2, "exp3").round(6).tolist()
        [0.508344, 0.491656]

    Reference:
        ODM, arXiv 2312.02406; the same file [from code].
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    k = len(rewards)
    floor = exploration(k, step)
    policy = rewards / rewards.sum() if form == "smoothed" else softmax(exploration(k, step - 1) * rewards)
    return np.asarray((1 - k * floor) * policy + floor)


@dataclass(frozen=True)
class ODM:
    """:func:`odm` after every step beyond the first ones, in which the shares stay.

    The reward is the loss itself, so text that nobody can predict is the best arm: noise gains share [ours].

    Args:
        form: ``smoothed``, or ``exp3``, which the same file has too.
        kept: of ``smoothed``.
        warmup: steps; 2000 of the authors' 100,000 [from code].
    """

    form: Form = "smoothed"
    kept: float = 0.9
    warmup: int = 0
    reads: ClassVar[str] = "loss/{source}/cross_entropy"

    def scores(self, last: Vector, read: Vector, shares: Vector, rate: float, step: int) -> Vector:
        if step <= self.warmup:
            return last
        return smoothed(last, read, self.kept) if self.form == "smoothed" else exp3(last, read, shares)

    def shares(self, shares: Vector, scores: Vector, step: int) -> Vector:
        return odm(scores, step, self.form) if step > self.warmup and scores.any() else shares
