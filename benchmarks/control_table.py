"""A table of a finished comparison in which every method stands beside one of them: its control.

    python -m benchmarks.control_table COMPARISON --control METHOD --domain SET ... --other SET ... [--write PAGE]

Gain is the fall of bits/byte, the mean over --domain; drift is KL(base‖tuned) in nats a token, the mean over --other.
Without --write the table is printed; with it, it stands between the two marks of the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.result_page import nats, percent, written

from acclimate.verbs.compare.outcome import outcome_of
from acclimate.verbs.compare.schema import load_comparison
from acclimate.verbs.compare.standing import Measured, Standing, standings


def table(path: Path, control: str, domain: Sequence[str], other: Sequence[str]) -> str:
    """Means over seeds with 95 % intervals; in brackets the ratios of single seeds."""
    comparison = load_comparison(path)
    kept = {*domain, *other}
    rows = [
        replace(row, texts={name: scores for name, scores in row.texts.items() if name in kept})
        for row in outcome_of(comparison).rows
        if row.outcome == "finished" and row.kind == "run"
    ]
    found = {one.method: one for one in standings(rows, list(comparison.methods))}
    if control not in found:
        return "Not run yet."
    lines = [
        f"Gain: mean of {', '.join(domain)}. Drift: mean of {', '.join(other)}. 95 % intervals over documents and "
        f"seeds. Ratios to {control}, of single seeds in brackets.",
        "| | seeds | gain | of the control's | drift | of the control's | forwards, k | of the control's |\n"
        "|---|---|---|---|---|---|---|---|",
    ]
    for standing in found.values():
        lines[-1] += "\n" + _line(standing, found[control])
    return "\n\n".join(lines)


def _line(one: Standing, control: Standing) -> str:
    forwards, beside = _forwards(one), _forwards(control)
    gain, drift = _measured(one.gain), _measured(one.drift)
    cells = [
        one.method,
        str(len(one.rows)),
        percent(gain.estimate),
        _ratio(gain, _measured(control.gain)),
        nats(drift.estimate),
        _ratio(drift, _measured(control.drift)),
        f"{forwards:.1f}",
        f"{forwards / beside:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(one: Measured, control: Measured) -> str:
    theirs = dict(control.seeds)
    each = ", ".join(f"{value / theirs[seed]:.2f}" for seed, value in one.seeds if seed in theirs)
    return f"{one.value / control.value:.2f} ({each})"


def _forwards(one: Standing) -> float:
    """Thousands of tokens through a forward, a run; backwards are not in it."""
    return sum(row.costs["forward_tokens"] for row in one.rows) / len(one.rows) / 1000


def _measured(found: Measured | None) -> Measured:
    assert found is not None, "every set was measured"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--control", required=True)
    for name in ("domain", "other"):
        parser.add_argument(f"--{name}", required=True, nargs="+", metavar="SET")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    asked = parser.parse_args()
    made = table(asked.comparison, asked.control, asked.domain, asked.other)
    print(made) if asked.write is None else written(asked.write, made)


if __name__ == "__main__":
    main()
