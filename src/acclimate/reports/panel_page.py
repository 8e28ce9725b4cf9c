"""A panel on any two models as a page: which sets a model lost on, and what could not have been seen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from acclimate.paired.estimate import ALPHA
from acclimate.paired.metrics import BITS, METRICS
from acclimate.reports.page import Block, Grid, Page, write_html
from acclimate.reports.pictures.dots import Dot, dots
from acclimate.reports.pictures.palette import slots_of
from acclimate.reports.pictures.picture import Numbers, Picture, plain
from acclimate.reports.sections.panels import Row, rows_of
from acclimate.reports.words import number
from acclimate.reports.words.answer import LOST
from acclimate.reports.words.names import joined, named
from acclimate.runs.panel import PanelFolder, read_panel
from acclimate.types.errors import RunError

POSSIBLE = {"bits/byte": "%", "share of items": "points"}
"""Units whose change is spoken of in percent of the base's own, or in points."""
Rows = Sequence[tuple[str, PanelFolder, Row]]  # model, its panel, one set


def write_panel_page(folders: Sequence[Path], output: Path, title: str | None = None) -> Path:
    """One page about one panel, measured on one model or several; each is held against its own base.

    Raises:
        RunError: a folder holds no panel, two were not asked the same, or the file cannot be written.
    """
    return write_html(panel_page([read_panel(folder) for folder in folders], title), output)


def panel_page(panels: Sequence[PanelFolder], title: str | None = None) -> Page:
    """The page of panels that asked the same."""
    first = panels[0]
    for other in panels[1:]:
        if other.digest != first.digest:
            raise RunError(
                f"'{first.path}' and '{other.path}' were not asked the same, so they do not stand on one page. Measure "
                "both on one panel file."
            )
    names = [panel.model for panel in panels]
    labels = [name if names.count(name) == 1 else str(panel.path) for name, panel in zip(names, panels, strict=True)]
    rows = [(label, panel, row) for label, panel in zip(labels, panels, strict=True) for row in rows_of(panel)]
    kind, word, said = _answer(rows)
    bases = dict.fromkeys(PurePosixPath(panel.base_path.replace("\\", "/")).name for panel in panels)
    return Page(
        eyebrow="acclimate panel",
        title=title or f"{joined(labels)} on {named(first.name)}",
        kind=kind,
        word=word,
        answer=said,
        notes=_notes(panels, list(bases)),
        blocks=[
            Block("Sets", grid=_grid(rows, len(panels) > 1), after=AFTER, numbers=[_numbers(rows)]),
            *_pictures(rows),
        ],
    )


AFTER = (
    "Change: model less base on the same items, with its 95 % interval. p is adjusted by Holm's method over all "
    "changes of one model's panel; below 0.05 (bold) the chance of any false claim in it is 5 %.",
    "Detectable: the smallest true change that such a set would find in 80 % of cases: no difference means no larger "
    "one. A base near chance has nothing to lose.",
)


def _answer(rows: Rows) -> tuple[str, str, str]:
    """Kind, word and sentence: worse, better, no loss as large as ``LOST``, or too little to tell."""
    if not rows:
        return "unknown", "Not measured", "No set has a number of both models."
    clear = [(label, row) for label, _, row in rows if row.change.p < ALPHA]
    worse = [f"{_of(label, rows)}{named(row.text_set)} {_spoken(row)}" for label, row in clear if row.loss > 0]
    better = [f"{_of(label, rows)}{named(row.text_set)} {_spoken(row)}" for label, row in clear if row.loss < 0]
    if worse:
        also = f" Better: {'; '.join(better)}." if better else ""
        return "forgot", "Worse", f"{'; '.join(worse)}, against its own base on the same items.{also}"
    bounded = all((bound := _worst(row)) is not None and bound < LOST for _, _, row in rows)
    none = "No set is clearly worse"
    if better:
        none = f"{none}, and better are {'; '.join(better)}"
    if bounded:
        return "kept", "Kept", f"{none}; on every set a loss of {LOST:g} points or percent is ruled out."
    return "unclear", "No clear loss", f"{none}, but on some a loss of {LOST:g} points or percent is not ruled out."


def _of(label: str, rows: Rows) -> str:
    return f"{named(label)} on " if len({label for label, *_ in rows}) > 1 else ""


def _spoken(row: Row) -> str:
    """The change, in points of items or in percent of the base's bits."""
    if METRICS[row.metric].name == BITS and row.base.value:
        return f"({number.change(100 * row.change.value / row.base.value)} bits per byte)"
    return f"({number.spelling(METRICS[row.metric].unit)[1](row.change.value)})"


def _worst(row: Row) -> float | None:
    """The largest loss that the interval holds, in points or percent; None where nothing bounds it."""
    unit = METRICS[row.metric].unit
    if unit not in POSSIBLE or not row.change.bounded:
        return None
    bound = -row.change.low if METRICS[row.metric].higher_is_better else row.change.high
    return 100 * bound / (row.base.value if unit == "bits/byte" else 1.0)


def _notes(panels: Sequence[PanelFolder], bases: Sequence[str]) -> list[str]:
    settings = panels[0].settings
    asked = ", ".join(f"{key}: {settings[key]}" for key in ("template", "sequence_length", "seed") if settings.get(key))
    held = f"Held against {joined(bases)}" if len(bases) == 1 else "Each is held against its own base"
    return [f"{held}. {asked}." if asked else f"{held}."]


def _grid(rows: Rows, several: bool) -> Grid:
    """The worst first, metric by metric."""
    order = list(METRICS)
    ranked = sorted(rows, key=lambda entry: (order.index(entry[2].metric), -entry[2].loss))
    chance = {panel.path: panel.chance for _, panel, _ in rows}
    flips = {panel.path: _flips(panel) for _, panel, _ in rows}
    cells = []
    for label, panel, row in ranked:
        metric = METRICS[row.metric]
        spell, signed = number.spelling(metric.unit)
        level = chance[panel.path].get(row.text_set) if metric.higher_is_better else None
        limits = number.interval(row.change, signed)
        cells.append([
            row.text_set, *([label] if several else []), metric.title or metric.label, number.count(row.tuned.n),
            number.NONE if level is None else number.share(level), spell(row.base.value), spell(row.tuned.value),
            signed(row.change.value) + (f" [{limits}]" if limits else ""),
            number.NONE if math.isnan(row.change.p) else number.probability(row.change.p),
            number.NONE if math.isinf(row.change.mde) else signed(row.change.mde).lstrip("+"),
            flips[panel.path].get(row.text_set, number.NONE) if metric.higher_is_better else number.NONE,
            number.NONE if row.drift is None else number.nats(row.drift.value),
        ])  # fmt: skip
    head = ["set", *(["model"] if several else []), "metric", "items", "chance", "base", "model" if not several else
            "tuned", "change", "p (Holm)", "detectable", "lost, won", "KL, nats/token"]  # fmt: skip
    claimed = frozenset(at for at, (*_, row) in enumerate(ranked) if row.change.p < ALPHA)
    return Grid(head, cells, words=(0, 1, 2) if several else (0, 1), claimed=claimed)


def _flips(panel: PanelFolder) -> dict[str, str]:
    """Set -> how many answers were lost and won."""
    lost = Counter(flip.text_set for flip in panel.flips if flip.lost)
    won = Counter(flip.text_set for flip in panel.flips if not flip.lost)
    return {name: f"{lost[name]}, {won[name]}" for name in {*lost, *won}}


def _pictures(rows: Rows) -> list[Block]:
    """The changes of each metric, sets by their worst."""
    slots = slots_of(dict.fromkeys((label for label, *_ in rows), ""))
    drawn: list[Picture] = []
    for metric in METRICS.values():
        own = sorted((entry for entry in rows if entry[2].metric == metric.name), key=lambda entry: -entry[2].loss)
        if not own or not metric.words:
            continue
        share = metric.unit.startswith("share")
        rank: dict[str, int] = {}
        for at, (*_, row) in enumerate(own):
            rank.setdefault(row.text_set, at)
        own.sort(key=lambda entry: rank[entry[2].text_set])
        items = [
            Dot(label, slots[label], row.change.scaled(100.0 if share else 1.0), {0: 0.0}, row=row.text_set)
            for label, _, row in own
        ]
        worse = "left" if metric.higher_is_better else "right"
        axis = f"change in {metric.words}{', points' * share} (to the {worse}: worse)"
        spell = number.tenth if share else number.spelling(metric.unit)[1]
        title = f"What became of {metric.label}?"
        drawn.append(dots(f"panel-{metric.name.replace('_', '-')}", title, items, axis, spell, at_zero=True))
    return [Block("Changes", pictures=drawn)] if drawn else []


def _numbers(rows: Rows) -> Numbers:
    columns = ("model", "set", "role", "metric", "n", "base", "tuned", "change", "low (95 %)", "high (95 %)",
               "p (Holm)", "minimum detectable effect", "KL(base‖tuned), nats/token")  # fmt: skip
    cells = tuple(
        (label, row.text_set, row.role, row.metric, str(row.tuned.n),
         *map(plain, (row.base.value, row.tuned.value, row.change.value, row.change.low, row.change.high, row.change.p,
                      row.change.mde, row.drift.value if row.drift else None)))
        for label, _, row in rows
    )  # fmt: skip
    return Numbers("panel", columns, cells)
