"""How `method: auto` chose the setting: its probes, as table and picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.paired.estimate import Estimate
from acclimate.reports.collect import ReportData
from acclimate.reports.pictures.palette import FIXED, SLOTS, Slot
from acclimate.reports.pictures.pareto import Point, pareto
from acclimate.reports.pictures.picture import Numbers, Picture, plain
from acclimate.reports.words import number
from acclimate.reports.words.names import named
from acclimate.runs.layout import Layout, read_json


@dataclass(frozen=True)
class Line:
    """A probe."""

    says: str
    steps: int
    cells: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True)
class Searched:
    """A run whose setting was chosen."""

    run: str
    says: str
    cost: str
    lines: tuple[Line, ...]
    numbers: Numbers
    pictures: tuple[Picture, ...]
    untried: tuple[str, ...]


def searched(data: ReportData) -> list[Searched]:
    """Of every run folder that holds a search which has chosen."""
    found: list[Searched] = []
    for folder in data.folders:
        if (record := record_of(folder.path)) is not None:
            found.append(_searched(f"search-{len(found)}", folder.name, record))
    return found


def record_of(run_dir: Path) -> dict[str, Any] | None:
    """``search.json`` of a run whose setting was chosen, or None."""
    path = Layout(run_dir).searched
    return read_json(path) if path.is_file() else None


def sentence(record: Mapping[str, Any]) -> str:
    """For the card: that the setting was chosen, among how many, at which cost."""
    probes = [probe for rung in record["rungs"] for probe in rung["probes"]]
    part = record["forwards"]["spent"] / max(1, record["forwards"]["run"])
    return (
        f"The setting was chosen by method: auto among {len(probes)} short runs, which took {part:.2f} times the "
        f"forwards of one run as configured. {record['says']}"
    )


def _searched(slug: str, run: str, record: Mapping[str, Any]) -> Searched:
    lines: list[Line] = []
    rows: list[tuple[str, ...]] = []
    points: list[Point] = []
    for rung in record["rungs"]:
        for probe in rung["probes"]:
            chosen = probe["name"] == record["name"]
            lines.append(Line(probe["says"], rung["steps"], _cells(probe), chosen))
            rows.append(_row(probe, rung["steps"], chosen))
    last = record["rungs"][-1]["probes"]
    for probe in last:
        if probe["outcome"] == "finished":
            name = _label(probe)
            slot = Slot(FIXED.get(name.split()[0], 4 + len(points) % (SLOTS - 3)))
            points.append(Point(name, slot, Estimate(probe["gain_percent"]), Estimate(probe["spent"])))
    title = f"What did probes of {record['rungs'][-1]['steps']} steps gain, and how much of the budget did they spend?"
    picture = pareto(
        f"{slug}-picture", title, points, "domain gain, % fewer bits per byte", "part of the budget\n(1 is all of it)"
    )
    forwards = record["forwards"]
    cost = (
        f"All probes together took {number.count(forwards['spent'])} forwards of at most "
        f"{number.count(forwards['promised'])} foreseen; one run as configured takes {number.count(forwards['run'])}."
    )
    columns = ("probe", "steps", "gain_percent", "spent", "held_gain_percent", "forward_tokens", "chosen")
    untried = tuple(f"{one['says']} ({one['why']})" for one in record["untried"])
    return Searched(
        named(run), record["says"], cost, tuple(lines), Numbers(slug, columns, tuple(rows)),
        (picture,) if points else (), untried,
    )  # fmt: skip


def _cells(probe: Mapping[str, Any]) -> tuple[str, ...]:
    """Gain, part of the budget, gain within it, forwards."""
    if probe["outcome"] != "finished":
        return (probe["outcome"], number.NONE, number.NONE, number.NONE)
    return (
        f"{probe['gain_percent']:.1f} %",
        f"{probe['spent']:.2f}",
        f"{probe['held_gain_percent']:.1f} %",
        number.count(probe["forward_tokens"]),
    )


def _row(probe: Mapping[str, Any], steps: int, chosen: bool) -> tuple[str, ...]:
    values = (probe[key] for key in ("gain_percent", "spent", "held_gain_percent", "forward_tokens"))
    return (probe["says"], str(steps), *map(plain, values), "yes" if chosen else "no")


def _label(probe: Mapping[str, Any]) -> str:
    """Short: the method, an adapter, the learning rate."""
    method = probe["method"] if isinstance(probe["method"], str) else probe["method"]["name"]
    adapter = " LoRA" if probe["lora"] is not None else ""
    return f"{method}{adapter} {probe['learning_rate']:g}"
