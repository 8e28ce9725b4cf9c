"""Coverage of the intervals of competing laws, over planted truths.

python -m benchmarks.law_coverage --write benchmarks/2026-11-30-law-coverage.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from benchmarks.result_page import write_or_print
from scipy.stats import t as student

from acclimate.laws.anchored import DRIFT
from acclimate.laws.form import Array
from acclimate.laws.judgement import judge

LEVEL = 0.9
TABLES = 20
"""Of each truth, noise and number of runs."""
NOISES = (0.03, 0.08, 0.2)
RUNS = (4, 6)
SHARES = (0.5, 0.6, 0.75, 0.85, 0.95, 1.0)
TOKENS = (4e3, 8e3, 16e3, 32e3)

Truth = Callable[[Array, Array], Array]
"""Tokens / 1e4 and 1 - share -> drift."""
TRUTHS: dict[str, tuple[Truth, bool]] = {
    "root": (lambda t, q: 0.4 * t**0.3 / np.sqrt(1 + 15 * q), True),
    "floor": (lambda t, q: 0.4 * t**0.3 * (0.3 + 0.7 * np.exp(-q / 0.15)), True),
    "logarithm": (lambda t, q: 0.25 * np.log1p(2 * t) / (1 + 4 * q), False),
    "turning": (lambda t, q: 0.5 * t**0.8 * np.exp(-t / 6) * (1 - 0.75 * q**0.3), False),
    "step": (lambda t, q: 0.4 * t**0.3 * np.where(q >= 0.2, 0.35, 1.0), False),
}


@dataclass
class Count:
    """Of points that were predicted."""

    asked: int = 0
    covered: list[bool] = field(default_factory=list)
    beyond: list[bool] = field(default_factory=list)  # the same of the points at twice the tokens
    widths: list[float] = field(default_factory=list)  # parts of the spread
    student: list[bool] = field(default_factory=list)  # narrower than Student's interval of one more run

    def row(self) -> str:
        if not self.covered:
            return f"0 of {self.asked} | | | | |"
        narrow = np.mean(np.array(self.widths) < 1)
        parts = [np.mean(self.covered), np.mean(self.beyond), narrow, np.mean(self.student)]
        shown = " | ".join(f"{100 * part:.0f} %" for part in parts)
        return f"{len(self.covered)} of {self.asked} | {shown} | {np.median(self.widths):.2f}"


def simulate(truth: Truth, noise: float, runs: int, tables: int, draws: int = 1000) -> Count:
    """Tables of ``runs`` runs at drawn settings; of each, two points inside and one at twice the tokens."""
    count = Count()
    for number in range(tables):
        random = np.random.default_rng([number, runs, round(1000 * noise)])
        # 1. settings that vary in both, with plain fine-tuning among them
        while True:
            places = random.choice(len(SHARES) * len(TOKENS), size=runs, replace=False)
            share, tokens = np.array(SHARES)[places // len(TOKENS)], np.array(TOKENS)[places % len(TOKENS)]
            if share.max() == 1 and len(set(share)) > 2 and len(set(tokens)) > 1:
                break
        table = {"share": share, "weight": np.ones(runs), "tokens": tokens}
        table["drift"] = truth(tokens / 1e4, 1 - share) * np.exp(noise * random.standard_normal(runs))
        # 2. new runs
        inside = np.exp(random.uniform(np.log(tokens.min()), np.log(tokens.max()), 2))
        points = {
            "share": random.uniform(share.min(), 1, 3),
            "weight": np.ones(3),
            "tokens": np.array([*inside, 2 * tokens.max()]),
        }
        outcome = truth(points["tokens"] / 1e4, 1 - points["share"]) * np.exp(noise * random.standard_normal(3))
        # 3. what is said of them
        judged = judge(DRIFT, table, {"share", "tokens"}).judged
        spread, deviation = np.ptp(table["drift"]), np.std(table["drift"], ddof=1)
        one_more = 2 * student.ppf((1 + LEVEL) / 2, runs - 1) * deviation * np.sqrt(1 + 1 / runs)
        count.asked += 3
        for place, found in enumerate(judged.predict(points, LEVEL, draws)):
            if found.bounded:
                covered = bool(found.low <= outcome[place] <= found.high)
                count.covered.append(covered)
                count.widths.append(float((found.high - found.low) / spread))
                count.student.append(bool(found.high - found.low < one_more))
                if place == 2:
                    count.beyond.append(covered)
    return count


def tables() -> str:
    lines = [
        "| truth | noise | runs | with an interval | covered | at twice the tokens | narrower than the spread "
        "| than Student's | median width / spread |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    total = {True: Count(), False: Count()}
    for name, (truth, within) in TRUTHS.items():
        for noise in NOISES:
            for runs in RUNS:
                count = simulate(truth, noise, runs, TABLES)
                lines.append(f"| {name} | {100 * noise:.0f} % | {runs} | {count.row()} |")
                print(lines[-1], file=sys.stderr, flush=True)
                whole = total[within]
                whole.asked += count.asked
                for column in ("covered", "beyond", "widths", "student"):
                    getattr(whole, column).extend(getattr(count, column))
    lines += [f"| all {'among' if within else 'outside'} | | | {total[within].row()} |" for within in (True, False)]
    return "\n".join(lines)


if __name__ == "__main__":
    write_or_print(tables, __doc__)
