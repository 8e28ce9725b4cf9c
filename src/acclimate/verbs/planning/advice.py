"""The setting that a plan advises, and the predictions that stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.competing import FARTHEST
from acclimate.paired.estimate import Estimate
from acclimate.verbs.planning.luck import luck_of_gain
from acclimate.verbs.planning.predictions import Laws, Prediction, Setting
from acclimate.verbs.planning.reading.readings import ALIKE

EVEN = 0.5
"""The domain's share where nothing is known: as much of other text."""
RATES = 13
"""Tried between the least and the largest measured learning rate."""
STEPS = 4
"""Of a doubling: tokens are tried that close."""
PLAN, DOUBLE, CONTROL = "the plan", "twice the tokens", "control: even shares"


@dataclass(frozen=True)
class Advice:
    """What is best within a limit of forgetting.

    Args:
        keep: nats a token that the model may drift.
        tokens: of the domain, that the planned run is trained on.
    """

    laws: Laws
    keep: float
    tokens: float

    def keeps(self, one: Prediction) -> bool:
        """Whether its whole interval of drift lies within the limit."""
        return one.drift.bounded and one.drift.high <= self.keep

    @cached_property
    def tried(self) -> list[Prediction]:
        """Measured shares by percent, at measured learning rates; each in its range, as nothing is chosen beyond it."""
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

    @cached_property
    def best(self) -> Prediction:
        """The largest share within the limit, at the learning rate of most gain within it.

        Where nothing is within it, the setting of least drift; where no drift can be told, the one of most gain.
        """
        inside = [one for one in self.tried if self.keeps(one)]
        if not inside:
            if DRIFT in self.laws.judged:
                return min(self.tried, key=lambda one: one.drift.value)
            usual = self.laws.usual("share")
            return max(self.tried, key=lambda one: (_known(one.gain), -abs(one.setting.share - usual)))
        rate = max(inside, key=lambda one: (_known(one.gain), one.setting.share)).setting.learning_rate
        return max((one for one in inside if _same(one, rate)), key=lambda one: one.setting.share)

    @cached_property
    def by_share(self) -> list[Prediction]:
        """At the advised learning rate, by rising share."""
        rate = self.best.setting.learning_rate
        return sorted((one for one in self.tried if _same(one, rate)), key=lambda one: one.setting.share)

    @cached_property
    def by_tokens(self) -> list[Prediction]:
        """At the advised share and rate, from the shortest measured run on as far as laws go."""
        least, most = self.laws.range("tokens")
        steps = math.floor(STEPS * math.log2(FARTHEST * most / least) + 1e-9)
        one = self.best.setting
        lengths = [least * 2 ** (step / STEPS) for step in range(steps + 1)]
        return self.laws.predict([Setting(one.share, one.learning_rate, count, one.weight) for count in lengths])

    @cached_property
    def beside(self) -> dict[str, Prediction]:
        """The planned run, the same with twice the tokens, and the control of even shares at its rate and length."""
        one = self.best.setting
        asked = {PLAN: one, DOUBLE: Setting(one.share, one.learning_rate, 2 * one.tokens, one.weight)}
        if self.laws.range("share")[0] < 1:
            asked[CONTROL] = Setting(EVEN, one.learning_rate, one.tokens, one.weight)
        return dict(zip(asked, self.laws.predict(list(asked.values())), strict=True))

    @cached_property
    def noise(self) -> tuple[float, str]:
        """What a difference of gain must exceed to be seen, and what that is."""
        luck, error = luck_of_gain(self.laws.table), self.laws.judged[GAIN].error
        if luck.own or luck.size >= error:
            return luck.size, luck.says
        return error, "the error of the law at a setting left out"

    def widest(self, outcome: str) -> Setting | None:
        """Where the interval is widest for its value, and no run is near: one there tells most [ours]."""
        runs = list(self.laws.table.ends.values())
        found = [(width, one.setting) for one in self.tried if (width := _width(getattr(one, outcome))) is not None]
        apart = [pair for pair in found if not any(_near(pair[1], run.share, run.learning_rate) for run in runs)]
        return max(apart, key=lambda pair: pair[0])[1] if apart else None


def doublings(series: Sequence[Prediction]) -> Iterator[tuple[Prediction, Prediction]]:
    """Of :attr:`Advice.by_tokens`, each with that of twice the tokens."""
    yield from zip(series, series[STEPS:], strict=False)


def _near(one: Setting, share: float, rate: float) -> bool:
    return abs(one.share - share) < 0.05 and (
        math.isnan(rate) or max(one.learning_rate, rate) <= ALIKE * min(one.learning_rate, rate)
    )


def _width(found: Estimate) -> float | None:
    return (found.high - found.low) / max(abs(found.value), 1e-12) if found.bounded else None


def _known(found: Estimate) -> float:
    return found.value if found.bounded else -math.inf


def _same(one: Prediction, rate: float) -> bool:
    return one.setting.learning_rate == rate or math.isnan(rate)
