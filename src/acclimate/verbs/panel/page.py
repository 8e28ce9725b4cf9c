"""A panel's result as files, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acclimate.measurement.measure import POSITIONS
from acclimate.measurement.summary import Record
from acclimate.model.pair import Pair
from acclimate.paired.metrics import BITS, METRICS, known
from acclimate.reports.words import number
from acclimate.runs.layout import PanelLayout
from acclimate.runs.panel import save_panel
from acclimate.runs.provenance import versions
from acclimate.types.errors import UsageError
from acclimate.verbs.panel.evaluate import PanelResult


def title(metric: str) -> str:
    """What a table of a panel calls a metric; a task's own metric by its name."""
    found = known(metric)
    return found.title or found.label


INTERVAL = "95 % interval"
NAME = 9
"""Characters of a name at least before it is folded."""
_BUCKETS = [f"{first}-{after - 1}" for first, after in pairwise(POSITIONS)] + [f"{POSITIONS[-1]}+"]


def check_output(folder: Path) -> None:
    """A folder that is new, empty, or holds an earlier panel."""
    if folder.exists() and not (
        folder.is_dir() and (PanelLayout(folder).document.is_file() or not any(folder.iterdir()))
    ):
        raise UsageError(f"--output: '{folder}' holds something that is no panel; give a new folder.")


def write_panel(folder: Path, pair: Pair, result: PanelResult) -> None:
    """What was measured on what, its numbers, and every item."""
    check_output(folder)
    save_panel(folder, {name: found.items for name, found in result.sets.items()}, document(pair, result))


def document(pair: Pair, result: PanelResult) -> dict[str, Any]:
    """Plain data: identity, counts and records."""
    sets = {
        name: {
            "kind": found.section.kind,
            "role": found.section.role,
            "digest": found.digest,
            "items": len(found.items),
            "dropped": found.dropped,
            "truncated": found.truncated,
            "unread": found.unread,
        }
        | ({"task": found.task} if found.task else {})
        for name, found in result.sets.items()
    }
    panel = result.panel
    settings = {"name": panel.name, "digest": result.digest, "template": panel.template, "thinking": panel.thinking}
    return {
        "panel": settings | {"seed": panel.seed, "sequence_length": panel.sequence_length, "overlap": panel.overlap},
        **pair.identity,
        "notes": pair.said(panel.template == "chat"),
        "versions": versions(),
        "sets": sets,
        "averages": result.averages,
        "records": result.records,
    }


def panel_tables(result: PanelResult, name: str) -> Group:
    """Base, model and the paired change of every set, then drift, as a whole and by position."""
    changes = _table(Text(f"{name} and its base"), ("n", "base", "model", "change", INTERVAL, "MDE", "p"))
    drift = _table(Text("drift, in all and by position of the token in its text"), ("n", "all", *_BUCKETS))
    for set_name, found in result.sets.items():
        values = {(record["metric"], record["run"]): record for record in found.records}
        for (metric, side), tuned in values.items():
            metric_title, base = Text(title(metric)), values.get((metric, "base"))
            if base and side == "model":
                cells = _change(base["value"], tuned["value"], values[f"{metric}_change", "model"], known(metric).unit)
                changes.add_row(Text(set_name), metric_title, *cells)
            elif metric in METRICS and not METRICS[metric].paired:
                buckets = {bucket["first"]: f"{bucket['value']:.4f}" for bucket in tuned.get("positions", ())}
                cells = [str(tuned["n"]), f"{tuned['value']:.4f}", *(buckets.get(first, "") for first in POSITIONS)]
                drift.add_row(Text(set_name), metric_title, *cells)
    for role, mean in result.averages.items():
        cells = _change(mean["base"], mean["model"], mean["change"], known(BITS).unit)
        changes.add_row(Text(f"mean of {role} texts", style="bold"), title(BITS), *cells)
    return Group(changes, drift, Text(_caption(result), style="italic"))


def _table(title: Text, numbers: Sequence[str]) -> Table:
    """Numbers are never cut off: names and intervals take more lines instead."""
    table = Table(pad_edge=False, collapse_padding=True, header_style="bold", box=box.SIMPLE_HEAD, title=title)
    for column in ("set", "metric"):
        table.add_column(column, overflow="fold", min_width=NAME)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=column != INTERVAL)
    return table


def _change(base: float, model: float, change: Record, unit: str) -> list[str]:
    """Where nothing shows, the MDE says what would have."""
    spell, signed = number.spelling(unit)
    cells = [str(change["n"]), spell(base), spell(model), signed(change["value"])]
    if change["low"] is None:
        return [*cells, "too few"]
    p = number.probability(change["p_holm"]) if "p_holm" in change else ""
    low, high, mde = (
        "" if (value := change[key]) is None else signed(value).removesuffix("\u00a0points")
        for key in ("low", "high", "mde")
    )
    return [*cells, f"{low} to {high}", mde.lstrip("+"), p]


def _caption(result: PanelResult) -> str:
    notes = ["KL and entropy in nats/token", "p by Holm's method", f"template: {result.panel.template}"]
    notes += [f"thinking: {result.panel.thinking}"] if result.panel.thinking else []
    for name, found in result.sets.items():
        notes += [f"{name}: {count} left out ({reason})" for reason, count in found.dropped.items()]
        notes += [f"{name}: {found.truncated} contexts lost their beginning"] if found.truncated else []
        if found.unread:
            notes.append(f"{name}: not read: {', '.join(f'{field!r} ({n})' for field, n in found.unread.items())}")
    return "; ".join(notes)
