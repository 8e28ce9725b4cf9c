"""A panel's folder, read again: ``panel.json``, and the items of each set as columns of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.errors import RunError
from acclimate.evaluate.score_file import Column, read_columns, read_groups
from acclimate.paired.metrics import METRICS

AGAIN = "Measure it again with `acclimate eval --panel`."


def _tokens(line: dict[str, Any]) -> float:
    """That drift is about: of a document, or of the right choice."""
    return float(line["right_tokens"] if "right_tokens" in line else line["tokens"])


COLUMNS: dict[str, Column] = {
    "word_nats": lambda line: -line["model"][0],
    "base_word_nats": lambda line: -line["base"][0],
    "tokens": _tokens,
}
"""Columns that an item's line has under another name."""


def _columns(name: str) -> dict[str, Column]:
    """What a metric is made of, and how that is found in an item's line."""
    metric = METRICS.get(name)
    if metric is None or not metric.margins:
        return {}
    if metric.key:
        sides = zip(("model", "base"), metric.columns, strict=True)
        return {column: itemgetter(f"{side}_{metric.key}") for side, column in sides}
    return {column: COLUMNS.get(column, itemgetter(column)) for column in metric.columns}


@dataclass(frozen=True)
class PanelFolder:
    """What a panel found of a model and its base."""

    path: Path
    name: str  # of the model
    digest: str  # of what was asked: only equal ones compare
    base: str  # digest of the base's weights
    base_path: str
    sets: Mapping[str, Mapping[str, Any]]  # name -> kind, role, digest, items ...
    records: tuple[Mapping[str, Any], ...]
    averages: Mapping[str, Mapping[str, Any]]

    def scores(self, set_name: str) -> dict[str, np.ndarray]:
        """Columns of a set's items, [M] each, as its metrics need them.

        Raises:
            RunError: its file is missing, damaged or of another length.
        """
        path, items = self.path / f"{set_name}.jsonl", self.sets[set_name]["items"]
        measured = [record["metric"] for record in self.records if record["set"] == set_name]
        columns = {name: find for metric in measured for name, find in _columns(metric).items()}
        if not columns:
            return {}
        found = read_columns(path, columns, "an item", AGAIN)
        if (n := len(next(iter(found.values()), ()))) != items:
            raise RunError(f"'{path}' has {n} items, and panel.json beside it speaks of {items}. {AGAIN}")
        return found | read_groups(path)


def read_panel(path: Path) -> PanelFolder:
    """
    Raises:
        RunError: the folder holds no panel, or its panel.json is damaged.
    """
    file = path / "panel.json"
    if not file.is_file():
        raise RunError(f"'{path}' holds no panel: it has no panel.json. `acclimate eval --panel` makes one.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        name, digest, base = (str(x) for x in (data["name"], data["panel"]["digest"], data["base"]["digest"]))
        sets = {str(key): dict(entry) for key, entry in data["sets"].items()}
        found = tuple(dict(record) for record in data["records"])
        return PanelFolder(path, name, digest, base, str(data["base"]["path"]), sets, found, dict(data["averages"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"'{file}' is damaged ({type(error).__name__}: {error}). {AGAIN}") from None
