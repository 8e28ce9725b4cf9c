"""How much runs of one setting differ by their seed alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.verbs.planning.reading.readings import Readings

ELSEWHERE = {(DRIFT, "nats/token"): 0.056, (GAIN, "bits/byte"): 0.0024, (GAIN, "nats/token"): 0.0077}
"""Outcome and unit -> standard deviation between seeds; of drift's logarithm, of gain itself.

Pooled over 54 runs of SmolLM2-135M at 18 settings, each with three seeds: the committed tables of medical and legal
text [ours]. The 18 variances of drift differ no more than such small samples of one variance do.
"""
RUNS_ELSEWHERE = 54
ENOUGH = 4
"""Degrees of freedom from which on a table's own seeds are believed, as five seeds of one setting have [ours]."""


@dataclass(frozen=True)
class Luck:
    """Of one outcome.

    Args:
        size: standard deviation between seeds; of drift's logarithm, of gain itself.
        runs: that show it.
        own: whether they are the table's, and enough.
    """

    size: float
    runs: int
    own: bool

    @property
    def says(self) -> str:
        where = "" if self.own else " that were measured elsewhere"
        return f"the luck of seeds over {self.runs} runs{where}"


def luck_of(table: Readings, outcome: str) -> Luck:
    """The table's own where it has seeds enough; else that of other runs, or its own where that is more.

    Without seeds, residuals of a law say how well it bends to these runs. They do not say what another seed would have
    given: four runs may lie on a curve of three parameters by chance.
    """
    unit = table.gain_unit if outcome == GAIN else "nats/token"
    elsewhere = Luck(ELSEWHERE[outcome, unit], RUNS_ELSEWHERE, False)
    several = [values for values in table.by_setting(outcome) if len(values) > 1]
    if outcome == DRIFT:
        several = [np.log(values) for values in several if (values > 0).all()]
    if not several:
        return elsewhere
    freedom = sum(len(values) - 1 for values in several)
    size = math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in several) / freedom)
    if freedom >= ENOUGH or size > elsewhere.size:
        return Luck(size, sum(map(len, several)), True)
    return elsewhere
