"""The tables of benchmarks/2026-11-30-self-rows.md, from the tables of finished cells.

    python -m benchmarks.self_rows.table [--write PAGE]

Without --write they are printed; with it they stand between the two marks of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.result_page import nats, percent, write_or_print

from acclimate.runs.cells import Row
from acclimate.verbs.compare.outcome import outcome_of
from acclimate.verbs.compare.schema import load_comparison
from acclimate.verbs.compare.standing import Measured, Standing, mean_drift, mean_gain, standings

HERE = Path(__file__).parent
UNSEEN = {"medical": ("people", "news", "court"), "legal": ("people", "news", "medical")}
"""Comparison -> sets of kinds that nobody trains on."""
GAIN, DRIFT = 0.95, 0.5
"""The bar: of sft's gain at least, of sft's drift at most."""


def tables() -> str:
    return "\n\n".join([*(of_comparison(name) for name in UNSEEN), rates()])


def of_comparison(name: str) -> str:
    """Gain, mean drift on what nobody trains on with its part of sft's, and drift by set."""
    comparison = load_comparison(HERE / f"{name}.yaml")
    rows = [row for row in outcome_of(comparison).rows if row.outcome == "finished"]
    if not any(row.method == "sft" for row in rows):
        return f"### {name}\n\nNot run yet."
    found = standings([_only(row, (name, *UNSEEN[name])) for row in rows], list(comparison.methods))
    alone = {
        s: standings([_only(row, (name, s)) for row in rows], list(comparison.methods)) for s in _others(rows, name)
    }
    sft = next(standing for standing in found if standing.method == "sft")
    lines = [
        f"### {name}",
        f"{_seeds(found)} Means over seeds with 95 % intervals over documents and seeds. Drift: KL(base‖tuned), nats "
        f"a token; mean of {', '.join(UNSEEN[name])}. Ratios of single seeds in brackets.",
        "| | gain | gain / sft's | drift | drift / sft's | "
        + " | ".join(f"{s}, KL" for s in alone)
        + " | forwards |\n"
        + "|---" * (6 + len(alone))
        + "|",
    ]
    for standing in sorted(found, key=lambda one: one.drift.value if one.drift else 0):
        lines[-1] += "\n" + _line(standing, sft, [_of(alone[s], standing.method) for s in alone])
    return "\n\n".join([*lines, *(verdict(one, sft) for one in found if one.method in ("mol-own", "mol-own-2"))])


def verdict(own: Standing, sft: Standing) -> str:
    kept, left = _ratios(own.gain, sft.gain), _ratios(own.drift, sft.drift)
    met = all(kept[s] >= GAIN for s in kept) and all(left[s] <= DRIFT for s in left)
    mean = _part(own.gain, sft.gain) >= GAIN and _part(own.drift, sft.drift) <= DRIFT
    how = "met in every seed" if met else "met in the mean, not in every seed" if mean else "**not met**"
    return (
        f"Bar (drift at most {DRIFT:g} of sft's at {GAIN:.0%} of its gain), {own.method}: {how}; "
        f"drift {_part(own.drift, sft.drift):.2f}, gain {_part(own.gain, sft.gain):.2f} of sft's."
    )


def rates() -> str:
    """sft's trials on validation documents."""
    rows = outcome_of(load_comparison(HERE / "sft-rate.yaml")).rows
    trials = [row for row in rows if row.kind == "trial" and row.outcome == "finished"]
    lines = ["### sft's own best rate", "Validation documents, seed 0; drift over all sets that are not medical.",
             "| learning rate | gain | drift |\n|---|---|---|"]  # fmt: skip
    for row in trials:
        gain, drift = mean_gain(row.texts) or 0.0, mean_drift(row.texts) or 0.0
        lines[-1] += f"\n| {row.settings['optimizer.learning_rate']:g} | {gain:+.1%} | {drift:.3f} |"
    return "\n\n".join(lines) if trials else "### sft's own best rate\n\nNot run yet."


def _line(standing: Standing, sft: Standing, sets: Sequence[Measured]) -> str:
    assert standing.gain is not None
    assert standing.drift is not None
    forwards = sum(row.costs["forward_tokens"] for row in standing.rows) / len(standing.rows) / 1000
    cells = [
        standing.method,
        percent(standing.gain.estimate),
        _told(standing.gain, sft.gain),
        nats(standing.drift.estimate),
        _told(standing.drift, sft.drift),
        *(f"{measured.value:.3f}" for measured in sets),
        f"{forwards:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _told(one: Measured | None, other: Measured | None) -> str:
    parts = ", ".join(f"{part:.2f}" for part in _ratios(one, other).values())
    return f"{_part(one, other):.2f} ({parts})"


def _part(one: Measured | None, other: Measured | None) -> float:
    assert one is not None
    assert other is not None
    return one.value / other.value


def _ratios(one: Measured | None, other: Measured | None) -> dict[int, float]:
    """Of each seed that both have."""
    assert one is not None
    assert other is not None
    mine, theirs = dict(one.seeds), dict(other.seeds)
    return {seed: mine[seed] / theirs[seed] for seed in mine if seed in theirs}


def _of(found: Sequence[Standing], method: str) -> Measured:
    drift = next(standing.drift for standing in found if standing.method == method)
    assert drift is not None
    return drift


def _only(row: Row, sets: Sequence[str]) -> Row:
    return replace(row, texts={name: scores for name, scores in row.texts.items() if name in sets})


def _others(rows: Sequence[Row], domain: str) -> list[str]:
    return [name for name in rows[0].texts if name != domain]


def _seeds(found: Sequence[Standing]) -> str:
    each = {standing.method: len(standing.rows) for standing in found}
    if len(set(each.values())) == 1:
        return f"Seeds: {next(iter(each.values()))} each."
    return "Seeds: " + ", ".join(f"{method} {count}" for method, count in each.items()) + "."


if __name__ == "__main__":
    write_or_print(tables, __doc__)
