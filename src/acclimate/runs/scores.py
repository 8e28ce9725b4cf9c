"""``eval/<set>.jsonl`` of a run folder: one line a held-out document, sums of the tuned model and the base."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.paired.estimate import NOT_NEGATIVE, SHARE
from acclimate.paired.grouped import codes
from acclimate.paired.metrics import METRICS, of_texts
from acclimate.runs.layout import body, text_of, write_lines
from acclimate.types.errors import RunError

COUNTS = ("bytes", "tokens", "agree")
LEAST = {"tokens": 1}
ROUNDING = 1e-4
"""Nats per token by which rounding may miss 0."""


def write_scores(
    path: Path,
    places: Sequence[str],
    columns: Mapping[str, np.ndarray],
    texts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    overlapping: np.ndarray | None = None,
) -> None:
    """So that any statistic can be computed again from the run folder.

    Args:
        places: where each document came from.
        columns: [M] each, in the order of the places.
        texts: how each begins, for people: the file it came from may be gone when they look.
        groups: what names each one's group: a hash, never what a record says.
        overlapping: [M] whether each shares text with training documents.
    """
    lines = [{"where": place} | {k: v[row].item() for k, v in columns.items()} for row, place in enumerate(places)]
    for line, text in zip(lines, texts or (), strict=False):
        line["text"] = text
    for line, group in zip(lines, groups or (), strict=False):
        line["group"] = group
    for line, overlaps in zip(lines, [] if overlapping is None else overlapping.tolist(), strict=False):
        line["overlap"] = overlaps
    write_lines(path, lines)


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """The columns that paired statistics need, [M] float64 each; where documents share a group also ``group``, [M]
    its number.

    Raises:
        RunError: a line is no document's scores, holds an impossible number, or a document stands there twice.
    """
    columns: dict[str, Column] = {name: itemgetter(name) for metric in of_texts() for name in metric.columns}
    found = read_columns(path, columns, "a document", f"Run `acclimate eval {path.parent.parent}` again.")
    return found | read_groups(path)


def read_groups(path: Path) -> dict[str, np.ndarray]:
    """``group``, [M] numbers, of a file that :func:`read_columns` accepts; nothing where no two lines share one."""
    named = [line.get("group") for line in read_lines(path)]
    found = codes([None if name is None else str(name) for name in named])
    return {} if found is None else {"group": found}


Column = Callable[[dict[str, Any]], float]
"""Finds a number in a line."""


def read_columns(path: Path, columns: Mapping[str, Column], what: str, remedy: str) -> dict[str, np.ndarray]:
    """Numbers of every line of a .jsonl file, [M] float64 by name.

    Args:
        what, remedy: parts of the sentence about a damaged file.

    Raises:
        RunError: it cannot be read, a line lacks a number or holds an impossible one, or repeats an item.
    """
    lines = body(path, text_of(path).splitlines())
    table = np.empty((len(lines), len(columns)))
    seen: dict[tuple[Any, ...], int] = {}
    for row, (number, line) in enumerate(lines):
        try:
            record = json.loads(line)
            table[row] = [find(record) for find in columns.values()]
            wrong = _impossible(dict(zip(columns, table[row].tolist(), strict=True)))
            for key in _same(record) if not wrong else ():
                if (first := seen.setdefault(key, number)) != number:
                    wrong = f"it is the same one as in line {first}"
        except (ValueError, TypeError, LookupError) as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            raise RunError(
                f"{path}:{number}: this is not the scores of {what} ({wrong}); expected {', '.join(columns)}. {remedy}"
            )
    return {name: table[:, column] for column, name in enumerate(columns)}


def _impossible(line: Mapping[str, float]) -> str:
    """What cannot be true of any model, or nothing."""
    if not all(map(math.isfinite, line.values())):
        return "a number is not finite"
    for name, value in line.items():
        if name in COUNTS and (value < LEAST.get(name, 0) or value != int(value)):
            return f"{name} is {value:g}, which is no count of at least {LEAST.get(name, 0)}"
        for metric in METRICS.values():
            if name not in (metric.above, metric.base):
                continue
            if metric.possible == NOT_NEGATIVE and value < -ROUNDING * line.get("tokens", 1.0):
                return f"{name} is {value:g}, and it is never below 0"
            if metric.possible == SHARE and metric.below is None and not 0 <= value <= 1:
                return f"{name} is {value:g}, and it lies between 0 and 1"
    if line.get("agree", 0.0) > line.get("tokens", math.inf):
        return f"agree is {line['agree']:g} of {line['tokens']:g} tokens"
    return ""


def _same(record: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What only one line of a file can be: a place, and a text with what the base makes of it."""
    found: list[tuple[Any, ...]] = []
    if "where" in record:
        found.append(("where", str(record["where"]), record.get("item")))
    if record.get("text") and record.get("bytes") and "base_nats" in record:
        found.append(("text", record["text"], record["bytes"], record["tokens"], round(float(record["base_nats"]), 4)))
    return found


def read_places(path: Path) -> list[str]:
    """Where each document of a file that :func:`read_scores` accepts came from."""
    return [str(line.get("where")) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Of a file that is whole: its objects, in order."""
    return [json.loads(line) for _, line in body(path, path.read_text(encoding="utf-8").splitlines())]


def last_line(path: Path) -> dict[str, Any]:
    """Of such a file whose end is whole."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    return found
