"""The work that is left of a comparison, in an order that makes an unfinished one worth reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import cast

from rich.console import Console

from acclimate.disk.files import alone
from acclimate.runs.cells import append
from acclimate.runs.layout import Layout
from acclimate.types.errors import UsageError, listed, nearest
from acclimate.verbs.compare.cell import Cell, check, run_cell, trial_cells
from acclimate.verbs.compare.execute import forget_model, measure_panel, prepare, train_cell
from acclimate.verbs.compare.outcome import Outcome, outcome_of
from acclimate.verbs.compare.pages import summary, write_pages
from acclimate.verbs.compare.schema import Comparison
from acclimate.verbs.panel import load_panel

WAIT_SECONDS = 2.0
"""Between two looks at whether other processes have finished."""


@dataclass(frozen=True)
class Task:
    """A cell to train, or a panel to measure on one that is trained."""

    cell: Cell
    panel: Path | None = None

    @property
    def name(self) -> str:
        kind = "trial" if self.cell.kind == "trial" else "run"
        return f"panel {self.panel.stem} on {self.cell.name}" if self.panel else f"{kind} {self.cell.name}"


def pending(comparison: Comparison, outcome: Outcome, only: Sequence[str] = ()) -> Iterator[Task]:
    """What is not in the table: trials of all methods first, then seed by seed every method's run and its panels.

    A method whose trials are not all there has no chosen settings yet, so its runs are not named.
    """
    methods = [method for method in comparison.methods if not only or method in only]
    done = {(row.key, row.kind, row.digests.get("panel.name", "")): row for row in outcome.rows}
    untuned = set()
    for method in methods:
        for cell in trial_cells(comparison, method):
            if (cell.key, "trial", "") not in done:
                untuned.add(method)
                yield Task(cell)
    for seed in comparison.seeds:
        for method in methods:
            if method in untuned or (comparison.trials and outcome.trial(method) is None):
                continue
            cell = run_cell(comparison, method, outcome.chosen(method), seed)
            run = done.get((cell.key, "run", ""))
            if run is None:
                yield Task(cell)
            elif run.outcome == "finished":
                for panel in comparison.panel_paths:
                    if (cell.key, "panel", load_panel(panel).name) not in done:
                        yield Task(cell, panel)


def compare(
    comparison: Comparison, only: Sequence[str] = (), nproc: int = 1, console: Console | None = None
) -> Outcome:
    """Does what is left, row by row into the table, and writes the pages.

    Each cell is an ordinary run in a process of its own; what is interrupted goes on from its checkpoint. Several
    callers on one machine share the work: each takes cells that no other is at.

    Args:
        only: these methods alone, for example to share the work between machines.
        nproc: processes of each training.

    Raises:
        ConfigError: a method or setting is wrong; nothing was trained.
        RunError: a cell failed, or the table's rows are of another base or other documents.
        Stopped: a signal.
    """
    console = console or Console(quiet=True)
    _check(comparison, only)
    waiting = False
    while left := [task for task in pending(comparison, outcome_of(comparison), only) if not _is_elsewhere(task)]:
        if any(_take(comparison, task, only, nproc, console) for task in left):
            waiting = False
            continue
        if not waiting:
            names = ", ".join(task.name for task in left)
            console.print(f"Waiting for other processes, which are at {names}.", highlight=False, markup=False)
        waiting = True
        sleep(WAIT_SECONDS)
    outcome = outcome_of(comparison)
    if outcome.rows:
        paths = write_pages(outcome, comparison.folder)
        console.print(summary(outcome))
        console.print(f"Table: {comparison.table_path}. Pages: {', '.join(map(str, paths))}", soft_wrap=True)
    for task in pending(comparison, outcome, only):  # all else is done
        measure_panel(task.cell, cast(Path, task.panel))
    return outcome


def _is_elsewhere(task: Task) -> bool:
    """A panel on a run whose model is not on this machine."""
    return task.panel is not None and not Layout(task.cell.config.run_dir).model.is_dir()


def _take(comparison: Comparison, task: Task, only: Sequence[str], nproc: int, console: Console) -> bool:
    """Does the task, unless another process of this machine is at its cell or at what it needs."""
    with alone(comparison.folder / "claims" / task.cell.key) as mine:
        if not mine:
            return False
        outcome = outcome_of(comparison)
        left = list(pending(comparison, outcome, only))
        if task not in left:  # another process has done it since
            return True
        title = f"{task.name} ({len(outcome.rows)} rows done, {len(left)} known to be left)"
        if task.panel is not None:
            console.rule(title)
            append(comparison.table_path, measure_panel(task.cell, task.panel))
        elif prepare(task.cell):
            console.rule(title)
            append(comparison.table_path, train_cell(task.cell, nproc))
        else:
            return False
        _forget(comparison, task.cell)
        return True


def left_of(comparison: Comparison, only: Sequence[str]) -> tuple[int, list[Task]]:
    """How many rows the table has, and every cell that is left as far as it is known."""
    _check(comparison, only)
    outcome = outcome_of(comparison)
    return len(outcome.rows), list(pending(comparison, outcome, only))


def print_plan(comparison: Comparison, only: Sequence[str], console: Console) -> None:
    """What is done, and every cell that is left as far as it is known."""
    rows, left = left_of(comparison, only)
    console.print(f"{comparison.table_path}: {rows} rows of this comparison.", highlight=False)
    for task in left:
        console.print(f"left: {task.name}", highlight=False, markup=False)
    if not left:
        console.print("Nothing is left.")
    elif any(task.cell.kind == "trial" for task in left):
        console.print("The runs of a method are known when its trials are done.")


def _check(comparison: Comparison, only: Sequence[str]) -> None:
    """Everything that is wrong is told before any work."""
    for name in only:
        if name not in comparison.methods:
            raise UsageError(
                f"--only: there is no method '{name}' in this comparison; it has {listed(comparison.methods)}."
                + nearest(name, comparison.methods)
            )
    check(comparison)
    names = [load_panel(path).name for path in comparison.panel_paths]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"panels: two of them are called '{twice}'; give one another name.")


def _forget(comparison: Comparison, cell: Cell) -> None:
    """Weights that no later task looks at."""
    if cell.kind == "trial":
        forget_model(cell.config.run_dir)
    elif not comparison.keep_models:
        left = pending(comparison, outcome_of(comparison))
        if not any(task.panel is not None and task.cell.key == cell.key for task in left):
            forget_model(cell.config.run_dir)
