"""The demo's summary.json as a markdown table: python benchmarks/demo_table.py runs/demo/summary.json"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from acclimate.runs.folder import read_summary

COLUMNS = [
    ("domain", "bits_per_byte", "domain bits/byte"),
    ("general", "bits_per_byte", "general bits/byte"),
    ("general", "kl_base_tuned", "KL general"),
    ("chat", "kl_base_tuned", "KL chat"),
    ("chat", "top1_agreement", "top-1 chat"),
]


def table(records: list[dict[str, Any]]) -> str:
    """One row a run and seed, the base first; 95 % intervals over documents in parentheses."""
    found = {(r["run"], r["seed"], r["role"], r["metric"]): r for r in records}
    rows = dict.fromkeys((r["run"], r["seed"]) for r in records if r["run"] != "base")
    base = next(r["seed"] for r in records if r["run"] == "base")
    lines = ["| run | seed | " + " | ".join(title for *_, title in COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for run, seed in [("base", base), *sorted(rows, key=lambda key: (key[1], list(rows).index(key)))]:
        cells = []
        for role, metric, _ in COLUMNS:
            record = found.get((run, seed, role, metric))
            cells.append(
                "" if record is None else f"{record['value']:.3f} ({record['low']:.3f} to {record['high']:.3f})"
            )
        lines.append(f"| {run} | {'' if run == 'base' else seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bars(records: list[dict[str, Any]]) -> str:
    """The bars of the first release, in each seed: domain change, gain kept, drift ratios."""
    value = {(r["run"], r["seed"], r["role"], r["metric"]): r["value"] for r in records}
    base = next(
        v for (run, _, role, metric), v in value.items() if (run, role, metric) == ("base", "domain", "bits_per_byte")
    )
    lines = []
    for seed in sorted({seed for run, seed, *_ in value if run == "mol"}):
        change = {run: value[run, seed, "domain", "bits_per_byte"] / base - 1 for run in ("sft", "replay", "mol")}
        ratio = {
            role: value["mol", seed, role, "kl_base_tuned"] / value["sft", seed, role, "kl_base_tuned"]
            for role in ("general", "chat")
        }
        lines.append(
            f"| {seed} | "
            + " | ".join(f"{change[run]:+.1%}" for run in ("sft", "replay", "mol"))
            + f" | {change['mol'] / change['sft']:.0%} | {ratio['general']:.2f} | {ratio['chat']:.2f} |"
        )
    head = "| seed | sft domain | replay domain | mol domain | mol's gain of sft's | KL ratio general | KL ratio chat |"
    return "\n".join([head, "|---" * 7 + "|", *lines])


if __name__ == "__main__":
    summary = read_summary(Path(sys.argv[1]))
    print(table(summary), bars(summary), sep="\n\n")
