"""docs/reference/families.md, of the rows of one sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.tiny.bars import BARS, MERGED, ROUNDING, outcome, shortfalls
from benchmarks.tiny.population import APART, VARIANTS
from benchmarks.tiny.rows import Row, newest

Pair = tuple[Row, Row]
"""A family tuned in full and with LoRA."""

TOP = """# Model families

What acclimate does with every family of language models in transformers {transformers} (PEFT {peft},
torch {torch}), {date}. Made by `python -m benchmarks.families run` and `table`; change nothing here by hand.

Each family is a random checkpoint of two to four layers, hidden size 64, in float32 on a CPU. Its documents are
longer than its windows. Three steps of `mol` with weight decay, in full and with LoRA on the default layers, are
stopped after the second and resumed. The run is exported and loaded again by plain transformers and PEFT. Nothing is
set but paths and sizes: the attention is the one that acclimate chooses.

- **full, LoRA**: *yes* where it trains, the KL is 0 at step 0 although the configuration has dropout, held-out losses
  are those of each document alone in plain transformers (to {rounding:g}), and frozen tensors are bitwise the base's.
- **LoRA reaches**: the part of the language model's weights in matrices, but for embeddings and head; then the kinds of
  matrices that it does not reach.
- **resume**: *bitwise* where the weights are those of the run that was not stopped.
- **export**: *whole* where the folders (of a full run, of `--merge`) have the source's tensors, shapes, settings.
- **reload**: *equal* where plain transformers, and PEFT for an adapter, give the run's logits (to {rounding:g}; of
  merged weights, which are rounded, to {merged:g}).
- **rows**: *packed*, many documents a row; *alone*, one, where the family's layers do not keep packed ones apart.

A tiny checkpoint shows what code does. It does not show what a large one needs: memory, speed, and kernels of a GPU.
"""


def page(rows: Iterable[Row]) -> str:
    newer = newest(rows)
    names = sorted({family for family, _ in newer})
    pairs = {name: (newer[name, "full"], newer[name, "lora"]) for name in names}
    built = {name: pair for name, pair in pairs.items() if outcome(pair[0]) != "not_built"}
    counted = {name: pair for name, pair in built.items() if name not in VARIANTS}
    last = max(newer.values(), key=lambda row: str(row["date"]))
    parts = [
        TOP.format(
            rounding=ROUNDING, merged=MERGED, **{key: last[key] for key in ("transformers", "peft", "torch", "date")}
        ),
        _counts(list(counted.values())),
        _short(built),
        "## Families\n\n" + _table(counted),
        "## Other shapes of these\n\nMore experts, or LongRoPE.\n\n"
        + _table({name: pair for name, pair in built.items() if name in VARIANTS}),
        _left_out(pairs),
    ]
    return "\n".join(parts)


def _counts(pairs: Sequence[Pair]) -> str:
    lines = [f"## Counts\n\nOf {len(pairs)} families:\n", "| | full | LoRA |", "|---|---|---|"]
    for bar in BARS:
        held = [
            sum(not ({"trains", bar} & shortfalls(row).keys()) for row in side) for side in zip(*pairs, strict=True)
        ]
        lines.append(f"| {bar} | {held[0]} | {held[1]} |")
    whole = [sum(not shortfalls(row) for row in side) for side in zip(*pairs, strict=True)]
    lines.append(f"| **all of these** | **{whole[0]}** | **{whole[1]}** |")
    alone = sum(row.get("rows") == "alone" for row, _ in pairs)
    return "\n".join([*lines, "", f"{alone} of them have one document a row.", ""])


def _short(pairs: dict[str, Pair]) -> str:
    lines = ["## What falls short\n"]
    for name, pair in pairs.items():
        found = [shortfalls(row) for row in pair]
        both = found[0] == found[1]
        for row, short in zip(pair[:1] if both else pair, found, strict=False):
            mode = "" if both else f", {_mode(row)}"
            lines += [f"- `{name}`{mode}: {bar}: {_brief(text)}" for bar, text in short.items()]
    return "\n".join([*lines, ""] if len(lines) > 1 else [lines[0], "Nothing.", ""])


def _table(pairs: dict[str, Pair]) -> str:
    lines = [
        "| family | class | full | LoRA | LoRA reaches | resume | export | reload | rows | attention |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, pair in pairs.items():
        known = next((row for row in pair if outcome(row) == "trains"), pair[0])
        cells = [
            f"`{name}`",
            known.get("class", ""),
            *map(_tuned, pair),
            _reach(pair[1]),
            _both(pair, "resumes bitwise", "bitwise"),
            _both(pair, "exported whole", "whole"),
            _both(pair, "reloads with the run's logits", "equal"),
            known.get("rows", ""),
            known.get("attention", ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _tuned(row: Row) -> str:
    if outcome(row) != "trains":
        return f"**{outcome(row)}**"
    later = {"validates", "resumes bitwise", "exported whole", "reloads with the run's logits"}
    return "**wrong**" if shortfalls(row).keys() - later else "yes"


def _reach(row: Row) -> str:
    if "reach" not in row:
        return ""
    missed = row["reach"]["missed"]
    return f"{row['reach']['share']:.0%}" + (f"; not {', '.join(missed)}" if missed else "")


def _both(pair: Pair, bar: str, good: str) -> str:
    trained = [row for row in pair if outcome(row) == "trains"]
    bad = [_mode(row) for row in trained if bar in shortfalls(row)]
    if bad:
        return f"**not {' and '.join(bad)}**"
    return good if trained else ""


def _mode(row: Row) -> str:
    return "LoRA" if row["mode"] == "lora" else "full"


def _left_out(pairs: dict[str, Pair]) -> str:
    lines = ["## Not tried\n", "Listed among the language models of transformers, and no decoder of text:\n"]
    lines += [f"- {why}: {', '.join(kinds.split())}" for why, kinds in APART.items()]
    unbuilt = {name: pair[0]["not_built"] for name, pair in pairs.items() if outcome(pair[0]) == "not_built"}
    lines += ["", f"No tiny checkpoint was built of {len(unbuilt)} families:\n"]
    lines += [f"- `{name}`: {_brief(text)}" for name, text in unbuilt.items()]
    return "\n".join([*lines, ""])


def _brief(text: str) -> str:
    """The first line, without what would end a cell."""
    first = " ".join(text.split())
    return (first if len(first) <= 220 else first[:217] + "...").replace("|", "/")
