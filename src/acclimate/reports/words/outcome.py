"""What became of one set under one run, and how that is said.

A change from the base is claimed when its paired 95 % interval, over the same documents, leaves 0 out. Of a folder that
holds no paired change nothing is claimed. Two runs are compared in the same way (:mod:`acclimate.reports.words.pairs`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words import number
from acclimate.reports.words.names import named
from acclimate.runs.folder import TextSet


def outcome(run: Run, text_set: TextSet) -> str:
    """``learned``, ``worse`` or ``unclear`` (or not measured) against the base, in bits per byte."""
    change = run.paired_change(text_set.name)
    if change is None:
        return "unclear"
    return "learned" if change.high < 0 else "worse" if change.low > 0 else "unclear"


def fell(data: ReportData, run: Run, text_set: TextSet, unit: bool = True) -> str:
    """``bits per byte 1.050 → 0.820, −21.9 %``."""
    base, tuned = data.base.get(text_set.name), run.measure(text_set.name, "bits_per_byte")
    if base is None or tuned is None:
        return "not measured"
    words = (
        f"{number.bits(base.value)} → {number.bits(tuned.value)}, {number.change(data.change(run, text_set) or 0.0)}"
    )
    return f"bits per byte {words}" if unit else words


def why(run: Run, domain: TextSet) -> str:
    """What leaves it open, and how large a change would have shown."""
    if outcome(run, domain) == "worse":
        return ""
    change = run.paired_change(domain.name)
    if change is None:
        return ", there is no paired interval to tell by"
    if not change.bounded:
        return ", too few documents to tell"
    if math.isinf(change.mde):  # of several seeds
        return ", which may be chance"
    return f", which may be chance; a change of {number.bits(change.mde)} would show in 80\u00a0% of cases"


def each(data: ReportData, runs: Sequence[Run], item: TextSet) -> str:
    return "; ".join(f"{named(run.label)} {fell(data, run, item, unit=False)}{why(run, item)}" for run in runs)
