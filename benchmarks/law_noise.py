"""How far runs lie off their laws: the prior of :func:`acclimate.laws.judgement.usual_noise`, from committed runs.

    python -m benchmarks.law_noise --write benchmarks/2026-11-30-law-noise.md

Every series of runs is fitted whole, by the form that predicts its left-out settings best. Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.law_runs import Series, column, forms_of, inputs_of, runs_of, series
from benchmarks.result_page import write_or_print
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.laws.competing import compete
from acclimate.laws.intervals import Prior

MOST = 4.0
"""Degrees of freedom of a prior: where fits differ no more than small samples do, their number says too much."""


@dataclass(frozen=True)
class Fit:
    """One outcome of one series.

    Args:
        scale: standard deviation of its residuals; of the logarithm of drift, and in parts of the largest gain.
        freedom: that show it.
    """

    series: Series
    outcome: str
    form: str
    scale: float
    freedom: float

    @property
    def kind(self) -> str:
        return GAIN if self.outcome == GAIN else DRIFT


def fits(chosen: Sequence[Series]) -> list[Fit]:
    """Of all outcomes; one that no form describes is left out."""
    found = []
    for one in chosen:
        runs = runs_of(one)
        for outcome in runs[0].outcomes:
            forms = forms_of(outcome, runs)
            judged = compete(forms, {**inputs_of(runs), forms[0].outcome: column(runs, outcome)})
            if judged.reason is None:
                name = max(judged.weights, key=lambda form: judged.weights[form])
                noise = next(
                    noise for law, noise in zip(judged.laws, judged.noises, strict=True) if law.form.name == name
                )
                size = float(np.abs(column(runs, outcome)).max()) if outcome == GAIN else 1.0
                found.append(Fit(one, outcome, name, noise.scale / size, noise.freedom))
    return found


def prior_of(scales: Sequence[float], freedoms: Sequence[float]) -> Prior:
    """Scale and degrees of freedom from several standard deviations, by moments of the logarithms of variances.

    Formula, of e_i = log s_i^2 - psi(v_i / 2) + log(v_i / 2): psi'(v0 / 2) = var e - mean psi'(v_i / 2), and
    log s0^2 = mean e + psi(v0 / 2) - log(v0 / 2). v0 is infinite where the right side is not above 0.

    Reference: Smyth (2004), section 6.2; the code of limma's ``fitFDist`` was read [from code].

    >>> random = np.random.default_rng(0)
    >>> variances = 0.1**2 * 5 / random.chisquare(5, 40000) * random.chisquare(3, 40000) / 3
    >>> found = prior_of(np.sqrt(variances), [3.0] * 40000)
    >>> round(found.scale, 2), round(found.freedom)
    (0.1, 5)
    """
    half = np.asarray(freedoms) / 2
    e = 2 * np.log(scales) - digamma(half) + np.log(half)
    beyond = float(e.var(ddof=1) - polygamma(1, half).mean())
    if beyond <= polygamma(1, 1e6):
        return Prior(math.exp(float(e.mean()) / 2), 2e6)
    own = float(brentq(lambda value: polygamma(1, value) - beyond, 1e-3, 1e6))
    return Prior(math.exp((float(e.mean()) + digamma(own) - math.log(own)) / 2), 2 * own)


GROUPS: dict[str, Callable[[Series], bool]] = {
    "all": lambda one: True,
    "over rates": lambda one: "rates" in one.name,
    "not over rates": lambda one: "rates" not in one.name,
    "not over rates, `comparison/` alone": lambda one: "rates" not in one.name and one.folder == "comparison",
    "not over rates, `ratio/` alone": lambda one: "rates" not in one.name and one.folder == "ratio",
}


def tables() -> str:
    found = fits([one for one in series() if not one.blind])
    lines = [
        "| series | outcome | best form | residual standard deviation | degrees of freedom |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.series.name} | {one.outcome} | {one.form} | {100 * one.scale:.2g} % | {one.freedom:.1f} |"
        for one in found
    ]
    lines += ["", "| | fits | scale | degrees of freedom |", "|---|---|---|---|"]
    for kind in (DRIFT, GAIN):
        for name, chosen in GROUPS.items():
            here = [one for one in found if one.kind == kind and chosen(one.series)]
            prior = prior_of([one.scale for one in here], [one.freedom for one in here])
            freedom = f"{prior.freedom:.1f}" if prior.freedom < 1e6 else "infinite"
            lines.append(f"| {kind}, {name} | {len(here)} | {100 * prior.scale:.3g} % | {freedom} |")
    return "\n".join(lines)


if __name__ == "__main__":
    write_or_print(tables, __doc__)
