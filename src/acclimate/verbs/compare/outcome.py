"""What is known of a comparison so far: its rows, the chosen settings, and where every method stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from acclimate.runs.cells import Row, read_table
from acclimate.types.errors import RunError
from acclimate.types.notebook import html_table
from acclimate.verbs.compare.cell import Cell, run_cell, trial_cells
from acclimate.verbs.compare.schema import Comparison, Settings
from acclimate.verbs.compare.standing import Measured, Standing, standings
from acclimate.verbs.compare.tuning import choose
from acclimate.verbs.panel import load_panel, panel_digest

APART = ("prepared.", "panel.")
"""Beginnings of digests in which rows of one table may differ."""


COLUMNS = ("method", "seeds", "domain gain [%]", "drift [nats/token]", "loss elsewhere [%]")


@dataclass(frozen=True)
class Outcome:
    """The rows of the table that belong to the comparison as it is written now."""

    comparison: Comparison
    rows: tuple[Row, ...]

    @cached_property
    def standings(self) -> list[Standing]:
        return standings(self.rows, list(self.comparison.methods))

    def _repr_html_(self) -> str:
        """A line a method, with 95 % intervals over documents and seeds."""
        rows = [
            (one.method, str(len(one.rows)), _cell(one.gain, 100), _cell(one.drift, 1), _cell(one.loss, 100))
            for one in self.standings
        ]
        return html_table(COLUMNS, rows)

    def trial(self, method: str) -> Row | None:
        """The chosen one."""
        trials = [row for row in self.rows if row.kind == "trial" and row.method == method]
        return choose(trials, self.comparison.tuning) if trials else None

    def chosen(self, method: str) -> Settings:
        """What tuning chose, on top of what the method sets."""
        trial = self.trial(method)
        return trial.settings if trial is not None else {}

    def settings(self, method: str) -> Settings:
        return self.comparison.methods[method].set | self.chosen(method)

    def measured(self, method: str) -> list[Row]:
        """Its finished runs, and panels on them."""
        found = [row for row in self.rows if row.method == method and row.outcome == "finished" and row.kind != "trial"]
        return sorted(found, key=lambda row: (row.seed, row.kind != "run"))

    @property
    def diverged(self) -> list[str]:
        """Methods all of whose runs diverged, or all of whose trials, where there is no run yet."""
        found = []
        for method in self.comparison.methods:
            own = [row for row in self.rows if row.method == method and row.kind != "panel"]
            deciding = [row for row in own if row.kind == "run"] or own
            if deciding and all(row.outcome == "diverged" for row in deciding):
                found.append(method)
        return found


def _cell(found: Measured | None, factor: float) -> str:
    if found is None:
        return ""
    scaled = found.estimate.scaled(factor)
    return f"{scaled.value:.3f}" + (f" ({scaled.low:.3f} to {scaled.high:.3f})" if scaled.bounded else "")


def outcome_of(comparison: Comparison) -> Outcome:
    """Reads the table; rows of settings that the comparison no longer names are left aside.

    Raises:
        RunError: a line is no row, or rows are of different bases, documents or panels.
    """
    rows = read_table(comparison.table_path)
    trials = {cell.key for method in comparison.methods for cell in trial_cells(comparison, method)}
    kept = [row for row in rows if row.kind == "trial" and row.key in trials]
    for method in comparison.methods:
        chosen = Outcome(comparison, tuple(row for row in kept if row.method == method)).chosen(method)
        runs = {cell.key: cell for seed in comparison.seeds for cell in [run_cell(comparison, method, chosen, seed)]}
        own = [row for row in rows if row.kind != "trial" and row.key in runs]
        for row in own:
            _check_prepared(comparison, row, runs[row.key])
        kept += own
    _check_panels(comparison, kept)
    _check_alike(comparison, kept)
    return Outcome(comparison, tuple(row for row in rows if row in kept))


def _check_prepared(comparison: Comparison, row: Row, cell: Cell) -> None:
    """What a row learned from may be prepared otherwise by now, with the row's own settings as they were."""
    for name, now in cell.prepared.items():
        if row.digests.get(name, now) != now:
            raise RunError(
                f"The table '{comparison.table_path}' has {row.kind} {cell.name} with another {name.split('.')[1]} "
                f"than '{comparison.run}' and prepare: make now; set these back, or give this comparison a table of "
                "its own."
            )


def _check_panels(comparison: Comparison, rows: Sequence[Row]) -> None:
    for panel in comparison.panel_paths:
        now, name = panel_digest(panel), load_panel(panel).name
        if now is None:
            continue
        measured = [row.digests for row in rows if row.digests.get("panel.name") == name]
        if any(digests.get("panel.file", now) != now for digests in measured):
            raise RunError(
                f"The panel '{panel}', or a file that it names, is another one than rows of the table "
                f"'{comparison.table_path}' were measured with; set it back, or give it another name:."
            )


def _check_alike(comparison: Comparison, rows: Sequence[Row]) -> None:
    """Rows of other models, documents or items do not belong in one table."""
    seen: dict[str, tuple[str, Row]] = {}
    for row in rows:
        found = {name: digest for name, digest in row.digests.items() if not name.startswith(APART)}
        if "base" in found:
            found.setdefault("start", found["base"])  # unless training started from another model
        if "panel" in found:
            found[f"panel '{row.digests['panel.name']}'"] = found.pop("panel")
        for name, scores in row.texts.items():
            found[f"{row.kind}:{name}"] = repr((scores.role, scores.bytes, len(scores.nats)))
        for what, digest in found.items():
            name = f"{what} of trials" if row.kind == "trial" else what
            before, first = seen.setdefault(name, (digest, row))
            if before != digest:
                raise RunError(
                    f"The table '{comparison.table_path}' has rows that do not compare: {what.split(':')[-1]} is "
                    f"another one for {row.method}, seed {row.seed}, than for {first.method}, seed {first.seed}; "
                    "give this comparison a table of its own."
                )
