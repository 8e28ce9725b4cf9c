"""The forgetting budget of each run: what was asked, what became of it, and what was spent where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.picture import Numbers, plain
from acclimate.reports.words import number
from acclimate.reports.words.names import joined, named
from acclimate.runs.folder import RunFolder

MEAN = "mean"


@dataclass(frozen=True)
class Spent:
    """One limit, or one set of a limit that holds for the mean."""

    text_set: str
    measure: Estimate
    limit: float | None
    spell: number.Spelling

    @property
    def words(self) -> str:
        limits = number.interval(self.measure, self.spell)
        return f"{self.spell(self.measure.value)} ({limits})" if limits else self.spell(self.measure.value)

    @property
    def part(self) -> str:
        return number.share(self.measure.value / self.limit) if self.limit else ""


@dataclass(frozen=True)
class Budgeted:
    """A run with a budget."""

    run: Run
    folder: RunFolder
    asked: str
    outcome: str
    says: str
    helps: tuple[str, ...]
    spent: tuple[Spent, ...]
    strength: str
    exceeded: tuple[int, ...]
    rolled_back: tuple[int, ...]


def budgeted(data: ReportData) -> list[Budgeted]:
    """Those runs that have one, each seed by itself: it has an outcome of its own."""
    return [_read(run, seed, seed.retain) for run in data.runs for seed in run.seeds if seed.retain is not None]


def spent_numbers(items: list[Budgeted]) -> Numbers:
    """What was spent, as a file."""
    rows = tuple(
        (item.run.label, str(item.folder.seed), item.outcome, one.text_set, plain(one.measure.value),
         plain(one.measure.low), plain(one.measure.high), plain(one.limit))
        for item in items for one in item.spent
    )  # fmt: skip
    columns = ("run", "seed", "outcome", "set", "measured", "low (95 %)", "high (95 %)", "limit")
    return Numbers("budget", columns, rows)


def spelling(metric: str) -> number.Spelling:
    """How a value of a budget is written."""
    return (lambda value: number.change(100 * value, 2)) if metric == BITS else number.nats


def endings(data: ReportData) -> list[str]:
    """A sentence for each run that ended before its budget of steps was spent."""
    found = []
    for folder in data.folders:
        ended = folder.provenance.get("ended")
        if isinstance(ended, Mapping) and ended.get("why"):
            found.append(f"{folder.name}: {ended['why']}")
    return found


def _read(run: Run, folder: RunFolder, record: Mapping[str, Any]) -> Budgeted:
    metric, limits = str(record.get("metric", "")), record.get("limits") or {}
    spell, strength = spelling(metric), record.get("strength") or {}
    spent = tuple(
        Spent(name, Estimate.from_record({"n": 0, "low": None, "high": None, **row}), row.get("limit"), spell)
        for name, row in (record.get("sets") or {}).items()
    )
    return Budgeted(
        run=run,
        folder=folder,
        asked=_asked(metric, limits),
        outcome=str(record.get("outcome", "")),
        says=str(record.get("says", "")).removeprefix(f"retain: {record.get('outcome', '')}. "),
        helps=tuple(map(str, record.get("helps") or ())),
        spent=spent,
        strength=_strength(strength),
        exceeded=tuple(record.get("exceeded") or ()),
        rolled_back=tuple(record.get("rolled_back") or ()),
    )


def _asked(metric: str, limits: Mapping[str, float]) -> str:
    """``KL(base‖tuned) at most 0.050 nats/token, as a mean over held-out sets``."""
    spell = spelling(metric)
    what, unit = ("bits per byte up by", "") if metric == BITS else ("KL(base‖tuned)", " nats/token")
    if set(limits) == {MEAN}:
        return f"{what} at most {spell(limits[MEAN])}{unit}, as a mean over held-out sets"
    each = joined(f"{named(name)} {spell(limit)}" for name, limit in limits.items())
    return f"{what} at most, in{unit or ' percent'}: {each}"


def _strength(strength: Mapping[str, Any]) -> str:
    if "last" not in strength:
        return number.NONE
    bound = {strength.get("low"): ", its least", strength.get("high"): ", its largest"}.get(strength["last"], "")
    return f"{number.significant(float(strength['last']))}{bound}"
