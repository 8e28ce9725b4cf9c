"""A panel's folder: ``panel.json``, the items of each set as columns of numbers, and those whose answer changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.disk.digest import sha256_of
from acclimate.paired.metrics import METRICS
from acclimate.runs.layout import Layout, PanelLayout, body, parsed, write_json, write_lines
from acclimate.runs.measured import check_panel
from acclimate.runs.scores import Column, read_columns, read_groups
from acclimate.types.errors import RunError

AGAIN = "Measure it again with `acclimate eval RUN --panel`, or remove its folder."


def _tokens(line: dict[str, Any]) -> float:
    """That drift is about: of a document, or of the right choice."""
    return float(line["right_tokens"] if "right_tokens" in line else line["tokens"])


COLUMNS: dict[str, Column] = {
    "word_nats": lambda line: -line["model"][0],
    "base_word_nats": lambda line: -line["base"][0],
    "tokens": _tokens,
}
"""Columns that an item's line has under another name."""


def columns_of(name: str) -> dict[str, Column]:
    """What a metric is made of, and how that is found in an item's line."""
    metric = METRICS.get(name)
    if metric is None or not metric.margins:
        return {}
    if metric.key:
        sides = zip(("model", "base"), metric.columns, strict=True)
        return {column: itemgetter(f"{side}_{metric.key}") for side, column in sides}
    return {column: COLUMNS.get(column, itemgetter(column)) for column in metric.columns}


@dataclass(frozen=True)
class Flip:
    """An item that one of the two models got right and the other did not. ``context`` is empty in old folders."""

    text_set: str
    where: str
    context: str
    choices: tuple[str, ...]
    right: int
    base_picked: int | None  # None of a cloze
    tuned_picked: int | None
    lost: bool
    nats: float  # log-likelihood of the right answer, model less base


@dataclass(frozen=True)
class PanelFolder:
    """What a panel found of a model and its base."""

    path: Path
    name: str
    model: str  # its name
    settings: Mapping[str, Any]  # what was asked, and how
    digest: str  # of what was asked: only equal ones compare
    base: str  # digest of the base's weights
    base_path: str
    sets: Mapping[str, Mapping[str, Any]]  # name -> kind, role, digest, items ...
    records: tuple[Mapping[str, Any], ...]

    def scores(self, set_name: str) -> dict[str, np.ndarray]:
        """Columns of a set's items, [M] each, as its metrics need them.

        Raises:
            RunError: its file is missing, damaged or of another length.
        """
        path, items = PanelLayout(self.path).items(set_name), self.sets[set_name]["items"]
        measured = [record["metric"] for record in self.records if record["set"] == set_name]
        columns = {name: find for metric in measured for name, find in columns_of(metric).items()}
        if not columns:
            return {}
        found = read_columns(path, columns, "an item", AGAIN)
        if (n := len(next(iter(found.values()), ()))) != items:
            raise RunError(f"'{path}' has {n} items, and panel.json beside it speaks of {items}. {AGAIN}")
        return found | read_groups(path)

    @cached_property
    def flips(self) -> list[Flip]:
        """Items of all sets whose answer changed.

        Raises:
            RunError: a file of items is damaged.
        """
        asked = {
            name: PanelLayout(self.path).items(name) for name, found in self.sets.items() if found["kind"] != "text"
        }
        return [
            flip for name, path in asked.items() for flip in _flips(path, name, self.sets[name]["kind"] == "lm_eval")
        ]


def read_panel(path: Path) -> PanelFolder:
    """
    Raises:
        RunError: the folder holds no panel, or its panel.json is damaged.
    """
    file = PanelLayout(path).document
    if not file.is_file():
        raise RunError(f"'{path}' holds no panel: it has no panel.json. `acclimate eval --panel` makes one.")
    try:
        data = parsed(file)
        settings, base = dict(data["panel"]), dict(data["base"])
        sets = {str(key): dict(entry) | {"kind": str(entry["kind"])} for key, entry in data["sets"].items()}
        records = tuple(dict(record) for record in data["records"])
        model, digest, base_digest = str(data["name"]), str(settings["digest"]), str(base["digest"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(file, error) from None
    return PanelFolder(path, path.name, model, settings, digest, base_digest, str(base["path"]), sets, records)


def panels_of(run_dir: Path, provenance: Mapping[str, Any]) -> list[PanelFolder]:
    """Every panel of a run, by name.

    Raises:
        RunError: a file is damaged or edited, or a panel was measured on another model than the run's.
    """
    found = []
    for panel in Layout(run_dir).panels:
        found.append(read_panel(panel.path))
        check_panel(run_dir, provenance, panel.path)
    return found


def save_panel(folder: Path, items: Mapping[str, Iterable[Mapping[str, Any]]], document: Mapping[str, Any]) -> None:
    """A file of items a set, then the document with their digests.

    Args:
        items: set -> an object an item.
        document: who was measured against whom, on what, and all numbers.
    """
    panel = PanelLayout(folder)
    for name, lines in items.items():
        write_lines(panel.items(name), lines)
    files = {panel.items(name).name: sha256_of([panel.items(name)]) for name in items}
    write_json(panel.document, {**document, "files": files})


def _flips(path: Path, name: str, task: bool) -> list[Flip]:
    flips = []
    try:
        lines = body(path, path.read_text(encoding="utf-8").splitlines() if path.is_file() else ())
        for line in (json.loads(text) for _, text in lines):
            if task and not {"right", "base_correct"} <= line.keys():
                continue  # without choices, or without an accuracy
            if line["base_correct"] == line["model_correct"]:
                continue
            right, picked = int(line["right"]), (line.get("base_picked"), line.get("model_picked"))
            choices = tuple(map(str, line.get("choices") or ()))
            nats = float(line["model"][right]) - float(line["base"][right])
            flips.append(
                Flip(
                    name, str(line["where"]), str(line.get("context") or ""), choices, right, *picked,
                    bool(line["base_correct"]), nats,
                )
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise damaged(path, error) from None
    return flips


def damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"'{path}' is no result of a panel ({type(error).__name__}: {error}). {AGAIN}")
