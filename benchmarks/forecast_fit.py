"""Lines through logarithms within columns, and what they foretell of a family that is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.forecast_rows import Observation
from numpy.typing import NDArray
from scipy.stats import rankdata

from acclimate.paired.resample import RESAMPLES

Array = NDArray[np.float64]
WITHIN, TWICE = 0.9, float(np.log(2))


@dataclass(frozen=True)
class Table:
    """Observations as arrays: y, x and other candidates [n, k], their columns [n, c] as zeros and ones, weights [n]."""

    seen: Sequence[Observation]

    @property
    def y(self) -> Array:
        return np.array([one.y for one in self.seen])

    @property
    def x(self) -> Array:
        return np.array([one.x for one in self.seen])

    @property
    def weight(self) -> Array:
        return np.array([one.weight for one in self.seen])

    @property
    def families(self) -> list[str]:
        return [one.run.family for one in self.seen]

    @property
    def columns(self) -> Array:
        names = list(dict.fromkeys(one.column for one in self.seen))
        return np.array([[one.column == name for name in names] for one in self.seen], dtype=np.float64)

    @property
    def trainings(self) -> int:
        return len({one.run.training for one in self.seen})

    @property
    def compared(self) -> int:
        """Columns of at least two families: others say nothing between methods."""
        return sum(
            len({f for f, own in zip(self.families, column, strict=True) if own}) > 1 for column in self.columns.T
        )


def centred(values: Array, columns: Array, weight: Array) -> Array:
    """[..., n] less the mean of its column, which each draw weighs its own way.

    Args:
        values: [n] or [R, n].
        columns: [n, c].
        weight: [n] or [R, n].
    """
    total = weight @ columns
    mean = (weight * values) @ columns / np.where(total > 0, total, 1.0)
    return values - mean @ columns.T


def line(y: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """Slope and R² [...] of centred values; NaN where all x are one."""
    xx, xy, yy = ((weight * a * b).sum(-1) for a, b in ((x, x), (x, y), (y, y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return xy / xx, xy**2 / (xx * yy)


def resampled_weights(seen: Sequence[Observation], seed: int = 0) -> Array:
    """[R, n] for families drawn anew, then trainings within a family."""
    random = np.random.default_rng(seed)
    families = list(dict.fromkeys(one.run.family for one in seen))
    trainings = {f: list(dict.fromkeys(o.run.training for o in seen if o.run.family == f)) for f in families}
    times = random.multinomial(len(families), np.full(len(families), 1 / len(families)), RESAMPLES)
    weights = np.zeros((RESAMPLES, len(seen)))
    for place, family in enumerate(families):
        own = trainings[family]
        which = {training: index for index, training in enumerate(own)}
        at = [index for index, one in enumerate(seen) if one.run.family == family]
        # as many draws as the family came up, each of all its trainings
        drawn = random.multinomial(times[:, place] * len(own), np.full(len(own), 1 / len(own)))
        weights[:, at] = drawn[:, [which[seen[index].run.training] for index in at]]
    return weights * np.array([one.weight for one in seen])


@dataclass(frozen=True)
class Found:
    """A number with its 95 % interval over families, trainings and documents."""

    value: float
    drawn: Array

    @property
    def text(self) -> str:
        low, high = np.nanquantile(self.drawn, [0.025, 0.975])
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}]"


def within(table: Table) -> tuple[Found, Found, Found]:
    """Slope, R² and rank correlation within columns."""
    columns, weight = table.columns, table.weight
    weights = resampled_weights(table.seen)
    y, x = (np.stack([np.broadcast_to(one.drawn[side], RESAMPLES) for one in table.seen], 1) for side in (0, 1))
    slope, r2 = line(centred(table.y, columns, weight), centred(table.x, columns, weight), weight)
    slopes, r2s = line(centred(y, columns, weights), centred(x, columns, weights), weights)
    rho = _ranked(table.y, table.x, columns, weight)
    rhos = _ranked(y, x, columns, weights)
    return Found(float(slope), slopes), Found(float(r2), r2s), Found(float(rho), rhos)


def _ranked(y: Array, x: Array, columns: Array, weight: Array) -> Array:
    """Pearson's correlation of ranks within the column, as parts of its length."""
    sides = []
    for values in (y, x):
        ranks = np.zeros(values.shape)
        for column in columns.T.astype(bool):
            ranks[..., column] = rankdata(values[..., column], axis=-1) / column.sum()
        sides.append(centred(ranks, columns, weight))
    slope, r2 = line(sides[0], sides[1], weight)
    return np.sign(slope) * np.sqrt(r2)


def pooled(table: Table) -> tuple[float, float]:
    """Slope and R² of one line for all columns."""
    everything = np.ones((len(table.seen), 1))
    slope, r2 = line(
        centred(table.y, everything, table.weight), centred(table.x, everything, table.weight), table.weight
    )
    return float(slope), float(r2)


def partial(table: Table, given: Sequence[Array]) -> Found:
    """Correlation of y and x within columns, of what ``given`` [n] each leave of them."""
    columns, weights = table.columns, np.vstack([table.weight, resampled_weights(table.seen)])
    draws = [np.stack([np.broadcast_to(one.drawn[side], RESAMPLES) for one in table.seen], 1) for side in (0, 1)]
    found = []
    for r, weight in enumerate(weights):
        y, x = (table.y, table.x) if r == 0 else (draws[0][r - 1], draws[1][r - 1])
        others = np.stack([centred(one, columns, weight) for one in given], 1) if given else np.zeros((len(y), 0))
        sides = [centred(side, columns, weight) for side in (y, x)]
        root = np.sqrt(weight)[:, None]
        left = [s - others @ np.linalg.lstsq(root * others, root[:, 0] * s, rcond=None)[0] for s in sides]
        slope, r2 = line(left[0], left[1], weight)
        found.append(np.sign(slope) * np.sqrt(r2))
    return Found(float(found[0]), np.array(found[1:]))


@dataclass(frozen=True)
class Forecasts:
    """Of every observation whose family was left out: the error, ln(foretold / measured), and the width of 90 %."""

    seen: Sequence[Observation]
    error: Array
    width: Array

    @property
    def told(self) -> list[tuple[Observation, float]]:
        """Observations that were foretold, with the factor between foretold and measured."""
        return [(o, float(np.exp(e))) for o, e in zip(self.seen, self.error, strict=True) if np.isfinite(e)]

    @property
    def cells(self) -> list[str]:
        """Foretold runs and families, median factor, part within twice, interval and its coverage."""
        size, known = np.abs(self.error), np.isfinite(self.error)
        if not known.any():
            return ["0", *[""] * 6]
        told = [one for one, ok in zip(self.seen, known, strict=True) if ok]
        weight = np.array([one.weight for one in told])
        size, width = size[known], self.width[known]
        covered = float(np.average(size <= width, weights=weight))
        return [
            f"{len({one.run.training for one in told})}",
            f"{len({one.run.family for one in told})}",
            f"{np.exp(quantile(size, weight, 0.5)):.2f}",
            f"{np.exp(quantile(size, weight, WITHIN)):.2f}",
            f"{np.average(size <= TWICE, weights=weight):.0%}",
            f"{np.exp(np.average(width, weights=weight)):.2f}",
            f"{covered:.0%}",
        ]


def quantile(values: Array, weight: Array, level: float) -> float:
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weight[order]), level * weight.sum() - 1e-9))
    return float(values[order][min(place, len(order) - 1)])


def forecasts(table: Table, known_setup: bool, only: str | None = None, constant: bool = False) -> Forecasts:
    """Each family foretold from the others.

    Args:
        known_setup: the level comes from the others in the same column; else one line holds for all columns.
        only: fit this family alone.
        constant: the mean of the others, without a line.
    """
    errors, widths = np.full(len(table.seen), np.nan), np.full(len(table.seen), np.nan)
    families = np.array(table.families)
    columns = table.columns if known_setup else np.ones((len(table.seen), 1))

    def error(left_out: NDArray[np.bool_], fit: NDArray[np.bool_]) -> Array:
        weight = table.weight * fit
        y, x = centred(table.y, columns, weight), centred(table.x, columns, weight)
        slope = 0.0 if constant else float(line(y, x, weight)[0])
        lone = (weight @ columns == 0) @ columns.T > 0
        return np.where(left_out & ~lone, slope * x - y, np.nan)

    for family in dict.fromkeys(families):
        rest = families != family
        fit = rest if only is None else families == only
        if family == only or not fit.any():
            continue
        errors = np.where(families == family, error(families == family, fit), errors)
        inner = np.full(len(errors), np.nan)
        for other in dict.fromkeys(families[rest]):
            left = rest & (families != other) if only is None else fit
            if other != only and left.any():
                inner = np.where(families == other, error(families == other, left), inner)
        told = np.isfinite(inner)
        width = quantile(np.abs(inner[told]), table.weight[told], WITHIN) if told.any() else np.nan
        widths = np.where(families == family, width, widths)
    return Forecasts(table.seen, errors, widths)
