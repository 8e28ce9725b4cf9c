"""The questions that a plan answers, from what its laws predict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.competing import FARTHEST
from acclimate.paired.estimate import Estimate
from acclimate.verbs.planning.predictions import Laws, Prediction, Setting

EVEN = 0.5
"""The domain's share where nothing is known: as much of other text."""
RATES = 9
"""Tried between the least and the largest measured learning rate."""
HALVES = 4
"""Of the way between two doublings: tokens are tried that close."""


@dataclass(frozen=True)
class Answer:
    """One question.

    Args:
        says: the answer in sentences.
        value: the number in it; None where it cannot be told.
        untold: why it cannot be told, or how it is bounded by what was measured; empty where it is told in full.
        run: which run would tell.
    """

    key: str
    question: str
    says: str
    value: float | None = None
    unit: str = ""
    untold: str = ""
    run: str = ""


@dataclass(frozen=True)
class Advice:
    """What is best within a limit of forgetting, and what that is worth.

    Args:
        keep: nats a token that the model may drift.
        tokens: of the domain, of the run that is planned.
    """

    laws: Laws
    keep: float
    tokens: float

    @cached_property
    def best(self) -> Prediction:
        """Of all settings whose whole interval of drift is within the limit, the one of most gain.

        Where no drift can be told, of most gain; where nothing is within the limit, of least drift.
        """
        inside = [one for one in self._tried if self.keeps(one)]
        if inside:
            return max(inside, key=lambda one: (_value(one.gain), one.setting.share))
        if DRIFT in self.laws.judged:
            return min(self._tried, key=lambda one: one.drift.value)
        return max(self._tried, key=lambda one: (_value(one.gain), -abs(one.setting.share - self.laws.usual("share"))))

    @cached_property
    def chosen(self) -> Setting:
        """The largest share within the limit at the best setting's learning rate; else that setting."""
        rate = self.best.setting.learning_rate
        inside = [
            one.setting for one in self._tried if self.keeps(one) and _same(one.setting.learning_rate, rate)
        ]
        return max(inside, key=lambda one: one.share) if inside else self.best.setting

    @cached_property
    def shown(self) -> dict[str, Prediction]:
        """What stands beside the advice: the run, the same with twice the tokens, and the control of even shares."""
        one = self.chosen
        settings = {"the plan": one, "twice the tokens": Setting(one.share, one.learning_rate, 2 * one.tokens, one.weight)}
        if self.laws.range("share")[0] < 1:
            settings["control: even shares"] = Setting(EVEN, one.learning_rate, one.tokens, one.weight)
        return dict(zip(settings, self.laws.predict(list(settings.values())), strict=True))

    @cached_property
    def by_share(self) -> list[Prediction]:
        """Over measured shares, at the chosen learning rate."""
        rate = self.chosen.learning_rate
        return sorted(
            (one for one in self._tried if _same(one.setting.learning_rate, rate)), key=lambda one: one.setting.share
        )

    @cached_property
    def by_tokens(self) -> list[Prediction]:
        """From the shortest measured run on, as far as is told, at the chosen share and learning rate."""
        least, most = self.laws.range("tokens")
        steps = math.floor(HALVES * math.log2(FARTHEST * most / least) + 1e-9)
        one = self.chosen
        tokens = [least * 2 ** (step / HALVES) for step in range(steps + 1)]
        return self.laws.predict([Setting(one.share, one.learning_rate, count, one.weight) for count in tokens])

    @cached_property
    def noise(self) -> tuple[float, str]:
        """What a difference of gain must exceed to be seen, and what that is."""
        if (found := self.laws.table.luck(GAIN)) is not None:
            return found[0], f"the luck of seeds ({found[1]} runs)"
        judged = self.laws.judged.get(GAIN)
        return (math.nan, "") if judged is None else (judged.error, "the error of the law at a setting left out")

    def keeps(self, one: Prediction) -> bool:
        """Whether its whole interval of drift lies within the limit."""
        return one.drift.bounded and one.drift.high <= self.keep

    @cached_property
    def tried(self) -> list[Prediction]:
        return self._tried

    @cached_property
    def _tried(self) -> list[Prediction]:
        laws, (low, high) = self.laws, self.laws.range("share")
        shares = [laws.usual("share")]
        if "share" in laws.varied:
            percents = range(math.ceil(100 * low + 1e-9), math.floor(100 * high - 1e-9) + 1)
            shares = sorted({low, high, *(percent / 100 for percent in percents)})
        rates = [laws.usual("learning_rate")]
        if "learning_rate" in laws.varied:
            rates = [float(f"{rate:.3g}") for rate in np.geomspace(*laws.range("learning_rate"), RATES)]
        weight = laws.usual("weight")
        return laws.predict([Setting(share, rate, self.tokens, weight) for rate in rates for share in shares])

    def widest(self, outcome: str) -> Prediction | None:
        """Where the least is known of it, in proportion: a run there would tell most. [ours]"""
        known = [(width, one) for one in self._tried if (width := _width(getattr(one, outcome))) is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None


def _width(found: Estimate) -> float | None:
    return (found.high - found.low) / max(abs(found.value), 1e-12) if found.bounded else None


def _value(found: Estimate) -> float:
    return found.value if found.bounded else -math.inf


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def doublings(series: Sequence[Prediction]) -> Iterator[tuple[Prediction, Prediction]]:
    """Of predictions in steps of :data:`HALVES` a doubling, those with twice the tokens beside them."""
    yield from zip(series, series[HALVES:], strict=False)
