"""What a law does not know: the noise of a run, and the parameters that other runs of the same kind would have given.

Six runs leave two or three degrees of freedom. To draw six residuals anew shows too little of what is not known, as
with seeds (:mod:`acclimate.paired.seeds`). So the offsets of runs are drawn by Student's t, and only what is left
within a run, over its steps, is drawn anew, in blocks [ours].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.laws.form import Array, Form
from acclimate.laws.law import STEP, Law
from acclimate.types.errors import UsageError

ITERATIONS = 12
"""Of a refit, which begins at the law's own parameters."""


@dataclass(frozen=True)
class Prior:
    """How far runs of a kind usually lie off their laws: a scaled inverse chi-squared prior of the variance.

    Args:
        scale: the usual standard deviation, in the form's units of residuals; above 0.
        freedom: as how many degrees of freedom it counts beside those of the runs at hand; above 0.

    Raises:
        UsageError: one of them is not above 0, or not finite.

    Example:
        >>> Prior(0.1, 4).moderated(0.0, 2), Prior(0.1, 4).moderated(0.4, 1)
        (0.08164965809277261, 0.2)

    Reference: the moderated variance of Smyth (2004, doi 10.2202/1544-6115.1027), as limma computes it [from code].
        Runs in place of genes are [ours].
    """

    scale: float
    freedom: float

    def __post_init__(self) -> None:
        for name in ("scale", "freedom"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise UsageError(f"The prior's {name} is {value:g}; it is a number above 0.")

    def moderated(self, scale: float, freedom: float) -> float:
        """sqrt((v s^2 + v0 s0^2) / (v + v0)), of a standard deviation s that v degrees of freedom show."""
        known, own = self.freedom * self.scale**2, freedom * scale**2
        return math.sqrt((own + known) / (freedom + self.freedom))


@dataclass(frozen=True, eq=False)
class Noise:
    """By how much runs lie off a law, in the form's units of residuals.

    Args:
        scale: standard deviation of a run's offset.
        freedom: with how many degrees of freedom it is known.
        new: the same of a run at a setting without one: ``scale``, or the error at settings left out if that is larger.
        deviations: of each run, what its rows lie off its offset, in the order of its steps.
        runs: of each row, the number of its run, [n].
    """

    scale: float
    freedom: float
    new: float
    deviations: tuple[Array, ...]
    runs: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        law: Law,
        runs: NDArray[np.int64],
        settings: int | None = None,
        left_out: float = 0.0,
        prior: Prior | None = None,
    ) -> Noise | None:
        """Of a law's residuals; None where they leave less than one degree of freedom.

        Formula, of m runs, n rows and k parameters: scale^2 = sum over runs of offset^2 / v, where v is
        min(m - 1, m (1 - k / n)), and n - k with one row a run. Its degrees of freedom are those of as many runs as
        there are settings, and 1 at least: another seed shows luck, and nothing of whether the form is right [ours].
        A prior moderates both scales, and adds its degrees of freedom.

        Args:
            settings: how many the runs have; None: each run has its own.
            left_out: root mean square residual at settings that the form was fitted without. A form is chosen for its
                small residuals, so these alone say too little of what it does elsewhere [ours].
            prior: what runs of other tables show of the same.
        """
        many, rows = int(runs.max()) + 1, len(runs)

        def free(units: int) -> float:
            return min(units - 1.0, units * (rows - len(law.free)) / rows)

        if (freedom := free(many)) < 1 - 1e-9:
            return None
        offsets = np.bincount(runs, law.residuals) / np.bincount(runs)
        left = law.residuals - offsets[runs]
        scale = math.sqrt(float((offsets**2).sum()) / freedom)
        places = many if settings is None else settings
        known = max(1.0, free(places))
        if prior is not None:
            scale, left_out = prior.moderated(scale, freedom), prior.moderated(left_out, places)
            known += prior.freedom
        return cls(scale, known, max(scale, left_out), tuple(left[runs == run] for run in range(many)), runs)

    def draw(self, random: np.random.Generator, draws: int) -> tuple[Array, Array]:
        """Residuals of as many rows, [draws, n], and what a new run lies off, [draws].

        Both share how large the scale is, which is what a few runs do not show: scale sqrt(v / chi-square(v)).
        """
        larger = np.sqrt(self.freedom / random.chisquare(self.freedom, draws))
        offsets = (self.scale * larger)[:, None] * random.standard_normal((draws, len(self.deviations)))
        residuals = offsets[:, self.runs]
        for run, deviations in enumerate(self.deviations):
            if len(deviations) > 1:
                residuals[:, self.runs == run] += _blocks(random, deviations, draws)
        pool = np.concatenate(self.deviations)
        new = self.new * larger * random.standard_normal(draws)
        return residuals, new + pool[random.integers(len(pool), size=draws)]


def _blocks(random: np.random.Generator, deviations: Array, draws: int) -> Array:
    """Circular blocks of about sqrt(length) neighbouring steps, since those lie off together; [draws, length]."""
    length = len(deviations)
    size = max(1, round(math.sqrt(length)))
    starts = random.integers(length, size=(draws, -(-length // size)))
    places = (starts[:, :, None] + np.arange(size)) % length
    return np.asarray(deviations[places.reshape(draws, -1)[:, :length]])


def outcomes_of_new_runs(
    law: Law, noise: Noise, points: Mapping[str, Array], wider: Array, draws: int, random: np.random.Generator
) -> Array:
    """Outcomes of new runs at the points, [draws, m], by the law as other runs would have given it.

    Args:
        wider: by how much more than the noise a run lies off there, [m], 1 and more.
    """
    # 1. tables that this law and this noise might have given
    fitted = law.predict(law.table)
    residuals, new = noise.draw(random, draws)
    outcomes = fitted * _factor(residuals) if law.form.log else fitted + residuals
    # 2. each gives its parameters, and these a curve
    curves = curves_of(law.form, points, refitted(law, outcomes))
    # 3. a run there has noise of its own
    off = new[:, None] * wider
    return curves * _factor(off) if law.form.log else curves + off


def _factor(logarithms: Array) -> Array:
    """One degree of freedom has tails beyond every float; e^100 is beyond every use."""
    return np.asarray(np.exp(np.clip(logarithms, -100, 100)))


def refitted(law: Law, outcomes: Array, weights: Array | None = None) -> dict[str, Array]:
    """The parameters of least Huber loss of each of R outcomes, from the law's own parameters on.

    Levenberg's and Marquardt's steps, of all R at once, kept within the bounds. SciPy's least_squares, which gave the
    law, takes one problem at a time, and some 10 ms for it; there are hundreds here.

    Args:
        outcomes: [R, n].
        weights: of rows, [R, n]; 0 leaves a row out.

    Returns:
        Name -> [R, 1].
    """
    form, free = law.form, law.free
    low, high = ([getattr(one, end) for one in form.parameters if one.name in free] for end in ("low", "high"))
    weights = np.ones_like(outcomes) if weights is None else weights
    many, count = len(outcomes), len(free)
    measured = np.log(outcomes) if form.log else outcomes

    def values_of(theta: Array) -> dict[str, Array]:
        known = {name: np.full((many, 1), value) for name, value in law.values.items()}
        return known | {name: theta[:, [index]] for index, name in enumerate(free)}

    def residuals(theta: Array) -> Array:
        curves = curves_of(form, law.table, values_of(theta))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (np.log(curves) if form.log else curves) - measured
        return np.nan_to_num(found, nan=1e3, posinf=1e3, neginf=-1e3)

    theta = np.tile(np.clip([law.values[name] for name in free], low, high), (many, 1))
    now = residuals(theta)
    cost, damping = _huber(now, form, weights), np.full(many, 1e-3)
    for _ in range(ITERATIONS):
        # 1. slopes by differences, inwards at a bound
        slopes = np.empty((many, outcomes.shape[1], count))
        for index in range(count):
            size = STEP * np.maximum(np.abs(theta[:, index]), 1e-3)
            size = np.where(theta[:, index] + size > high[index], -size, size)
            moved = theta.copy()
            moved[:, index] += size
            slopes[:, :, index] = (residuals(moved) - now) / size[:, None]
        # 2. a damped step, in which a parameter that is pushed out of its bound stays
        robust = weights * np.minimum(1, form.delta / np.maximum(np.abs(now), 1e-300))
        gradient = np.einsum("rnk,rn->rk", slopes, robust * now)
        curvature = np.einsum("rnk,rn,rnl->rkl", slopes, robust, slopes)
        stuck = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        gradient[stuck] = 0
        curvature[stuck[:, :, None] | stuck[:, None, :]] = 0
        diagonal = np.einsum("rkk->rk", curvature)
        diagonal += damping[:, None] * diagonal + 1e-12 + stuck
        # 3. taken where it goes down
        tried = np.clip(theta - np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0], low, high)
        found = residuals(tried)
        costs = _huber(found, form, weights)
        lower = costs < cost
        theta[lower], now[lower], cost[lower] = tried[lower], found[lower], costs[lower]
        damping = np.where(lower, damping / 5, damping * 10)
    return values_of(theta)


def curves_of(form: Form, points: Mapping[str, Array], values: Mapping[str, Array]) -> Array:
    """The form's curve for each of R sets of parameters, [R, m].

    Formulas broadcast, so all are asked at once; a curve that takes one set at a time is asked R times.

    Args:
        values: name -> [R, 1].
    """
    many, length = len(next(iter(values.values()))), len(next(iter(points.values())))
    try:
        curves = np.asarray(form.curve(points, values))  # type: ignore[arg-type]
        return np.broadcast_to(curves, (many, length))
    except (TypeError, ValueError):
        single = [{name: float(column[row, 0]) for name, column in values.items()} for row in range(many)]
        return np.array([form.curve(points, one) for one in single]).reshape(many, length)


def _huber(residuals: Array, form: Form, weights: Array) -> Array:
    size = np.abs(residuals)
    terms = np.where(size <= form.delta, size**2 / 2, form.delta * (size - form.delta / 2))
    return np.asarray((weights * terms).sum(axis=1))


def numbered(labels: Sequence[object]) -> NDArray[np.int64]:
    """0, 1, ... by first appearance, [n].

    >>> numbered(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([order[label] for label in labels], dtype=np.int64)
