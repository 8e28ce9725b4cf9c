"""One run folder, read from its files. Nothing is recomputed; a missing file says what to run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.runs.layout import Layout, body, parsed, read_json, text_of, write_json
from acclimate.types.errors import RunError, reason
from acclimate.types.notebook import html_table

RECORDS, ANSWERS = "records", "answers"
ROLES = ("domain", "general", "chat")
SHOWN = ("set", "role", "base [bits/byte]", "change [bits/byte]", "KL to the base [nats/token]")


@dataclass(frozen=True)
class TextSet:
    """A held-out set of documents and how it is read: domain, general or chat."""

    name: str
    role: str


@dataclass(frozen=True)
class Generation:
    """One prompt, the base's answer and the tuned model's."""

    text_set: str
    prompt: str
    base: str
    tuned: str


@dataclass(frozen=True)
class RunFolder:
    """What one training run left behind."""

    path: Path
    name: str
    method: str  # as summary.json calls the tuned model
    seed: int
    config: Mapping[str, Any]
    config_text: str
    provenance: Mapping[str, Any]
    steps: tuple[Mapping[str, float], ...]  # one merged line of metrics per step, in order
    skipped_lines: int
    sets: tuple[TextSet, ...]
    base: Mapping[str, Estimate]  # set -> bits per byte
    changes: Mapping[
        str, Estimate
    ]  # set -> bits per byte tuned minus base, paired; none in folders of before 2026-11-22
    measures: Mapping[tuple[str, str], Estimate]  # (set, metric)
    generations: tuple[Generation, ...]
    data: Mapping[str, Any]
    retain: Mapping[str, Any] | None = None  # what became of a forgetting budget, where there is one

    def series(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of one metric, where it was logged."""
        return [(int(line["step"]), line[key]) for line in self.steps if key in line]

    def change(self, name: str, metric: str) -> Estimate | None:
        """Tuned minus base, paired, of a metric that the base has too."""
        return self.changes.get(name) if metric == BITS else self.measures.get((name, f"{metric}_change"))

    def _repr_html_(self) -> str:
        """Bits per byte of every set, and how far the model is from its base there."""
        rows = []
        for one in self.sets:
            found, drift = self.changes.get(one.name), self.measures.get((one.name, DRIFT))
            base = f"{self.base[one.name].value:.4f}" if one.name in self.base else ""
            numbers = ("" if found is None else f"{found.value:+.4f}", "" if drift is None else f"{drift.value:.4f}")
            rows.append((one.name, one.role, base, *numbers))
        return html_table(SHOWN, rows, (f"{self.name}: {self.method}, seed {self.seed}, {len(self.steps):,} steps",))

    @property
    def tokens_per_second(self) -> float | None:
        """The median over steps: the first step compiles and caches, so a mean would blame the method for it."""
        rates = [line["tokens_per_second"] for line in self.steps if "tokens_per_second" in line]
        return statistics.median(rates) if rates else None


def read_folder(path: str | Path) -> RunFolder:
    """Reads RUN/.

    Raises:
        RunError: the folder is no run folder, the run has not finished, or a file is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"There is no run folder '{path}'. `acclimate train CONFIG` makes one.")
    run = Layout(path)
    if not run.config.is_file():
        raise RunError(f"'{path}' is not a run folder: it has no config.yaml. `acclimate train CONFIG` makes one.")
    for file in (run.provenance, run.metrics):
        if not file.is_file():
            raise RunError(
                f"The run in '{path}' has not been trained: it has no {file.name}. Run `acclimate train {run.config}`."
            )
    if not run.summary.is_file():
        raise RunError(
            f"The run in '{path}' has not been evaluated: it has no summary.json. "
            + (
                f"Run `acclimate eval {path}`."
                if run.model.is_dir()
                else "It is not finished; use acclimate train --resume."
            )
        )
    config_text = text_of(run.config)
    try:
        config = yaml.safe_load(config_text)
    except yaml.YAMLError as error:
        raise RunError(f"'{run.config}' is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise RunError(f"'{run.config}' is not a run configuration: it holds no sections.")
    method, sets, base, changes, measures = _summary(run)
    steps, skipped = _metrics(run.metrics)
    return RunFolder(
        path=path,
        name=str(config.get("name", path.name)),
        method=method,
        seed=int(config.get("seed", 0)),
        config=config,
        config_text=config_text,
        provenance=_json(run.provenance),
        steps=steps,
        skipped_lines=skipped,
        sets=sets,
        base=base,
        changes=changes,
        measures=measures,
        generations=_generations(run.generations),
        data=_json(run.data) if run.data.is_file() else {},
        retain=_json(run.retain) if run.retain.is_file() else None,
    )


def _json(path: Path, rows: str | None = None) -> dict[str, Any]:
    again = f"Run `acclimate eval {path.parent}` again."
    try:
        return parsed(path, rows)
    except json.JSONDecodeError as error:
        raise RunError(f"'{path}' is not complete JSON (line {error.lineno}: {error.msg}). {again}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read: {reason(error)}.") from None


def write_summary(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """``{run, seed, set, role, metric, unit, value, low, high, n}`` each, and of a change ``p`` and ``mde``."""
    write_json(path, {RECORDS: list(records)})


def read_summary(path: Path) -> list[dict[str, Any]]:
    """What :func:`write_summary` wrote.

    Raises:
        RunError: it is missing or damaged.
    """
    found = read_json(path, RECORDS).get(RECORDS)
    if not isinstance(found, list):
        raise RunError(f"'{path}' is damaged: it holds no list of records. `acclimate eval` writes it again.")
    return found


def write_generations(path: Path, answers: Sequence[Mapping[str, str]]) -> None:
    """``{set, prompt, base, tuned}`` each."""
    write_json(path, {ANSWERS: list(answers)})


def _summary(
    run: Layout,
) -> tuple[str, tuple[TextSet, ...], dict[str, Estimate], dict[str, Estimate], dict[tuple[str, str], Estimate]]:
    """The method's name, the sets, the base's bits per byte, their paired changes, and the tuned model's measures."""
    file = run.summary
    sets: dict[str, TextSet] = {}
    base: dict[str, Estimate] = {}
    changes: dict[str, Estimate] = {}
    measures: dict[tuple[str, str], Estimate] = {}
    labels: dict[str, None] = {}
    records = _json(file, RECORDS).get(RECORDS)
    for index, record in enumerate(records if isinstance(records, list) else [records]):
        try:
            label, name, role, metric = (str(record[key]) for key in ("run", "set", "role", "metric"))
            _ = record["low"], record["high"]  # None where there is no interval, but there
            measure = Estimate.from_record(record)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"'{file}': record {index} is not a measurement ({type(error).__name__}: {error}); expected run, seed, "
                f"set, role, metric, unit, value, low, high and n. Run `acclimate eval {run.path}` again."
            ) from None
        sets.setdefault(name, TextSet(name, role))
        if label != "base":
            labels[label] = None
            if metric == f"{BITS}_change":
                changes[name] = measure
            else:
                measures[name, metric] = measure
        elif metric == BITS:
            base[name] = measure
    if not records:
        raise RunError(f"The run '{run.path}' holds no documents out, so nothing was measured: no report.")
    if len(labels) != 1:
        held = " and ".join(f"'{one}'" for one in labels) or "only the base"
        raise RunError(
            f"'{file}' should measure the base and one tuned model; it holds {held}. Run `acclimate eval {run.path}`."
        )
    ordered = sorted(sets.values(), key=lambda item: ROLES.index(item.role) if item.role in ROLES else len(ROLES))
    return next(iter(labels)), tuple(ordered), base, changes, measures


def _metrics(path: Path) -> tuple[tuple[Mapping[str, float], ...], int]:
    """One line per step, the last writing of each number winning, and how many broken lines were left out.

    A run that was killed leaves a torn last line, and one that was killed and resumed may leave it in the middle.
    """
    merged: dict[int, dict[str, float]] = {}
    skipped = 0
    content = path.read_bytes().decode("utf-8", errors="replace")  # a torn line may end inside a UTF-8 sequence
    lines = body(path, [line for line in content.split("\n") if line.strip()])
    for index, (_, text) in enumerate(lines):
        try:
            line = json.loads(text)
            step = int(line["step"])
        except (ValueError, KeyError, TypeError):
            skipped += index < len(lines) - 1
            continue
        numbers = {
            str(key): float(value)
            for key, value in line.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        merged.setdefault(step, {}).update(numbers)
    return tuple(merged[step] for step in sorted(merged)), skipped


def _generations(path: Path) -> tuple[Generation, ...]:
    if not path.is_file():
        return ()
    rows = _json(path, ANSWERS).get(ANSWERS)
    return tuple(
        Generation(*(str(row.get(key) or "") for key in ("set", "prompt", "base", "tuned")))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    )
