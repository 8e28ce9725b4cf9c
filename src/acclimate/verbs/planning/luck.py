"""How much gain differs between runs of one setting, by their seed alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from acclimate.laws.anchored import GAIN
from acclimate.verbs.planning.reading.readings import Readings

ELSEWHERE = {"bits/byte": 0.0024, "nats/token": 0.0077}
"""Unit of gain -> standard deviation between seeds.

Pooled over 54 runs of SmolLM2-135M at 18 settings, each with three seeds: the committed tables of medical and legal
text [ours].
"""
RUNS_ELSEWHERE = 54
ENOUGH = 4
"""Degrees of freedom from which on a table's own seeds are believed, as five seeds of one setting have [ours]."""


@dataclass(frozen=True)
class Luck:
    """Of gain.

    Args:
        size: standard deviation between seeds.
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


def luck_of_gain(table: Readings) -> Luck:
    """The table's own where it has seeds enough; else that of other runs, or its own where that is more."""
    elsewhere = Luck(ELSEWHERE[table.gain_unit], RUNS_ELSEWHERE, False)
    several = [values for values in table.by_setting(GAIN) if len(values) > 1]
    if not several:
        return elsewhere
    freedom = sum(len(values) - 1 for values in several)
    size = math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in several) / freedom)
    if freedom >= ENOUGH or size > elsewhere.size:
        return Luck(size, sum(map(len, several)), True)
    return elsewhere
