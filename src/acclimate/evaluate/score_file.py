"""``eval/<set>.jsonl`` of a run folder: one line a held-out document, sums of the tuned model and the base."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.errors import RunError, reason
from acclimate.files import write_text

COLUMNS = ("nats", "base_nats", "bytes", "tokens", "kl_base_tuned", "agree")


def write_scores(
    path: Path, places: Sequence[str], columns: Mapping[str, np.ndarray], texts: Sequence[str] | None = None
) -> None:
    """So that any statistic can be computed again from the run folder.

    Args:
        places: where each document came from.
        columns: [M] each, in the order of the places.
        texts: how each begins, for people: the file it came from may be gone when they look.
    """
    lines = [{"where": place} | {k: v[row].item() for k, v in columns.items()} for row, place in enumerate(places)]
    for line, text in zip(lines, texts or (), strict=False):
        line["text"] = text
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """The columns that paired statistics need, [M] float64 each.

    Raises:
        RunError: a line is no document's scores, or holds a number that is not finite.
    """
    columns: dict[str, Column] = {name: itemgetter(name) for name in COLUMNS}
    return read_columns(path, columns, "a document", f"Run `acclimate eval {path.parent.parent}` again.")


Column = Callable[[dict[str, Any]], float]
"""Finds a number in a line."""


def read_columns(path: Path, columns: Mapping[str, Column], what: str, remedy: str) -> dict[str, np.ndarray]:
    """Numbers of every line of a .jsonl file, [M] float64 by name.

    Args:
        what, remedy: parts of the sentence about a damaged file.

    Raises:
        RunError: it cannot be read, a line lacks a number, or holds one that is not finite.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"'{path}' cannot be read: {reason(error)}.") from None
    table = np.empty((len(lines), len(columns)))
    for row, line in enumerate(lines):
        try:
            record = json.loads(line)
            table[row] = [find(record) for find in columns.values()]
            wrong = "a number is not finite" if not np.isfinite(table[row]).all() else ""
        except (ValueError, TypeError, LookupError) as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            raise RunError(
                f"{path}:{row + 1}: this is not the scores of {what} ({wrong}); expected {', '.join(columns)}. {remedy}"
            )
    return {name: table[:, column] for column, name in enumerate(columns)}


def read_places(path: Path) -> list[str]:
    """Where each document of a file that :func:`read_scores` accepts came from."""
    return [str(json.loads(line).get("where")) for line in path.read_text(encoding="utf-8").splitlines()]
