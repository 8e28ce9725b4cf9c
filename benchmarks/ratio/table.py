"""The tables of benchmarks/2026-11-30-ratio.md, from the tables of finished cells.

    python -m benchmarks.ratio.table [--write PAGE]

Without --write they are printed; with it they stand between the two marks of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.result_page import nats, percent, write_or_print

from acclimate.runs.cells import Row
from acclimate.verbs.compare.outcome import outcome_of
from acclimate.verbs.compare.schema import load_comparison
from acclimate.verbs.compare.standing import Measured, Standing, standings

HERE = Path(__file__).parent
DOMAIN, SEEN, UNSEEN = "medical", ("general",), ("chat", "people", "news")
"""What is learned; passages, the kind that is mixed in; kinds that nobody trains on."""
SERIES = {"mol-term": "mol, term", "mol-all": "mol, all", "replay-term": "replay, term", "replay-all": "replay, all"}
HEAD = (
    "| general | gain | loss, passages | loss, others | drift, passages | drift, others | of sft's | forwards, k |\n"
    "|---|---|---|---|---|---|---|---|"
)


def tables() -> str:
    """A table a series; sft is 0 % of each."""
    comparison = load_comparison(HERE / "ratio.yaml")
    rows = [row for row in outcome_of(comparison).rows if row.outcome == "finished"]
    seen, unseen = (_standings(rows, list(comparison.methods), sets) for sets in (SEEN, UNSEEN))
    if "sft" not in seen:
        return "Not run yet."
    seeds = len(seen["sft"].rows)
    said = [
        f"{seeds} seed{'s' * (seeds > 1)}. 95 % intervals over documents{' and seeds' * (seeds > 1)}. Loss: change of "
        f"bits/byte. Drift: KL(base‖tuned), nats a token. Others: mean of {', '.join(UNSEEN)}."
    ]
    for short, name in SERIES.items():
        cells = ["sft", *(method for method in comparison.methods if method.startswith(f"{short}-") and method in seen)]
        lines = [_line(method, seen[method], unseen[method], unseen["sft"]) for method in cells]
        said.append("\n".join([f"### {name}\n", HEAD, *lines]))
    return "\n\n".join(said)


def _standings(rows: Sequence[Row], methods: Sequence[str], sets: Sequence[str]) -> Mapping[str, Standing]:
    kept = (DOMAIN, *sets)
    only = [replace(row, texts={name: row.texts[name] for name in kept}) for row in rows]
    return {standing.method: standing for standing in standings(only, methods)}


def _line(method: str, seen: Standing, unseen: Standing, sft: Standing) -> str:
    forwards = sum(row.costs["forward_tokens"] for row in seen.rows) / len(seen.rows) / 1000
    cells = [
        "0 % (sft)" if method == "sft" else f"{method.rpartition('-')[2]} %",
        percent(_measured(seen.gain).estimate),
        percent(_measured(seen.loss).estimate),
        percent(_measured(unseen.loss).estimate),
        nats(_measured(seen.drift).estimate),
        nats(_measured(unseen.drift).estimate),
        f"{_measured(unseen.drift).value / _measured(sft.drift).value:.2f}",
        f"{forwards:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _measured(found: Measured | None) -> Measured:
    assert found is not None, "every set was measured"
    return found


if __name__ == "__main__":
    write_or_print(tables, __doc__)
