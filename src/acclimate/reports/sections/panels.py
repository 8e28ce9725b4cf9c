"""What each set of a panel says: base, model, change and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import DRIFT, METRICS
from acclimate.runs.layout import PanelLayout
from acclimate.runs.panel import PanelFolder, damaged


@dataclass(frozen=True)
class Row:
    """One set and metric; the change's p is adjusted over all changes of the panel."""

    text_set: str
    role: str
    metric: str
    base: Estimate
    tuned: Estimate
    change: Estimate
    drift: Estimate | None  # KL(base || tuned) on the set

    @property
    def loss(self) -> float:
        """The change with its sign turned so that more is worse."""
        return -self.change.value if METRICS[self.metric].higher_is_better else self.change.value


def rows_of(panel: PanelFolder) -> list[Row]:
    """Of every set and metric that model and base each have.

    Raises:
        RunError: a record is none.
    """
    try:
        return _rows(panel.records)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(PanelLayout(panel.path).document, error) from None


def _rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    found = {(str(r["set"]), str(r["metric"]), str(r["run"])): r for r in records}
    rows = []
    compared = [name for name, metric in METRICS.items() if metric.paired]
    for name, metric in ((name, metric) for name, metric, run in found if run == "base" and metric in compared):
        base, tuned = (Estimate.from_record(found[name, metric, run]) for run in ("base", "model"))
        change = Estimate(tuned.value - base.value, n=tuned.n)  # of folders of before 2026-11-23 no more is known
        if record := found.get((name, f"{metric}_change", "model")):
            change = Estimate.from_record({**record, "p": record.get("p_holm")})
        drift = found.get((name, DRIFT, "model"))
        rows.append(
            Row(
                text_set=name,
                role=str(found[name, metric, "base"]["role"]),
                metric=metric,
                base=base,
                tuned=tuned,
                change=change,
                drift=Estimate.from_record(drift) if drift else None,
            )
        )
    return rows
