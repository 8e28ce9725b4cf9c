"""What the laws of a table say of settings that nobody trained, each beside the nearest one that somebody did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.competing import Judged
from acclimate.laws.form import Array
from acclimate.laws.judgement import Judgement, judge
from acclimate.paired.estimate import Estimate
from acclimate.verbs.planning.reading.readings import INPUTS, Reading, Readings, worded

LEVEL = 0.9
"""Of every interval of a plan."""
OUTCOMES = (DRIFT, GAIN)
COLUMNS = {"share": "share", "weight": "weight", "learning_rate": "rate", "tokens": "tokens"}
"""Attribute of a reading -> column of the forms."""


@dataclass(frozen=True)
class Setting:
    """One that may be trained."""

    share: float
    learning_rate: float
    tokens: float
    weight: float = 1.0

    def __str__(self) -> str:
        return worded(self.share, self.learning_rate, self.tokens, self.weight)


@dataclass(frozen=True)
class Prediction:
    """What a run at a setting would show, with its 90 % interval; without bounds where that cannot be told.

    Args:
        gain, drift: nan where no law follows from the table.
        nearest: the measured run whose setting is the nearest.
        why: why an interval has no bounds, by outcome.
    """

    setting: Setting
    gain: Estimate
    drift: Estimate
    nearest: Reading
    why: dict[str, str]


@dataclass(frozen=True)
class Laws:
    """Competing forms of gain and of drift over one table."""

    table: Readings

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Inputs that differ between runs, and can be told apart."""
        return tuple(name for name in INPUTS if self.table.varied(name))

    @cached_property
    def judged(self) -> dict[str, Judged]:
        """Outcome -> its forms, fitted and weighed; those that have none are in :attr:`untold`."""
        return {
            name: found.judged
            for name, found in self._fits.items()
            if isinstance(found, Judgement) and found.judged.reason is None
        }

    @property
    def turning(self) -> float | None:
        """The weight of a drift that falls again, beside the forms that rise; None where it was not tried."""
        found = self._fits[DRIFT]
        return found.turning if isinstance(found, Judgement) else None

    @cached_property
    def untold(self) -> dict[str, str]:
        """Outcome -> why no law of it follows: a sentence."""
        found = {}
        for name, fit in self._fits.items():
            if isinstance(fit, str):
                found[name] = fit
            elif (why := fit.judged.reason) is not None:
                found[name] = f"{why[0].upper()}{why[1:]}."
        return found

    @cached_property
    def _fits(self) -> dict[str, Judgement | str]:
        return {name: self._fitted(name) for name in OUTCOMES}

    def _fitted(self, outcome: str) -> Judgement | str:
        known = self.table.measured(outcome)
        what = "gain on the domain" if outcome == GAIN else self.table.drift_of
        if not known.readings:
            return f"Cannot tell: no run measured {what}."
        varied = {COLUMNS[name] for name in INPUTS if known.varied(name)}
        if not varied:
            return f"Cannot tell: the runs that measured {what} differ in neither share, learning rate nor tokens."
        values = known.column(outcome)
        if outcome == DRIFT and (values <= 0).any():
            return (
                f"Cannot tell: {what} is {values.min():.3g} for '{known.readings[int(values.argmin())].run}', and the "
                "laws of drift are of what is above 0: other text got no harder there."
            )
        unit = self.table.gain_unit if outcome == GAIN else "nats/token"
        table = {**_columns(known), outcome: values}
        runs = [one.run for one in known.readings]
        if not values.any():
            return f"Cannot tell: {what} is 0 for every run."
        return judge(outcome, table, varied, runs, unit=unit)

    def predict(self, settings: Sequence[Setting]) -> list[Prediction]:
        """One for each setting, with all forms together."""
        points = {column: np.array([getattr(one, name) for one in settings]) for name, column in COLUMNS.items()}
        estimates: dict[str, list[Estimate]] = {}
        refusals: dict[str, list[str | None]] = {}
        for outcome in OUTCOMES:
            judged = self.judged.get(outcome)
            if judged is None:
                estimates[outcome] = [Estimate(math.nan)] * len(settings)
                refusals[outcome] = [self.untold[outcome]] * len(settings)
            else:
                asked = {name: column for name, column in points.items() if name in judged.table}
                estimates[outcome] = judged.predict(asked, level=LEVEL)
                refusals[outcome] = judged.refusals(asked)
        return [
            Prediction(
                setting,
                estimates[GAIN][at],
                estimates[DRIFT][at],
                self.nearest(setting),
                {name: why for name in OUTCOMES if (why := refusals[name][at]) is not None},
            )
            for at, setting in enumerate(settings)
        ]

    def nearest(self, setting: Setting) -> Reading:
        """The measured run that is the fewest measured ranges away; learning rate and tokens by ratio."""
        runs, places, spans = self._places
        here = _scaled(np.array([[getattr(setting, name) for name in INPUTS]]))
        apart = np.nan_to_num((here - places) / spans)  # a rate that nobody said is no difference
        return runs[int((apart**2).sum(axis=1).argmin())]

    @cached_property
    def _places(self) -> tuple[list[Reading], Array, Array]:
        """Runs, their settings [runs, inputs], and the range of each input [inputs], infinite where it has none."""
        runs = list(self.table.ends.values())
        places = _scaled(np.array([[getattr(one, name) for name in INPUTS] for one in runs]))
        spans = places.max(axis=0) - places.min(axis=0)
        return runs, places, np.where(spans > 0, spans, np.inf)

    def usual(self, name: str) -> float:
        """The value that most settings have; of as many the smallest, and of weights the largest, which holds most."""
        values: list[float] = [getattr(one, name) for one in self.table.ends.values()]
        sign = -1 if name == "weight" else 1
        return min(dict.fromkeys(values), key=lambda value: (-values.count(value), sign * value))

    def range(self, name: str) -> tuple[float, float]:
        """The least and the largest measured value."""
        values = self.table.column(name)
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if len(values) else (math.nan, math.nan)


def _columns(known: Readings) -> dict[str, Array]:
    """What forms read, seeds of one setting with the same numbers; a rate that some run does not say is left out."""
    first: dict[str, Reading] = {}
    ends = known.ends
    for group, one in zip(known.groups, known.readings, strict=True):
        first.setdefault(group, ends[one.run])
    table = {}
    for name, column in COLUMNS.items():
        values = [
            getattr(first[group], name) if ends[one.run] is one or name != "tokens" else one.tokens
            for group, one in zip(known.groups, known.readings, strict=True)
        ]
        table[column] = np.array(values, dtype=np.float64)
    return {name: column for name, column in table.items() if np.isfinite(column).all()}


def _scaled(settings: Array) -> Array:
    """By inputs: share and weight as they are, all else as logarithms."""
    return np.where([name in ("share", "weight") for name in INPUTS], settings, np.log(np.maximum(settings, 1e-12)))
