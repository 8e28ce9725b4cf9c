"""The tables and the picture of benchmarks/2026-11-30-forecast.md, from the committed tables of finished cells.

    python -m benchmarks.forecast [--write PAGE]

Without --write they are printed; with it they stand between the two marks of the page, and docs/pictures/forecast.svg
is drawn anew. Nothing is trained; the same rows give the same bytes.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.forecast_fit import Table, forecasts, line, partial, pooled, within
from benchmarks.forecast_rows import BUDGETS, STORES, TABLES, Observation, Run, observations, runs
from benchmarks.result_page import write_or_print
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from acclimate.disk.files import write_text
from acclimate.reports.pictures.palette import Slot, slots_of
from acclimate.reports.pictures.svg import MUTED, colour, draw, standalone

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "forecast.svg"
CANDIDATES = ("domain KL", "seen-kind drift", "other unseen text", "the base's answers", "gain", "learning rate")
TURNED_AWAY = ("dft", "talr", "stm", "asft")
"""Methods that turn the loss away from what surprises the model."""
FACTOR = 2.0


def tables() -> str:
    found = runs(TABLES)
    every = {name: Table(observations(found, name)) for name in CANDIDATES}
    parts = [
        candidates(every),
        in_parts(every["domain KL"].seen),
        on_the_same_rows(found),
        left_out(every),
        added(found),
        exchange(every["domain KL"].seen),
        exceptions(every),
        apart(found, every["domain KL"]),
    ]
    if "--write" in sys.argv:
        write_text(PICTURE, picture(every["domain KL"].seen))
    return "\n\n".join(parts)


def candidates(every: dict[str, Table]) -> str:
    head = ["", "observations", "trainings", "families", "columns", "slope", "R²", "Spearman", "pooled: slope", "R²"]
    text = (
        "### Each number by itself\n\nColumns: those that compare two or more families. Spearman: of ranks within "
        "columns. The base's answers were added after the prediction.\n\n"
    )
    own = Table([one for one in every["learning rate"].seen if one.run.family == "sft"])
    rows = [[name, *_fitted(table)] for name, table in every.items()]
    return text + grid(head, [*rows, ["learning rate, sft's runs", *_fitted(own)]])


def in_parts(seen: Sequence[Observation]) -> str:
    """Where domain KL forecasts, and where it does not."""
    beside = {one.column for one in seen if not one.run.alone}
    alone = [one for one in seen if one.run.alone]
    mixed = [one for one in seen if one.column in beside]
    rows = []
    for name, own in (
        ("runs on the domain alone", alone),
        ("the same without dft, talr, stm, asft", [one for one in alone if one.run.family not in TURNED_AWAY]),
        ("columns with runs that saw general text", mixed),
        ("the same without dft, talr, stm, asft", [one for one in mixed if one.run.family not in TURNED_AWAY]),
        ("runs that saw general text", [one for one in seen if not one.run.alone]),
    ):
        rows.append([name, *_fitted(Table(own))])
    for table in dict.fromkeys(one.run.table for one in seen):
        rows.append([f"table {table}", *_fitted(Table([one for one in seen if one.run.table == table]))])
    head = ["", "observations", "trainings", "families", "columns", "slope", "R²", "Spearman", "pooled: slope", "R²"]
    return "### Domain KL in parts\n\n" + grid(head, rows)


def on_the_same_rows(found: Sequence[Run]) -> str:
    """Two candidates on the observations that have both."""
    lines = []
    for other in ("seen-kind drift", "other unseen text", "the base's answers", "gain", "learning rate"):
        both = _matched(found, ("domain KL", other))
        mine, theirs = (within(Table(side)) for side in both)
        lines.append([other, str(len(both[0])), theirs[1].text, mine[1].text, theirs[2].text, mine[2].text])
    head = ["candidate", "observations", "its R²", "domain KL's R²", "its Spearman", "domain KL's Spearman"]
    return "### On the same observations\n\n" + grid(head, lines)


def left_out(every: dict[str, Table]) -> str:
    """Families foretold from the others."""
    alone = Table([one for one in every["domain KL"].seen if one.run.alone])
    rows = []
    for known, where in ((True, "known"), (False, "new")):
        for name, table in every.items():
            rows.append([name, where, *forecasts(table, known).cells])
        rows.append(["domain KL, runs on the domain alone", where, *forecasts(alone, known).cells])
        rows.append(["domain KL, a line of sft's runs", where, *forecasts(every["domain KL"], known, "sft").cells])
        rows.append(["the mean of the others", where, *forecasts(every["domain KL"], known, constant=True).cells])
        rows.append(["the mean, runs on the domain alone", where, *forecasts(alone, known, constant=True).cells])
    head = ["forecast by", "set-up", "trainings", "families", "median factor", "90 % within", "within twice",
            "interval: factor", "covers"]  # fmt: skip
    text = (
        "### A family left out\n\nFactors between foretold and measured. The interval is a factor up and down, from "
        "errors on other families; 90 % is nominal.\n\n"
    )
    return text + grid(head, rows)


def added(found: Sequence[Run]) -> str:
    """What domain KL says beside other numbers: partial correlations."""
    rows = []
    for part, name in ((None, "all"), (True, "runs on the domain alone")):
        for given in (("gain",), ("learning rate",), ("gain", "learning rate"), ("other unseen text",)):
            tables = _matched([run for run in found if part is None or run.alone], ("domain KL", *given))
            both = tables[0]
            alone = partial(Table(both), [])
            rest = partial(Table(both), [np.array([one.x for one in other]) for other in tables[1:]])
            rows.append([name, " and ".join(given), str(len(both)), alone.text, rest.text])
    head = ["runs", "given", "observations", "correlation", "partial correlation"]
    return "### What domain KL adds\n\nCorrelations of logarithms within columns.\n\n" + grid(head, rows)


def exchange(seen: Sequence[Observation]) -> str:
    """Drift on unseen text for a nat of drift on the domain, as a part of sft's in the same column."""
    sums: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for column in dict.fromkeys(one.column for one in seen):
        own = [one for one in seen if one.column == column]
        if not (sft := [one for one in own if one.run.row.method == "sft"]):
            continue
        x, y = (statistics.fmean(getattr(one, side) for one in sft) for side in "xy")
        for one in own:
            sums[one.run.row.method, _reads(one.run)].append((one.x - x, one.y - y))
    rows = []
    for (method, reads), values in sums.items():
        x, y = (float(np.exp(statistics.fmean(value[side] for value in values))) for side in (0, 1))
        rows.append((y / x, [method, reads, str(len(values)), f"{x:.2f}", f"{y:.2f}", f"{y / x:.2f}"]))
    head = ["method", "reads", "observations", "domain KL / sft's", "unseen drift / sft's", "the second / the first"]
    text = "### The rate of exchange\n\nGeometric means over columns that sft is in; sft is 1 by construction.\n\n"
    return text + grid(head, [cells for _, cells in sorted(rows)])


def exceptions(every: Mapping[str, Table]) -> str:
    """Runs that a number foretells wrongly by more than a factor of 2, from other families in their set-up."""
    parts = ["### Counter-examples\n\nIn a known set-up, off by more than 2."]
    head = ["method", "table", "sets", "observations", "foretold / measured"]
    for name in ("domain KL", "the base's answers", "other unseen text"):
        parts.append(f"{name[0].upper()}{name[1:]}:\n\n{grid(head, _wrong(every[name]))}")
    sft = defaultdict(list)
    for one, factor in forecasts(every["domain KL"], known_setup=True, only="sft").told:
        sft[one.run.row.method].append(factor)
    rows = [(float(np.exp(np.mean(np.log(own)))), name, str(len(own))) for name, own in sft.items()]
    rows.sort(reverse=True)
    told = grid(["method", "observations", "mean factor"], [[name, many, f"{mean:.2f}"] for mean, name, many in rows])
    return "\n\n".join([*parts, f"A line of sft's runs alone, all observations:\n\n{told}"])


def _wrong(table: Table) -> list[list[str]]:
    wrong: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    total: dict[tuple[str, str], int] = defaultdict(int)
    for one, factor in forecasts(table, known_setup=True).told:
        key = (one.run.row.method, one.run.table)
        total[key] += 1
        if not 1 / FACTOR <= factor <= FACTOR:
            wrong[key].append((one.set, factor))
    rows = []
    for (method, where), cases in sorted(wrong.items(), key=lambda item: -max(f for _, f in item[1])):
        factors = sorted(factor for _, factor in cases)
        sets = ", ".join(dict.fromkeys(name for name, _ in cases))
        spread = f"{factors[0]:.2f} to {factors[-1]:.2f}" if len(factors) > 1 else f"{factors[0]:.2f}"
        rows.append([method, where, sets, f"{len(cases)} of {total[method, where]}", spread])
    return rows


def apart(found: Sequence[Run], domain: Table) -> str:
    """Runs for which chat is not unseen in the strict sense, foretold by a line through others on the domain alone."""
    alone = Table([one for one in domain.seen if one.run.alone and "medical" in one.run.table and one.set == "chat"])
    slope = float(line(alone.y - alone.y.mean(), alone.x - alone.x.mean(), alone.weight)[0])
    level = float(alone.y.mean() - slope * alone.x.mean())
    rows: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in [*runs(BUDGETS), *(run for run in found if run.family in STORES)]:
        x, y = np.log(run.divergence(run.domain)[0]), np.log(run.divergence("chat")[0])
        rows[run.row.method, run.table].append((np.exp(y), np.exp(level + slope * x - y)))
    lines = []
    for (method, table), own in rows.items():
        drift, factor = np.mean([y for y, _ in own]), np.exp(np.mean(np.log([f for _, f in own])))
        lines.append([method, table, str(len(own)), f"{drift:.3f}", f"{factor:.2f}"])
    text = (
        f"### Apart: steered and prepared runs\n\nChat, after medical text. Foretold by ln drift = {level:.2f} "
        f"+ {slope:.2f} ln domain KL, through the {len(alone.seen)} observations of runs on medical text alone.\n\n"
    )
    return text + grid(["method", "table", "runs", "chat, KL", "foretold / measured"], lines)


def picture(seen: Sequence[Observation]) -> str:
    """Domain KL against unseen drift, both as parts of sft's in the same column."""
    marks = slots_of({name: name for name in ("sft", "replay", "mol", "dae", "asft")})
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for column in dict.fromkeys(one.column for one in seen):
        own = [one for one in seen if one.column == column]
        if sft := [one for one in own if one.run.row.method == "sft"]:
            x, y = (statistics.fmean(getattr(one, side) for one in sft) for side in "xy")
            for one in own:
                name = "sft" if one.run.family == "sft" else "asft" if one.run.alone else one.run.family
                points[name].append((float(np.exp(one.x - x)), float(np.exp(one.y - y))))
    said = {"sft": "sft", "asft": "others on the domain alone", "replay": "replay", "mol": "mol", "dae": "dae"}
    alone = [pair for name in ("sft", "asft") for pair in points[name]]
    slope = float(np.polyfit(*np.log(np.array(alone)).T, 1)[0])

    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends = np.array([min(x for x, _ in alone), max(x for x, _ in alone)])
        axes.plot(ends, ends**slope, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        for name, words in said.items():
            slot: Slot = marks[name]
            xs, ys = zip(*points[name], strict=True)
            axes.scatter(xs, ys, s=26, color=colour(slot), marker=slot.marker, alpha=0.75, lw=0, label=words)
        for side in (axes.xaxis, axes.yaxis):
            ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
            side.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            side.set_minor_locator(NullLocator())
        axes.legend(frameon=False, fontsize=10, loc="upper left", handletextpad=0.2)
        axes.set_xlabel("KL on the domain, as a part of sft's", fontsize=10)
        axes.set_ylabel("KL on unseen text, as a part of sft's", fontsize=10)

    title = "On the domain alone, KL there foretells drift on unseen text; with general text it does not"
    return standalone(draw("forecast", title, 340, paint))


def _reads(run: Run) -> str:
    return ", ".join(["domain", *(name for name in run.row.tokens if name != run.domain)])


def _fitted(table: Table) -> list[str]:
    slope, r2, rho = within(table)
    flat = pooled(table)
    sizes = [len(table.seen), table.trainings, len(set(table.families)), table.compared]
    return [*map(str, sizes), slope.text, r2.text, rho.text, f"{flat[0]:.2f}", f"{flat[1]:.2f}"]


def _matched(found: Sequence[Run], names: Sequence[str]) -> list[list[Observation]]:
    """Candidates on the observations that have all; one that stands several times lends its columns to the others."""
    every = [observations(found, name) for name in names]
    longest = max(every, key=lambda own: len(own) / len({(id(one.run), one.set) for one in own}))
    indexed = [{(id(one.run), one.set): one for one in own} for own in every]
    kept = [one for one in longest if all((id(one.run), one.set) in index for index in indexed)]

    def of(index: Mapping[tuple[int, str], Observation], one: Observation) -> Observation:
        return replace(index[id(one.run), one.set], column=one.column, weight=one.weight)

    return [
        kept if own is longest else [of(index, one) for one in kept] for own, index in zip(every, indexed, strict=True)
    ]


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    write_or_print(tables, __doc__)
