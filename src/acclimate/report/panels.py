"""What each set of a panel says: base, model, change and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.paired.estimate import Estimate
from acclimate.runs.layout import PanelLayout
from acclimate.runs.panel import PanelFolder, damaged

HEADLINES = ("accuracy", "accuracy_norm", "word_nats", "bits_per_byte")
"""Metrics that model and base each have, so that there is a change."""
LOWER_IS_BETTER = ("word_nats", "bits_per_byte")
DRIFT = "kl_base_tuned"


@dataclass(frozen=True)
class Row:
    """One set and metric; ``p_holm`` is adjusted over all changes of the panel."""

    text_set: str
    role: str
    metric: str
    base: Estimate
    tuned: Estimate
    change: Estimate
    p_holm: float | None
    drift: Estimate | None  # KL(base || tuned) on the set

    @property
    def loss(self) -> float:
        """The change with its sign turned so that more is worse."""
        return self.change.value if self.metric in LOWER_IS_BETTER else -self.change.value


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
    for name, metric in ((name, metric) for name, metric, run in found if run == "base" and metric in HEADLINES):
        base, tuned = (Estimate.from_record(found[name, metric, run]) for run in ("base", "model"))
        change, drift = found.get((name, f"{metric}_change", "model")), found.get((name, DRIFT, "model"))
        rows.append(
            Row(
                text_set=name,
                role=str(found[name, metric, "base"]["role"]),
                metric=metric,
                base=base,
                tuned=tuned,
                # in folders of before 2026-11-23 there is only the difference
                change=Estimate.from_record(change) if change else Estimate(tuned.value - base.value, n=tuned.n),
                p_holm=None if change is None or change.get("p_holm") is None else float(change["p_holm"]),
                drift=Estimate.from_record(drift) if drift else None,
            )
        )
    return rows
