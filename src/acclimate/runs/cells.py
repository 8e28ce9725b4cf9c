"""The table of finished cells: one JSON object a line, appended and never rewritten, so that it can be committed and
continued on another machine. A row holds the sums of every held-out document: all statistics are made from it again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from acclimate.disk.files import unwritable
from acclimate.paired.grouped import Groups
from acclimate.paired.metrics import DRIFT
from acclimate.types.errors import RunError, reason

SUMS = ("bytes", "tokens", "base_nats", "nats", DRIFT)
"""Columns of :class:`TextScores`."""
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class TextScores:
    """Sums by held-out document, as ``eval/SET.jsonl`` has them; every row of a table has the same documents."""

    role: str
    bytes: list[float]
    tokens: list[float]
    base_nats: list[float]
    nats: list[float]
    kl_base_tuned: list[float]
    groups: list[int] = field(default_factory=list)  # number of each document's group; empty: each is its own

    def column(self, name: str) -> NDArray[np.float64]:
        """[M]."""
        return np.array(getattr(self, name), dtype=np.float64)


@dataclass(frozen=True, config=STRICT)
class ItemScores:
    """Right (1) or wrong (0) by item of a panel's set, of the base and of the model."""

    base: list[int]
    model: list[int]
    groups: list[int] = field(default_factory=list)  # as of TextScores


@dataclass(frozen=True, config=STRICT)
class Row:
    """One finished cell, or one panel measured on a run (``kind: panel``)."""

    key: str
    kind: Literal["trial", "run", "panel"]
    method: str
    settings: dict[str, Any]
    seed: int
    outcome: Literal["finished", "diverged"]
    texts: dict[str, TextScores] = field(default_factory=dict)
    items: dict[str, ItemScores] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # of base, sources and panel
    costs: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)  # source -> trained tokens
    made: dict[str, Any] = field(default_factory=dict)  # when, by which versions, on what
    format: Literal[1] = 1


_ROW = TypeAdapter(Row)


def groups_of(scores: TextScores | ItemScores) -> Groups | None:
    """[M]; None where each item is a group of its own."""
    return np.array(scores.groups, dtype=np.int64) if scores.groups else None


def read_table(path: Path) -> list[Row]:
    """The rows in order; of rows of equal key and digests the first. A file that is not there has none.

    Raises:
        RunError: a line is no row. A torn last line, which a crash leaves, is no error.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"The table '{path}' cannot be read: {reason(error)}.") from None
    rows: dict[tuple[str, str, str], Row] = {}
    *lines, torn = text.split("\n")
    for number, line in enumerate([*lines, *([torn] if _is_json(torn) else [])], 1):
        if not line.strip():
            continue
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise RunError(f"{path}:{number}: a merge conflict; every row is a line of its own: keep both sides.")
        try:
            row = _ROW.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            what = f"{where}: {first['msg']}" if where else first["msg"]
            raise RunError(f"{path}:{number}: this is no row of a comparison ({what}); take the line out.") from None
        rows.setdefault((row.key, row.kind, row.digests.get("panel", "")), row)
    return list(rows.values())


def append(path: Path, row: Row) -> None:
    """Adds a row, on disk when this returns; a torn last line goes. Two processes may append at the same time."""
    line = _ROW.dump_json(row, exclude_defaults=True).decode() + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            torn = stream.read().rpartition("\n")[2]
            if torn and not _is_json(torn):
                stream.truncate(path.stat().st_size - len(torn.encode()))
            stream.write(line if not _is_json(torn) else "\n" + line)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def rounded(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """To a millionth: beyond that is noise of the machine, and a table is read by people."""
    return [round(float(value), 6) for value in values]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
