"""Several forms of one table, weighed by how well each predicts a run that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acclimate.laws.fit import fit
from acclimate.laws.form import Array, Columns, Form
from acclimate.laws.intervals import Noise, Prior, curves_of, numbered, outcomes_of_new_runs, refitted
from acclimate.laws.law import Law
from acclimate.paired.estimate import Estimate
from acclimate.types.errors import UsageError

FARTHEST = 4.0
"""So many times the largest value of a column, or less than the smallest over it, has no interval. [ours]"""
FARTHEST_RATE = 2.0
"""The same of the learning rate: drift's slope in it falls from 2.6 to 0.5 between 2e-5 and 5e-4. [ours]"""
FARTHEST_SHARE = 0.5
"""A share may lie outside the measured ones by this part of their range. [ours]"""
SHARE, RATE = "share", "rate"
"""Columns with limits of their own; a share is compared by difference, all others by ratio."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Competing laws of one table, with what a prediction by all of them is worth.

    Args:
        laws: those that the table has enough runs for.
        weights: form name -> its part of the mixture; they sum to 1.
        errors: form name -> root mean square error at settings left out, in the outcome's unit.
        error: the same of the mixture.
        none: the same of no model: the mean of the other settings.
        spread: largest less smallest measured outcome.
        reason: None, or a sentence that says why nothing is predicted.
    """

    laws: tuple[Law, ...]
    weights: Mapping[str, float]
    errors: Mapping[str, float]
    error: float
    none: float
    spread: float
    reason: str | None
    table: Mapping[str, Array]
    runs: NDArray[np.int64]
    noises: tuple[Noise, ...]
    unit: str

    def predict(self, points: Columns, level: float = 0.9, draws: int = 1000, seed: int = 0) -> list[Estimate]:
        """The outcome of one new run at each point, with its interval.

        The interval holds what the parameters may be, which form is right, and the luck of the new run. Settings that
        were left out lie about a factor of two from the others. So outside of what was measured each doubling adds
        their error once more [ours]. It has no bounds where :meth:`refusals` has a sentence.

        Args:
            points: the forms' inputs, [m] each.
            level: of the intervals, in (0, 1).
            draws: of all forms together, each having its weight's part.

        Raises:
            UsageError: an input is missing or not finite.
        """
        points = _finite(points, {name for law in self.laws for name in law.form.inputs}, "points")
        many = len(next(iter(points.values()), ()))
        refusals = self.refusals(points)
        unknown = Estimate(float("nan"), n=len(self.runs), unit=self.unit, groups=self._many)
        if self.reason is not None:
            return [unknown] * many
        random = np.random.default_rng(seed)
        parts = _parts([self.weights[law.form.name] for law in self.laws], draws)
        wider = 1 + np.sum([_beyond(self.table[name], points[name], name) for name in self._known(points)], axis=0)
        drawn = np.concatenate(
            [
                outcomes_of_new_runs(law, noise, points, np.broadcast_to(wider, many), part, random)
                for law, noise, part in zip(self.laws, self.noises, parts, strict=True)
                if part
            ]
        )
        values = sum(self.weights[law.form.name] * law.predict(points) for law in self.laws)
        # Weibull's places: a new run is one more draw, and lies below the k-th of R with probability k / (R + 1)
        lows, highs = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
        return [
            replace(unknown, value=float(value), low=float(min(low, value)), high=float(max(high, value)))
            if why is None
            else replace(unknown, value=float(value))
            for value, low, high, why in zip(np.asarray(values), lows, highs, refusals, strict=True)
        ]

    def refusals(self, points: Columns) -> list[str | None]:
        """Of each point, None or why it has no interval: a sentence."""
        many = len(next(iter(points.values()), ()))
        if self.reason is not None:
            return [self.reason] * many
        return [
            next(
                (
                    why
                    for name in self._known(points)
                    if (why := _far(name, self.table[name], float(points[name][row])))
                ),
                None,
            )
            for row in range(many)
        ]

    def _known(self, points: Columns) -> list[str]:
        """Columns by which a point may be far away."""
        return [name for name in points if name in self.table]

    @property
    def noise(self) -> float:
        """Standard deviation of a new run about the law, all forms together; in the forms' units of residuals."""
        return math.sqrt(
            sum(self.weights[law.form.name] * one.new**2 for law, one in zip(self.laws, self.noises, strict=True))
        )

    @property
    def _many(self) -> int:
        return int(self.runs.max()) + 1


def compete(
    forms: Sequence[Form],
    table: Columns,
    groups: Sequence[object] | None = None,
    *,
    unit: str = "",
    prior: Prior | None = None,
) -> Judged:
    """Fits each form, and weighs it by its errors at settings that are left out.

    A setting is the inputs of a run; its runs are left out together, so that another seed of the same setting is no
    help. Weights are pseudo-BMA+: exp(expected log density), averaged over Bayesian bootstraps of the settings, so that
    a few lucky ones do not decide. A form that leaves less than one degree of freedom does not compete.

    Formula: weight_f = mean over b of e_fb^-m / sum over forms of e_fb^-m, with e_fb^2 = sum_i d_bi error_fi^2 and d_b
    from a flat Dirichlet distribution over the m settings.

    Args:
        forms: with one outcome.
        table: their inputs and outcome, [n] each. Columns that no form reads say how far a point is.
        groups: the run of each row, [n]; None: each row is a run.
        unit: of the outcome.
        prior: how far runs of this kind usually lie off their laws; None: these runs alone say it.

    Raises:
        UsageError: no forms, forms of different outcomes, a missing or non-finite number, a column of another length,
            or an outcome that is not positive where a form takes its logarithm.

    Reference: Yao, Vehtari, Simpson and Gelman (arXiv 1704.02030) weigh by densities of left-out points with such
        bootstraps [abstract only]; a normal density at each form's own error and whole settings left out are [ours].

    >>> from acclimate.laws.anchored import drift_forms
    >>> runs = {"tokens": [1e4, 2e4, 4e4, 8e4, 1.6e5], "drift": [0.1, 0.14, 0.21, 0.28, 0.41]}
    >>> judged = compete(drift_forms({"tokens"}), runs)
    >>> judged.reason is None, [round(found.value, 2) for found in judged.predict({"tokens": [1e5, 1e6]})]
    (True, [0.32, 1.03])
    >>> judged.refusals({"tokens": [1e6]})
    ['cannot tell: tokens 1e+06 is more than 4 times the most that was measured (160000)']
    """
    outcome = _outcome(forms)
    table = _finite(table, {outcome, *(name for form in forms for name in form.inputs)}, "table")
    measured = table[outcome]
    if groups is not None and len(groups) != len(measured):
        raise UsageError(f"groups names the run of each row: {len(measured)} are needed, {len(groups)} are given.")
    runs = numbered(range(len(measured)) if groups is None else groups)
    for form in forms:
        if form.log and (low := np.flatnonzero(measured <= 0)).size:
            row = low[0]
            raise UsageError(
                f"Row {row + 1} of the table has {outcome} {measured[row]:g}; the form '{form.name}' takes its "
                "logarithm, so it must be more than 0. Leave the row out: a run of no steps tells a law nothing."
            )

    # 1. what is left out together, and forms that leave something to judge by
    inputs = sorted({name for form in forms for name in form.inputs})
    settings = _settings(table, inputs, runs)
    many = int(settings.max()) + 1
    nothing = Judged((), {}, {}, math.nan, math.nan, float(np.ptp(measured)), None, table, runs, (), unit)
    if many < 2:
        said = f"cannot tell: all {len(measured)} rows are of one setting, so no law can be tried on another"
        return replace(nothing, reason=said)
    fewest = min(len(form.parameters) for form in forms)
    rich = [form for form in forms if len(form.parameters) <= _tellable(settings, runs, len(measured))]
    laws = [fit(form, table) for form in rich]
    kept = np.array([settings != setting for setting in range(many)])
    held = {law.form.name: _left_out(law, kept, settings) for law in laws}
    off = {
        law.form.name: _rms(_scaled(held[law.form.name], law.form.log) - _scaled(measured, law.form.log), settings)
        for law in laws
    }
    pairs = [
        (law, noise) for law in laws if (noise := Noise.of(law, runs, many, off[law.form.name], prior)) is not None
    ]
    if not pairs:
        said = (
            f"cannot tell: {_counted(runs, 'run')} at {_counted(settings, 'setting')}; the smallest form has {fewest} "
        )
        return replace(nothing, reason=f"{said}parameters, and needs one setting and one run more than that")

    # 2. errors at what was left out
    log = all(law.form.log for law, _ in pairs)
    others = np.array([float(measured[rows].mean()) for rows in kept])[settings]
    held = {law.form.name: held[law.form.name] for law, _ in pairs}
    squares = {
        name: _by_setting((_scaled(found, log) - _scaled(measured, log)) ** 2, settings) for name, found in held.items()
    }
    weights = _weights(squares, float(np.ptp(_scaled(measured, log))))
    mixture = np.sum([weights[name] * found for name, found in held.items()], axis=0)
    errors = {name: _rms(found - measured, settings) for name, found in held.items()}
    judged = replace(
        nothing,
        laws=tuple(law for law, _ in pairs),
        weights=weights,
        errors=errors,
        error=_rms(mixture - measured, settings),
        none=_rms(others - measured, settings),
        noises=tuple(noise for _, noise in pairs),
    )
    if min(errors.values()) > judged.none > 0:
        said = f"cannot tell: a setting left out is predicted to {min(errors.values()):.3g} by the best form and to "
        return replace(
            judged, reason=f"{said}{judged.none:.3g} by the mean of the others, so no form describes these runs"
        )
    return judged


def _outcome(forms: Sequence[Form]) -> str:
    outcomes = sorted({form.outcome for form in forms})
    if len(outcomes) != 1:
        raise UsageError(f"Competing forms predict one outcome; these predict {', '.join(outcomes) or 'nothing'}.")
    names = [form.name for form in forms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Competing forms have names of their own; '{twice[0]}' is there twice.")
    return outcomes[0]


def _finite(columns: Columns, needed: set[str], what: str) -> dict[str, Array]:
    if missing := sorted(needed - columns.keys()):
        raise UsageError(f"No column of the {what} is called '{missing[0]}'; needed are {', '.join(sorted(needed))}.")
    data = {name: np.atleast_1d(np.asarray(column, dtype=np.float64)) for name, column in columns.items()}
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"Columns of the {what} have different lengths: {said}.")
    for name, column in data.items():
        if (bad := np.flatnonzero(~np.isfinite(column))).size:
            raise UsageError(f"Row {bad[0] + 1} of the {what} holds no finite number under '{name}'.")
    return data


def _settings(table: Mapping[str, Array], inputs: Sequence[str], runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs with the same rows of inputs are one setting; [n]."""
    rows = np.column_stack([table[name] for name in inputs])
    return numbered([rows[runs == run].tobytes() for run in runs])


def _tellable(settings: NDArray[np.int64], runs: NDArray[np.int64], rows: int) -> int:
    """How many parameters a table can tell: fewer than settings, and of curves by step fewer than rows."""
    return int(settings.max()) if int(runs.max()) + 1 == rows else rows - 1


def _left_out(law: Law, kept: NDArray[np.bool_], settings: NDArray[np.int64]) -> Array:
    """What the form predicts of each row, fitted without the row's setting; [n]."""
    measured = np.tile(law.table[law.form.outcome], (len(kept), 1))
    found = curves_of(law.form, law.table, refitted(law, measured, kept.astype(np.float64)))
    return found[settings, np.arange(len(settings))]


def _by_setting(values: Array, settings: NDArray[np.int64]) -> Array:
    return np.asarray(np.bincount(settings, values) / np.bincount(settings))


def _rms(errors: Array, settings: NDArray[np.int64]) -> float:
    return math.sqrt(float(_by_setting(errors**2, settings).mean()))


def _scaled(values: Array, log: bool) -> Array:
    return np.log(np.maximum(values, 1e-300)) if log else values


def _weights(squares: Mapping[str, Array], spread: float) -> dict[str, float]:
    errors = np.array(list(squares.values()))  # [forms, settings]
    many = errors.shape[1]
    drawn = np.random.default_rng(0).dirichlet(np.ones(many), 1000)
    # a form that is right to the last digit must not have an infinite density
    density = -0.5 * many * np.log(drawn @ errors.T + (1e-4 * spread) ** 2 + 1e-300)
    parts = np.exp(density - density.max(axis=1, keepdims=True))
    means = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
    return dict(zip(squares, map(float, means), strict=True))


def _parts(weights: Sequence[float], draws: int) -> list[int]:
    """Whole numbers that sum to ``draws``, by largest remainder.

    >>> _parts([0.5, 0.3, 0.2], 4)
    [2, 1, 1]
    """
    wanted = np.array(weights) * draws
    parts = np.floor(wanted).astype(int)
    for index in np.argsort(parts - wanted, kind="stable")[: draws - int(parts.sum())]:
        parts[index] += 1
    return [int(part) for part in parts]


def _beyond(column: Array, values: Array, name: str) -> Array:
    """How far outside of a column values lie, [m]: in doublings, of a share in halves of its range; 0 inside."""
    least, most = float(column.min()), float(column.max())
    if math.isclose(least, most, rel_tol=1e-9):
        return np.zeros(len(values))
    if _by_difference(name, least):
        return np.maximum(0, np.maximum(values - most, least - values)) / (0.5 * (most - least))
    return np.log2(np.maximum(1, np.maximum(values / most, least / np.maximum(values, 1e-300))))


def _by_difference(name: str, least: float) -> bool:
    return name == SHARE or least <= 0


def _far(name: str, column: Array, value: float) -> str | None:
    least, most = float(column.min()), float(column.max())
    if math.isclose(least, most, rel_tol=1e-9):
        if math.isclose(value, most, rel_tol=1e-6):
            return None
        return f"cannot tell: every run has {name} {most:g}, so nothing shows what {value:g} does"
    if _by_difference(name, least):
        room = FARTHEST_SHARE * (most - least)
        if least - room <= value <= most + room:
            return None
        return f"cannot tell: {name} {value:g} is too far outside of what was measured ({least:g} to {most:g})"
    times = FARTHEST_RATE if name == RATE else FARTHEST
    if value > times * most:
        return f"cannot tell: {name} {value:g} is more than {times:g} times the most that was measured ({most:g})"
    if value * times < least:
        return f"cannot tell: {name} {value:g} is less than the least that was measured ({least:g}) by {times:g} times"
    return None


def _counted(labels: NDArray[np.int64], noun: str) -> str:
    many = int(labels.max()) + 1
    return f"{many} {noun}{'s' * (many != 1)}"
