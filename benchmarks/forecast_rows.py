"""The committed rows as observations: a run, a set that is unseen by it, and a number that may forecast its drift."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from acclimate.paired.metrics import DRIFT
from acclimate.paired.resample import shared_counts
from acclimate.runs.cells import Row, TextScores, read_table

HERE = Path(__file__).parent
TABLES = ("comparison/medical", "comparison/medical-final", "comparison/legal", "self_rows/medical", "self_rows/legal")
BUDGETS = ("budget/mol", "budget/l2")
STORES = ("ewc", "hlr", "dba")
"""Methods whose stores read general and chat before the run."""
ALIKE = {"own": "chat"}
"""A source and a set of its kind: the base wrote both."""
FAMILIES = ("sft", "replay", "mol")
"""All methods whose names begin so are one family."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One training as one table measured it: scores by set, its panel's beside them."""

    table: str
    row: Row
    texts: Mapping[str, TextScores]
    rate: float
    lora: bool

    @property
    def family(self) -> str:
        return next((name for name in FAMILIES if self.row.method.startswith(name)), self.row.method.split("-")[0])

    @property
    def name(self) -> str:
        kind = "" if self.row.kind == "run" else ", trial"
        return f"{self.row.method} at {self.rate:g}, seed {self.row.seed} ({self.table}{kind})"

    @property
    def training(self) -> tuple[object, ...]:
        """A trial and the run of the same settings and seed are one training."""
        return (self.table, self.row.method, self.rate, str(sorted(self.row.settings.items())), self.row.seed)

    @property
    def domain(self) -> str:
        return next(name for name, scores in self.texts.items() if scores.role == "domain")

    @property
    def alone(self) -> bool:
        """Trained on the domain and nothing else."""
        return list(self.row.tokens) == [self.domain]

    @cached_property
    def seen(self) -> list[str]:
        """Sets of general kinds that the run learned from, or of a source's kind."""
        trained = set(self.row.tokens) | {ALIKE[name] for name in self.row.tokens if name in ALIKE}
        return [name for name in self.texts if name in trained and name != self.domain]

    @cached_property
    def unseen(self) -> list[str]:
        others = [name for name in self.texts if name != self.domain and name not in self.seen]
        read = ("general", "chat") if self.family in STORES else ()
        return [name for name in others if name not in read]

    def divergence(self, name: str) -> tuple[float, Array]:
        """KL(base||tuned) of a set, nats a token, and its draws [R] for documents drawn anew."""
        scores = self.texts[name]
        above, below = scores.column(DRIFT), scores.column("tokens")
        times = _times(scores)
        return float(above.sum() / below.sum()), times @ above / (times @ below)

    def gain(self) -> tuple[float, Array]:
        """1 less bits a byte over the base's, on the domain."""
        scores = self.texts[self.domain]
        above, below, times = scores.column("nats"), scores.column("base_nats"), _times(scores)
        return float(1 - above.sum() / below.sum()), 1 - times @ above / (times @ below)


def _times(scores: TextScores) -> Array:
    """[R, M] the same draws wherever the documents are the same."""
    name = zlib.crc32(np.round(np.array([scores.bytes, scores.tokens])).tobytes())
    return shared_counts(f"{name}", len(scores.bytes), tuple(scores.groups))


@dataclass(frozen=True)
class Observation:
    """An observation: the outcome, and one candidate's value, in a column of runs that compare."""

    run: Run
    set: str
    column: tuple[str, ...]
    weight: float
    y: float
    x: float
    drawn: tuple[Array, Array]  # of y and x, [R]


def runs(tables: Sequence[str]) -> list[Run]:
    found = []
    for table in tables:
        rows = read_table(HERE / f"{table}.jsonl")
        plan = yaml.safe_load((HERE / f"{table}.yaml").read_text())
        ratio = HERE / f"{table}-ratio.yaml"
        methods = (yaml.safe_load(ratio.read_text())["methods"] if ratio.exists() else {}) | plan["methods"]
        shared = yaml.safe_load((HERE / table).parent.joinpath(plan["run"]).read_text())
        for row in rows:
            if row.kind == "panel" or row.outcome != "finished":
                continue
            panels = [other.texts for other in rows if other.kind == "panel" and other.key == row.key]
            texts = row.texts | {name.split("/")[-1]: s for panel in panels for name, s in panel.items()}
            own: dict[str, Any] = methods[row.method]["set"] | row.settings
            rate = own.get("optimizer.learning_rate", shared["optimizer"]["learning_rate"])
            found.append(Run(table.replace("comparison/", ""), row, texts, float(rate), "lora" in own))
    return found


def observations(found: Sequence[Run], candidate: str) -> list[Observation]:
    """Of every run and unseen set, with one candidate; an observation for each other set that stands for it.

    Args:
        candidate: "domain KL", "seen-kind drift", "other unseen text", "the base's answers", "gain" or "learning rate".
    """
    return [one for run in found for name in run.unseen for one in _of_set(run, name, candidate)]


def _of_set(run: Run, name: str, candidate: str) -> Iterator[Observation]:
    y, drawn = run.divergence(name)
    column = (run.table, run.row.kind, name)
    values = list(_values(run, name, candidate))
    for which, x, own in values:
        if x > 0:
            has_logarithm = np.where(own > 0, own, x)
            drawn_both = np.log(drawn), np.log(has_logarithm)
            yield Observation(run, name, (*column, which), 1 / len(values), np.log(y), np.log(x), drawn_both)


def _values(run: Run, name: str, candidate: str) -> Iterator[tuple[str, float, Array]]:
    if candidate == "domain KL":
        yield "", *run.divergence(run.domain)
    elif candidate == "gain":
        yield "", *run.gain()
    elif candidate == "learning rate":
        if not run.lora:
            yield "", run.rate, np.array([run.rate])
    elif candidate == "the base's answers":
        if name != "chat" and "chat" in run.texts and run.family not in STORES:
            yield "", *run.divergence("chat")
    elif candidate == "seen-kind drift":
        for other in run.seen:
            yield other, *run.divergence(other)
    else:
        for other in run.unseen:
            if other != name:
                yield other, *run.divergence(other)
