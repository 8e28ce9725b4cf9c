"""One cell at a time: an ordinary ``acclimate train`` in a process of its own, and the row that it leaves.

A process of its own, because peak memory is counted by process, and a crash ends one cell.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.build.plan import anchored
from acclimate.config.load import RunConfig, save_config
from acclimate.disk.files import alone
from acclimate.paired.grouped import codes
from acclimate.parallel.launch import launch
from acclimate.runs.beginning import differences_from
from acclimate.runs.cells import SUMS, ItemScores, Row, TextScores, rounded
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout, PanelLayout, read_json
from acclimate.runs.measured import base_of, check_measured, check_panel
from acclimate.runs.panel import chance_of
from acclimate.runs.scores import last_line, read_lines, read_scores
from acclimate.types.errors import RunError, Stopped
from acclimate.verbs.compare.cell import Cell
from acclimate.verbs.compare.preparation import Preparation
from acclimate.verbs.panel import load_panel, panel_digest

DIVERGED = 4
SIGNALS = {128 + number: number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
MADE = ("acclimate", "commit", "versions", "platform", "started", "finished", "processes", "tuned", "moved")
COSTS = ("train_seconds", "forward_tokens", "train_peak_memory_mib", "apart_forward_tokens")


def prepare(cell: Cell) -> bool:
    """Makes what the cell's methods need and is not there yet; False if another process is making it just now.

    Raises:
        Stopped, RunError: as :func:`train_cell`.
    """
    for preparation in cell.preparations:
        with alone(preparation.folder.with_suffix(".lock")) as mine:
            if not mine:
                return False
            if not preparation.is_made:
                save_config(anchored(preparation.config), preparation.folder.with_suffix(".yaml"))
                _acclimate(preparation.command, f"{preparation.kind} for {cell.method}")
    return True


def train_cell(cell: Cell, nproc: int) -> Row:
    """Trains and measures the cell, which is prepared, continuing where it was interrupted.

    Raises:
        Stopped: a signal ended it; it goes on from its checkpoint the next time.
        RunError: it failed; its own message is on stderr.
    """
    config = anchored(cell.config)
    path = config.run_dir.with_name(f"{config.run_dir.name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_config(config, path)
    if _is_empty(config.run_dir) or _began_otherwise(config):
        shutil.rmtree(config.run_dir)
    begun = ["--resume"] if Layout(config.run_dir).config.exists() else []
    outcome = _acclimate(["train", str(path), *begun], cell.name, nproc, may_diverge=True)
    row = Row(cell.key, cell.kind, cell.method, cell.settings, cell.seed, outcome)
    record = read_json(Layout(config.run_dir).provenance)
    made = {name: record[name] for name in MADE if name in record}
    if (kept := Layout(config.run_dir).retain).is_file():  # what became of a budget
        made["retain"] = read_json(kept)
    row = replace(row, digests=_digests(record) | cell.prepared, made=made)
    return row if outcome == "diverged" else _measured(row, config.run_dir, record, cell.preparations)


def measure_panel(cell: Cell, panel: Path) -> Row:
    """Measures a panel on a trained run."""
    run_dir = cell.config.run_dir
    run = Layout(run_dir)
    if not run.model.is_dir():
        raise RunError(
            f"The panel '{panel}' is not measured on {cell.name} yet, and the run's model is not here "
            f"('{run.model}'): measure it on the machine that has it, or take the run's line out of the table "
            "to train it again."
        )
    _acclimate(["eval", str(run_dir), "--panel", str(panel)], cell.name)
    folder = run.panel(load_panel(panel).name).path
    check_panel(run_dir, read_json(run.provenance), folder)
    return panel_row(cell, folder, panel_digest(panel))


def panel_row(cell: Cell, folder: Path, digest: str | None) -> Row:
    """From ``panel.json`` and its item files; a set whose answers are not right or wrong gives none.

    Args:
        digest: of the panel's file and what it names.
    """
    document = read_json(PanelLayout(folder).document)
    name = document["panel"]["name"]
    texts: dict[str, TextScores] = {}
    items: dict[str, ItemScores] = {}
    others: list[str] = []
    chance: dict[str, float] = {}
    for set_name, section in document["sets"].items():
        lines = read_lines(PanelLayout(folder).items(set_name))
        groups = codes([line.get("group") for line in lines])
        if section["kind"] == "text":
            columns = {key: [line[key] for line in lines] for key in SUMS}
            texts[f"{name}/{set_name}"] = _texts(section["role"], columns, groups)
        else:
            if (level := chance_of(lines)) is not None:
                chance[f"{name}/{set_name}"] = level
            sides: dict[str, list[Any]] = {
                side: [line.get(f"{side}_correct") for line in lines] for side in ("base", "model")
            }
            if all(value in (0, 1) for values in sides.values() for value in values):  # a bool is one of them
                numbers = {side: list(map(int, values)) for side, values in sides.items()}
                items[f"{name}/{set_name}"] = ItemScores(**numbers, groups=_numbers(groups))
            else:
                others.append(set_name)
    return Row(
        key=cell.key,
        kind="panel",
        method=cell.method,
        settings=cell.settings,
        seed=cell.seed,
        outcome="finished",
        texts=texts,
        items=items,
        digests={"panel": document["panel"]["digest"], "panel.name": name}
        | ({"panel.file": digest} if digest is not None else {}),
        made={"versions": document["versions"], "not_right_or_wrong": others, "chance": chance},
    )


def _began_otherwise(config: RunConfig) -> bool:
    """Whether the cell, which has no row, began with other settings that do not count, like ``micro_batch_size``."""
    return Layout(config.run_dir).config.is_file() and bool(differences_from(config))


def _is_empty(run_dir: Path) -> bool:
    """Whether it was finished and its weights are deleted: nothing of it can go on."""
    run = Layout(run_dir)
    return run.summary.is_file() and not (run.model.is_dir() or run.checkpoints.is_dir())


def forget_model(run_dir: Path) -> None:
    """Frees the disk of weights that are not looked at again; scores and logs stay."""
    for folder in (Layout(run_dir).model, Layout(run_dir).checkpoints):
        shutil.rmtree(folder, ignore_errors=True)


def _measured(row: Row, run_dir: Path, record: Mapping[str, Any], preparations: Sequence[Preparation]) -> Row:
    """With what the run's folder says of scores and costs."""
    check_measured(run_dir, record)
    run = Layout(run_dir)
    roles = {entry["set"]: entry["role"] for entry in read_summary(run.summary)}
    scores = {name: read_scores(run.scores(name)) for name in roles}
    texts = {name: _texts(roles[name], columns, columns.get("group")) for name, columns in scores.items()}
    last = last_line(run.metrics)
    tokens = {key.removeprefix("trained_tokens/"): n for key, n in last.items() if key.startswith("trained_tokens/")}
    missing = [name for name in COSTS if name not in record]
    if missing:
        raise RunError(
            f"'{run.provenance}' does not say what the run cost ({', '.join(missing)}), because it was "
            "trained by an older acclimate; delete the folder, and the same command trains it again."
        )
    costs = {name: float(record[name]) for name in COSTS[:-1]}
    stored = (run.model, *(preparation.stored for preparation in preparations))
    costs["stored_mib"] = sum(_bytes(folder) for folder in stored) / 2**20
    costs["preparation_seconds"] = sum(preparation.cost[0] for preparation in preparations)
    costs["preparation_forward_tokens"] = record["apart_forward_tokens"] + sum(p.cost[1] for p in preparations)
    costs = {name: round(float(value), 2) for name, value in costs.items()}
    return replace(row, texts=texts, tokens=tokens, costs=costs)


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    start = {"start": record["model"]["digest"]} if "base" in record else {}
    return (
        {"base": base_of(record)["digest"]}
        | start
        | {f"sources.{name}": value for name, value in record["data"].items()}
    )


def _texts(
    role: str, columns: Mapping[str, Sequence[float] | NDArray[np.float64]], groups: NDArray[Any] | None
) -> TextScores:
    return TextScores(role=role, **{name: rounded(columns[name]) for name in SUMS}, groups=_numbers(groups))


def _numbers(groups: NDArray[Any] | None) -> list[int]:
    return [] if groups is None else [int(group) for group in groups]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _acclimate(
    arguments: list[str], name: str, processes: int = 1, may_diverge: bool = False
) -> Literal["finished", "diverged"]:
    code = launch(arguments, processes)
    if code == 0:
        return "finished"
    if code == DIVERGED and may_diverge:
        return "diverged"
    if code in SIGNALS or -code in SIGNALS.values():
        number = SIGNALS.get(code, -code)
        raise Stopped(f"Stopped at {name}; the same command goes on from there.", number)
    raise RunError(
        f"{name} stopped with exit code {code}, for the reason above; nothing of it is in the table. The same command "
        f"tries again: acclimate {' '.join(arguments)}"
    )
