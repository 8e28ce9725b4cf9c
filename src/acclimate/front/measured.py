"""What was measured of a model and its base: scores by document or item, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from acclimate.gates.verdict import Judged
from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import METRICS, Metric
from acclimate.types.errors import UsageError, listed, nearest
from acclimate.types.notebook import html_table

COLUMNS = ("set", "metric", "base", "model", "change", "95 % interval", "p", "n")


@dataclass(frozen=True)
class Line:
    """One metric of one set. ``change`` is from the base, ``value`` the model's own; a metric that compares the two
    models already has no change."""

    set: str
    role: str
    metric: str
    unit: str
    value: Estimate
    base: Estimate | None
    change: Estimate | None


@dataclass(frozen=True)
class Measured:
    """What ``acclimate.measure`` found; a notebook shows it as a table, and ``acclimate.gate`` judges it.

    Args:
        name: of the model.
        judged: scores of every set, by document or item.
        notes: what a reader must know.
    """

    name: str
    judged: tuple[Judged, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Every metric of every set."""
        return tuple(line for one in self.judged for line in _lines(one))

    def change(self, set_name: str, metric: str = "bits_per_byte") -> Estimate:
        """The change from the base on one set, paired over its documents or items; of a metric that compares the two
        models already (a KL, an agreement) its value.

        Raises:
            UsageError: nothing of that name was measured.
        """
        own = {line.metric: line for line in self.lines if line.set == set_name}
        if not own:
            names = [one.name for one in self.judged]
            raise UsageError(f"There is no set '{set_name}'; measured: {listed(names)}.{nearest(set_name, names)}")
        if metric not in own:
            raise UsageError(f"'{set_name}' has no metric '{metric}'; it has {listed(own)}.{nearest(metric, own)}")
        line = own[metric]
        return line.value if line.change is None else line.change

    def __str__(self) -> str:
        rows = [COLUMNS, *self._cells()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_table(COLUMNS, self._cells(), [f"{self.name} and its base", *self.notes])

    def _cells(self) -> list[Sequence[str]]:
        return [_cells(line) for line in self.lines]


def _lines(one: Judged) -> Iterator[Line]:
    for metric in METRICS.values():
        if one.scores.keys() >= set(metric.columns):
            value, base = _value(metric, metric.above, one.scores), None
            if value is None:
                continue
            change = metric.change(one.scores) if metric.paired else None
            if isinstance(metric.base, str):
                base = _value(metric, metric.base, one.scores)
            yield Line(one.name, one.role, metric.name, metric.unit, value, base, change)


def _value(metric: Metric, column: str, scores: Mapping[str, object]) -> Estimate | None:
    groups = scores["group"].astype(int) if "group" in scores else None  # type: ignore[attr-defined]
    below = None if metric.below is None else scores[metric.below]
    return metric.value(scores[column], below, groups)  # type: ignore[arg-type]


def _cells(line: Line) -> Sequence[str]:
    found = line.value if line.change is None else line.change
    interval = f"{found.low:.4f} to {found.high:.4f}" if found.bounded else "too few"
    p = f"{found.p:.2g}" if line.change is not None and not math.isnan(found.p) else ""
    base = "" if line.base is None else f"{line.base.value:.4f}"
    change = "" if line.change is None else f"{line.change.value:+.4f}"
    return (
        line.set,
        f"{line.metric} [{line.unit}]",
        base,
        f"{line.value.value:.4f}",
        change,
        interval,
        p,
        str(found.n),
    )
