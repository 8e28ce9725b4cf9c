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
from acclimate.evaluate.score_file import COLUMNS, Column, read_columns
from acclimate.evaluate.summary import Record

AGAIN = "Measure it again with `acclimate eval --panel`."
DRIFT: dict[str, Column] = {
    "tokens": itemgetter("right_tokens"),
    "kl_base_tuned": itemgetter("kl_base_tuned"),
    "agree": itemgetter("agree"),
}
RIGHT: dict[str, Column] = {"right": itemgetter("model_correct"), "base_right": itemgetter("base_correct")}
CHOICE: dict[str, Column] = {
    "right_norm": itemgetter("model_correct_norm"),
    "base_right_norm": itemgetter("base_correct_norm"),
}
CLOZE: dict[str, Column] = {
    "word_nats": lambda line: -line["model"][0],
    "base_word_nats": lambda line: -line["base"][0],
}
OF_KIND: dict[str, dict[str, Column]] = {
    "choice": RIGHT | CHOICE | DRIFT,
    "cloze": RIGHT | CLOZE | DRIFT,
    "text": {name: itemgetter(name) for name in COLUMNS},
}
"""Kind of a set -> what is read of each of its items."""


@dataclass(frozen=True)
class PanelFolder:
    """What a panel found of a model and its base."""

    path: Path
    name: str  # of the model
    digest: str  # of what was asked: only equal ones compare
    base: str  # digest of the base's weights
    base_path: str
    sets: Mapping[str, Mapping[str, Any]]  # name -> kind, role, digest, items ...
    records: tuple[Record, ...]
    averages: Mapping[str, Mapping[str, Any]]

    def scores(self, set_name: str) -> dict[str, np.ndarray]:
        """Columns of a set's items, [M] each, as its kind has them.

        Raises:
            RunError: its file is missing, damaged or of another length.
        """
        path, entry = self.path / f"{set_name}.jsonl", self.sets[set_name]
        found = read_columns(path, OF_KIND[entry["kind"]], "an item", AGAIN)
        if (n := len(next(iter(found.values())))) != entry["items"]:
            raise RunError(f"'{path}' has {n} items, and panel.json beside it speaks of {entry['items']}. {AGAIN}")
        return found


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
        if any(entry["kind"] not in OF_KIND or entry["items"] < 1 for entry in sets.values()):
            raise ValueError("a set of no known kind, or without items")
        found = tuple(dict(record) for record in data["records"])
        return PanelFolder(path, name, digest, base, str(data["base"]["path"]), sets, found, dict(data["averages"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"'{file}' is damaged ({type(error).__name__}: {error}). {AGAIN}") from None
