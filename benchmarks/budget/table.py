"""The tables of benchmarks/2026-11-30-budget.md, from the tables of finished cells.

    python -m benchmarks.budget.table [--write PAGE]

Without --write they are printed; with it they stand between the two marks of the page.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.result_page import nats, percent, write_or_print

from acclimate.runs.cells import Row
from acclimate.verbs.compare.outcome import outcome_of
from acclimate.verbs.compare.schema import load_comparison
from acclimate.verbs.compare.standing import mean_drift, mean_gain, standings

HERE = Path(__file__).parent
NAMES = ("mol", "fast", "l2", "unsteered")
MARGIN, ENOUGH = 0.2, 8 / 9
"""The bar: so many runs within the margin, and none above by more."""


@dataclass(frozen=True)
class Kept:
    """One run under a budget."""

    row: Row

    @property
    def report(self) -> dict[str, Any]:
        """``retain.json``."""
        found: dict[str, Any] = self.row.made["retain"]
        return found

    @property
    def budget(self) -> float:
        return float(self.report["limits"]["mean"])

    @property
    def validation(self) -> float:
        """What controller and choice saw: mean over the sets of the chosen weights' KL."""
        return float(self.report["sets"]["mean"]["value"])

    @property
    def test(self) -> float:
        drift = mean_drift(self.row.texts)
        assert drift is not None
        return drift

    @property
    def gain(self) -> float:
        gain = mean_gain(self.row.texts)
        assert gain is not None
        return gain

    @property
    def spent(self) -> float:
        return self.test / self.budget

    @property
    def line(self) -> str:
        moves = self.report["strength"]
        dial = "" if moves is None else f"{moves['last']:.2f} ({moves['low']:.2f}-{moves['high']:.2f})"
        where = f"step {self.report['step']}" + (f", alpha {a:.2f}" if (a := self.report["alpha"]) != 1 else "")
        cells = [
            f"{self.budget:g}",
            str(self.row.seed),
            f"{self.validation:.4f}",
            f"{self.test:.4f}",
            f"**{self.spent:.2f}**" if abs(self.spent - 1) > MARGIN else f"{self.spent:.2f}",
            f"{self.gain:+.1%}",
            dial,
            where,
            self.report["outcome"],
        ]
        return f"| {' | '.join(cells)} |"


def tables() -> str:
    return "\n\n".join(of_comparison(name) for name in NAMES)


def of_comparison(name: str) -> str:
    comparison = load_comparison(HERE / f"{name}.yaml")
    rows = [row for row in outcome_of(comparison).rows if row.kind == "run" and row.outcome == "finished"]
    if not rows:
        return f"### {name}\n\nNot run yet."
    kept = sorted((Kept(row) for row in rows), key=lambda one: (one.budget, one.row.seed))
    head = (
        "| budget | seed | KL, validation | KL, test | test / budget | gain | strength, last (range) | weights of | "
        "outcome |" + "\n" + "|---" * 9 + "|"
    )
    planned = len(comparison.seeds) * len(comparison.methods)
    every = [f"### {name}", "\n".join([head, *(one.line for one in kept)]), verdict(kept, planned)]
    means = "| budget | gain | KL, test |\n|---|---|---|"
    for standing in standings(rows, list(comparison.methods)):
        assert standing.gain is not None
        assert standing.drift is not None
        gain, drift = standing.gain.estimate, standing.drift.estimate
        means += f"\n| {Kept(standing.rows[0]).budget:g} | {percent(gain)} | {nats(drift)} |"
    return "\n\n".join([*every, "Means over seeds, 95 % intervals over test documents and seeds:", means])


def verdict(kept: Sequence[Kept], planned: int) -> str:
    inside = sum(abs(one.spent - 1) <= MARGIN for one in kept)
    above = sum(one.spent > 1 + MARGIN for one in kept)
    met = inside >= ENOUGH * len(kept) and not above
    gains = {budget: np.mean([o.gain for o in kept if o.budget == budget]) for budget in {o.budget for o in kept}}
    ordered = [gains[budget] for budget in sorted(gains)]
    grows = all(a < b for a, b in itertools.pairwise(ordered))
    bar = "met" if met and grows else "**not met**"
    if len(kept) < planned:
        bar = f"not told: {len(kept)} of {planned} runs"
    return (
        f"Within {MARGIN:.0%}: {inside} of {len(kept)}; above by more: {above}; below by more: "
        f"{len(kept) - inside - above}. Mean gain {'grows' if grows else '**does not grow**'} with the budget. "
        f"Bar {bar}."
    )


if __name__ == "__main__":
    write_or_print(tables, __doc__)
