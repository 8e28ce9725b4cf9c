"""The table of a comparison as readings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from acclimate.config.load import RunConfig
from acclimate.runs.cells import SUMS, Row, read_table
from acclimate.types.errors import RunError, UsageError
from acclimate.verbs.planning.reading.folders import outcomes
from acclimate.verbs.planning.reading.readings import CONTROL, Reading, Readings, alike, check_one
from acclimate.verbs.planning.reading.settings import method_of, role_of, weight_of

RATE = "optimizer.learning_rate"
WHOLE = (".yaml", ".yml")


@dataclass(frozen=True)
class Entry:
    """A row, and the configuration that made it where that is known."""

    row: Row
    config: RunConfig | None
    reading: Reading


def read_comparison(path: Path) -> Readings:
    """Rows of a comparison's table, ``NAME.jsonl``, or of the YAML file that it belongs to.

    The YAML file knows method and learning rate of each row. A table alone has them only where they were tuned, and
    calls methods by their names in the comparison.

    Raises:
        RunError, ConfigError: the file is missing or damaged, or holds no finished row.
        UsageError: rows of another base or of other held-out text.
    """
    entries, left = _of_file(path) if path.suffix in WHOLE else ([_alone(row) for row in _rows(path)], 0)
    notes = [f"Left out: {left} rows of '{path}' that the file, as it is written now, would not train."] if left else []
    steered = [entry for entry in entries if "retain" in entry.row.made]
    if steered:
        notes.append(
            f"Left out: {len(steered)} rows whose strength was moved to meet a budget, so their drift tells the budget."
        )
    entries = [entry for entry in entries if entry not in steered]
    diverged = [entry for entry in entries if entry.row.outcome == "diverged"]
    if diverged:
        notes.append(f"Left out: {len(diverged)} runs that diverged, among them {diverged[0].reading.run}.")
    entries = [entry for entry in entries if entry not in diverged]
    if not entries:
        raise RunError(f"The table '{path}' has no finished run to plan from. {' '.join(notes)}".rstrip())
    kept, said = _on_one_text(entries)
    kept = _briefly_called(kept)
    _check(kept, path)
    configs = {entry.reading.run: entry.config for entry in kept if entry.config is not None}
    return Readings(tuple(entry.reading for entry in kept), configs=configs, notes=(*notes, *said))


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise RunError(f"There is no table '{path}'.")
    return [row for row in read_table(path) if row.kind != "panel"]


def _alone(row: Row) -> Entry:
    rate = row.settings.get(RATE, math.nan)
    roles = {name: text.role for name, text in row.texts.items()}
    return Entry(row, None, _reading(row, row.method, float(rate), 1.0, roles))


def _of_file(path: Path) -> tuple[list[Entry], int]:
    """Rows that the comparison, as it is written now, trains; and how many it does not."""
    from acclimate.verbs.compare import load_comparison
    from acclimate.verbs.compare.cell import run_cell, trial_cells

    comparison = load_comparison(path)
    rows = [row for row in _rows(comparison.table_path) if row.method in comparison.methods]
    trials = {cell.key: cell for method in comparison.methods for cell in trial_cells(comparison, method)}
    found, left = [], 0
    for row in rows:
        cell = trials.get(row.key)
        if row.kind == "run":
            cell = run_cell(comparison, row.method, dict(row.settings), row.seed)
        if cell is None or cell.key != row.key:
            left += row.kind == "run"
            continue
        config = cell.config
        roles = {name: role_of(config, name) for name in row.tokens}
        reading = _reading(row, method_of(config), config.optimizer.learning_rate, weight_of(config), roles)
        found.append(Entry(row, config, reading))
    return found, left


def _reading(row: Row, method: str, rate: float, weight: float, roles: Mapping[str, str]) -> Reading:
    tokens = sum(row.tokens.values())
    domain = sum(n for name, n in row.tokens.items() if roles.get(name) == "domain")
    sets = {name: (text.role, {key: text.column(key) for key in SUMS}) for name, text in row.texts.items()}
    gain, drift = outcomes(sets)
    label = f"{row.method}, seed {row.seed}, {row.kind} {row.key[:8]}"
    share = domain / tokens if tokens else math.nan
    return Reading(label, method, domain, share, rate, weight, gain, drift, row.seed, column=row.method)


def _on_one_text(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Runs or trials, whichever tried more settings: trials are measured on documents of their own."""
    tried: dict[str, list[Reading]] = {"run": [], "trial": []}
    for entry in entries:
        seen = tried[entry.row.kind]
        one = entry.reading
        if one.method != CONTROL and not any(one.method == other.method and alike(one, other) for other in seen):
            seen.append(one)
    kind = "trial" if len(tried["trial"]) > len(tried["run"]) else "run"
    count = Counter[str](entry.row.kind for entry in entries)
    other = "run" if kind == "trial" else "trial"
    said = [f"Left out: {count[other]} {other}s, which were measured on other documents."] if count[other] else []
    return [entry for entry in entries if entry.row.kind == kind], said


def _briefly_called(entries: list[Entry]) -> list[Entry]:
    """Labels without the cell's key, where the rest tells them apart."""
    brief = [f"{entry.row.method}, seed {entry.row.seed}" for entry in entries]
    if len(set(brief)) < len(brief):
        return entries
    return [replace(e, reading=replace(e.reading, run=name)) for e, name in zip(entries, brief, strict=True)]


def _check(entries: list[Entry], path: Path) -> None:
    bases = {entry.reading.run: entry.row.digests.get("base", "") for entry in entries}
    check_one(bases, "base", f"give each base a table of its own; '{path}' mixes them.")
    for name in dict.fromkeys(name for entry in entries for name in entry.row.texts):
        sizes = {e.reading.run: repr(e.row.texts[name].bytes) for e in entries if name in e.row.texts}
        if len(set(sizes.values())) > 1:
            raise UsageError(
                f"'{path}': rows were measured on other held-out text of '{name}', so their numbers are not on one "
                "scale; give each text a table of its own."
            )
