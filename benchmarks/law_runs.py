"""Committed runs that one law may describe: what was set, and what came of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from acclimate.laws.anchored import DRIFT, GAIN, INPUTS, drift_forms, gain_forms
from acclimate.laws.form import Array, Form
from acclimate.runs.cells import Row, TextScores, read_table

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Source:
    """Cells of one table, with the comparisons that say how they were trained."""

    table: str
    comparisons: tuple[str, ...]
    kind: str
    methods: str  # a regular expression of whole names


@dataclass(frozen=True)
class Series:
    """Runs that one law may describe: one model, domain and method, the same documents.

    Args:
        blind: whether these runs were made after forms, rules and constants were settled.
    """

    name: str
    sources: tuple[Source, ...]
    blind: bool = False

    @property
    def folder(self) -> str:
        """Of its tables: runs of one folder are not independent."""
        return self.sources[0].table.partition("/")[0]


SCREEN = ("comparison/medical.yaml", "comparison/medical-ratio.yaml")
FINAL = ("comparison/medical-final.yaml",)
SHORT = ("ratio/short-4096", "ratio/short-8192")
LEGAL = "legal_law"


def series() -> list[Series]:
    """Those whose tables are all there."""
    return [one for one in _series() if all((HERE / source.table).is_file() for source in one.sources)]


def _series() -> list[Series]:
    found = []
    for method in ("mol", "replay"):
        names = rf"sft|{method}-(10|25|50|75)"
        runs = (
            Source("comparison/medical.jsonl", SCREEN, "run", names),
            Source("comparison/medical-final.jsonl", FINAL, "run", names),
        )
        found.append(Series(f"{method}: shares and tokens", runs))
    for method in ("mol", "replay"):
        trials = Source("comparison/medical.jsonl", SCREEN, "trial", rf"sft|sft-low|{method}-(10|50)")
        found.append(Series(f"{method}: shares and rates", (trials,)))
    short = tuple(Source(f"{path}.jsonl", (f"{path}.yaml",), "run", r"sft|mol-\d+") for path in SHORT)
    long = Source("ratio/ratio.jsonl", ("ratio/ratio.yaml",), "run", r"sft|mol-term-\d+")
    found.append(Series("mol: shares and tokens, short", (*short, long)))
    for name in ("mol-term", "mol-all", "replay-term", "replay-all"):
        cells = Source("ratio/ratio.jsonl", ("ratio/ratio.yaml",), "run", rf"sft|{name}-\d+")
        found.append(Series(f"{name}: shares", (cells,)))
    legal = tuple(
        Source(f"{LEGAL}/{tokens}.jsonl", (f"{LEGAL}/{tokens}.yaml",), "run", ".*") for tokens in (4096, 8192, 16384)
    )
    found.append(Series("mol: shares and tokens, legal", legal, blind=True))
    return found


@dataclass(frozen=True)
class Run:
    """What was set, and what came of it: outcome -> value. ``gain`` is of the domain, ``drift SET`` of the others."""

    inputs: tuple[float, ...]  # INPUTS
    seed: int
    outcomes: dict[str, float]


def runs_of(one: Series) -> list[Run]:
    return [run for source in one.sources for run in _runs(source)]


def inputs_of(runs: Sequence[Run]) -> dict[str, Array]:
    """Column -> values, [n] each."""
    return {name: np.array([run.inputs[place] for run in runs]) for place, name in enumerate(INPUTS)}


def column(runs: Sequence[Run], outcome: str) -> Array:
    return np.array([run.outcomes[outcome] for run in runs])


def forms_of(outcome: str, runs: Sequence[Run]) -> tuple[Form, ...]:
    """Those that may describe an outcome of runs that differ in some inputs."""
    return gain_forms(varied_in(runs)) if outcome == GAIN else drift_forms(varied_in(runs))


def varied_in(runs: Sequence[Run]) -> set[str]:
    return {name for name, values in inputs_of(runs).items() if np.ptp(values) > 0}


def _runs(source: Source) -> Iterator[Run]:
    methods: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for path in source.comparisons:
        study = yaml.safe_load((HERE / path).read_text())
        shared = yaml.safe_load((HERE / path).with_name(study["run"]).read_text())
        for name, method in study["methods"].items():
            methods.setdefault(name, (shared, method["set"]))
    for row in read_table(HERE / source.table):
        if row.kind == source.kind and row.outcome == "finished" and re.fullmatch(source.methods, row.method):
            yield _run(row, *methods[row.method])


def _run(row: Row, shared: dict[str, Any], own: dict[str, Any]) -> Run:
    settings = {**own, **row.settings}
    domain = shared["budget"]["count"]
    shares = {name: settings.get(f"sources.{name}.share", one["share"]) for name, one in shared["sources"].items()}
    share = 1.0 if settings["method"] == "sft" else shares[domain] / sum(shares.values())
    rate = float(settings.get("optimizer.learning_rate", shared["optimizer"]["learning_rate"]))
    outcomes = {GAIN: _bits(row.texts[domain].base_nats, row, domain) - _bits(row.texts[domain].nats, row, domain)}
    outcomes |= {f"{DRIFT} {name}": _drift(text) for name, text in row.texts.items() if name != domain}
    return Run((share, 1.0, rate, float(shared["budget"]["tokens"])), row.seed, outcomes)


def _bits(nats: list[float], row: Row, name: str) -> float:
    return sum(nats) / math.log(2) / sum(row.texts[name].bytes)


def _drift(text: TextScores) -> float:
    return sum(text.kl_base_tuned) / sum(text.tokens)
