"""A comparison as a table for the terminal, and as Markdown to commit."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from acclimate.disk.files import write_text
from acclimate.paired.estimate import ALPHA, finite
from acclimate.paired.metrics import METRICS, Metric
from acclimate.paired.significance import holm
from acclimate.reports.words import number
from acclimate.runs.cells import SUMS, TextScores
from acclimate.verbs.compare.cell import spelled
from acclimate.verbs.compare.figure import figures
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.standing import (
    Measured,
    Standing,
    accuracy_changes,
    ahead_of,
    front,
    mean_drift,
    mean_gain,
)

Spelling = Callable[[float], str]
HEAD = ("method", "chosen", "seeds", "domain gain", "drift, nats/token", "loss elsewhere", "front")


def percent(part: float) -> str:
    return number.change(100 * part)


def summary_table(outcome: Outcome) -> Table:
    """One line a method with 95 % intervals below its numbers."""
    ahead = {standing.method for standing in front(outcome.standings)}
    table = Table(pad_edge=False, header_style="bold", box=box.SIMPLE_HEAD, caption=_caption(outcome))
    for column in HEAD:
        table.add_column(column, justify="left" if column in HEAD[:2] else "right")
    for standing in outcome.standings:
        numbers = [
            Text(f"{_value(measured, spell)}\n{_interval(measured, spell)}") for measured, spell in _measures(standing)
        ]
        chosen = spelled(outcome.chosen(standing.method))
        on_front = "yes" if standing.method in ahead else ""
        table.add_row(Text(standing.method, style="bold"), Text(chosen), _seeds(outcome, standing), *numbers, on_front)
    for method in outcome.diverged:
        table.add_row(Text(method, style="bold"), "every trial or run diverged", *[""] * 5)
    return table


def write_pages(outcome: Outcome, folder: Path) -> list[Path]:
    """``comparison.md``, ``comparison.csv``, and the pictures that the first shows."""
    pictures = figures(outcome.standings)
    pages = {"comparison.md": markdown(outcome, list(pictures)), "comparison.csv": table_csv(outcome)} | pictures
    for name, text in pages.items():
        write_text(folder / name, text)
    return [folder / name for name in pages]


def markdown(outcome: Outcome, pictures: Sequence[str]) -> str:
    parts = [
        f"# {_plain(outcome.comparison.name)}",
        _setup(outcome),
        "## Methods",
        _methods(outcome),
        _dominated(outcome),
    ]
    parts += ["\n".join(f"![gain against cost]({name})" for name in pictures)]
    parts += ["## By set", _sets(outcome)]
    if any(row.items for row in outcome.rows):
        parts += ["## Accuracy on panels", _accuracy(outcome)]
    parts += ["## Costs", _costs(outcome)]
    if any(row.kind == "trial" for row in outcome.rows):
        parts += ["## Trials", _trials(outcome)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table_csv(outcome: Outcome) -> str:
    """One line for each method, seed and number, and for the mean over seeds with its interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("method", "metric", "seed", "value", "low", "high"))
    for standing in outcome.standings:
        for name in ("gain", "drift", "loss"):
            measured: Measured | None = getattr(standing, name)
            if measured is not None:
                bounds = map(finite, (measured.estimate.low, measured.estimate.high))
                writer.writerow((standing.method, name, "mean", measured.value, *bounds))
                writer.writerows((standing.method, name, seed, value, "", "") for seed, value in measured.seeds)
    return buffer.getvalue()


def _setup(outcome: Outcome) -> str:
    first = outcome.standings[0].rows[0] if outcome.standings else outcome.rows[0]
    tokens = ", ".join(f"{count:,.0f} of {_plain(name)}" for name, count in first.tokens.items())
    machines = {str(row.made.get("platform")) for row in outcome.rows if row.kind != "panel"}
    commits = sorted({str(row.made.get("commit") or "unknown")[:12] for row in outcome.rows if row.kind != "panel"})
    luck = "and seeds" if _many_seeds(outcome) else "(one seed, so the luck of training is in none of them)"
    lines = [
        f"Base: {first.digests['base']}. Trained tokens, for example of {_plain(first.method)}: {tokens}.",
        "Domain gain: mean over domain sets of 1 - bits / base's bits. Drift: mean over the other sets of "
        "KL(base || tuned). Loss elsewhere: mean over them of bits / base's bits - 1. Numbers are means over seeds; "
        f"intervals are 95 % over documents {luck}.",
    ]
    measured = dict.fromkeys(name for row in outcome.rows if row.kind != "trial" for name in row.texts)
    if outcome.standings and (left := [name for name in measured if name not in outcome.standings[0].sets]):
        lines.append(
            f"Not in these means, since not every method was measured on it yet: {', '.join(map(_plain, left))}."
        )
    if outcome.comparison.trials:
        section = outcome.comparison.tuning
        rule = (
            f"the least drift among trials with {section.domain_gain:.0%} of the method's largest domain gain [ours]"
            if section.rule == "retain"
            else "the largest domain gain"
        )
        lines.append(
            f"Settings: chosen for each method among {outcome.comparison.trials} trials with seed {section.seed}, on "
            f"validation documents, by {rule}."
        )
    if len(machines) > 1 or len(commits) > 1:
        lines.append(f"Machines: {len(machines)}; commits: {len(commits)}. Compare costs with care.")
    return "\n\n".join(lines)


def _methods(outcome: Outcome) -> str:
    rows = []
    for standing in outcome.standings:
        numbers = [f"{_value(m, spell)} {_bracketed(m, spell)}".strip() for m, spell in _measures(standing)]
        chosen = spelled(outcome.settings(standing.method))
        rows.append(
            [standing.method, f"`{chosen}`", _seeds(outcome, standing), *numbers, _by(standing, outcome.standings)]
        )
    for method in outcome.diverged:
        chosen = spelled(outcome.settings(method))
        rows.append([method, f"`{chosen}`", "every trial or run diverged", "", "", "", ""])
    return _table(["method", "settings", *HEAD[2:6], "behind"], rows)


def _by(standing: Standing, everyone: Sequence[Standing]) -> str:
    """Who is ahead; in bold where the two are told apart."""
    rivals = ahead_of(standing, everyone)
    return ", ".join(f"**{_plain(name)}**" if p < ALPHA else _plain(name) for name, p in rivals.items())


def told_apart(everyone: Sequence[Standing]) -> str:
    """One sentence: which methods are told apart from one that is ahead of them, and which are not."""
    clear: list[str] = []
    unclear: list[str] = []
    for standing in everyone:
        for name, p in ahead_of(standing, everyone).items():
            pair = f"{standing.method} behind {name} (p {number.probability(p)})"
            (clear if p < ALPHA else unclear).append(pair)
    said = [f"Told apart, paired over the same documents: {'; '.join(clear)}." if clear else ""]
    said += [f"Cannot be told apart: {'; '.join(unclear)}." if unclear else ""]
    return " ".join(sentence for sentence in said if sentence)


def _dominated(outcome: Outcome) -> str:
    ahead = [_plain(standing.method) for standing in front(outcome.standings)]
    if not ahead:
        return ""
    return (
        f"Pareto front of domain gain against drift: {', '.join(ahead)}. *Behind* names methods with no less gain and "
        "no more drift; in bold where both differences, paired over the same documents, are told apart (p < 0.05, "
        f"adjusted by Holm's method for all that are ahead). {_plain(told_apart(outcome.standings))}".rstrip()
    )


def _sets(outcome: Outcome) -> str:
    """Each method's metrics by set, means over seeds: against the base's own in percent, or drift as it is."""
    names = dict.fromkeys(name for row in outcome.rows if row.kind != "trial" for name in row.texts)
    shown = [metric for metric in METRICS.values() if metric.shown and set(SUMS).issuperset(metric.columns)]
    rows = []
    for standing in outcome.standings:
        for name in names:
            found = [row.texts[name] for row in outcome.measured(standing.method) if name in row.texts]
            if found:
                values = [[_of_set(scores, metric) for scores in found] for metric in shown]
                spelled = [percent if metric.paired else number.spelling(metric.unit)[0] for metric in shown]
                means = [spell(sum(own) / len(own)) for own, spell in zip(values, spelled, strict=True)]
                by_seed = ", ".join(map(spelled[0], values[0])) if len(found) > 1 else ""
                rows.append([name, found[0].role, standing.method, *means, by_seed])
    rows.sort(key=lambda row: list(names).index(row[0]))
    labels = [metric.label.split(",")[0] for metric in shown]
    return _table(["set", "role", "method", *labels, f"{labels[0]} by seed"], rows)


def _of_set(scores: TextScores, metric: Metric) -> float:
    """The part by which a metric rose over the base's own, or its value where it compares the two already."""
    sums: list[float] = [sum(getattr(scores, name)) for name in metric.columns]
    if metric.paired:
        return -(1 - sums[0] / sums[1])
    return sums[1] / metric.per / sums[0]


def _accuracy(outcome: Outcome) -> str:
    """Of one seed Tango's interval and McNemar's test; of several the interval over items and seeds."""
    found = [
        (name, standing.method, change)
        for standing in outcome.standings
        for name, change in accuracy_changes(outcome.rows, standing.method).items()
    ]
    adjusted = holm([change.p for _, _, change in found])
    rows = [
        [
            name,
            method,
            str(change.n),
            number.share(change.base),
            f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]",
            f"{p:.2g}",
            number.NONE if math.isinf(change.mde) else f"{100 * change.mde:.1f}",
        ]
        for (name, method, change), p in zip(found, adjusted, strict=True)
    ]
    rows.sort(key=lambda row: row[0])
    others = {name for row in outcome.rows for name in row.made.get("not_right_or_wrong", ())}
    note = (
        f"\n\nMeasured otherwise than by right and wrong choices, so not here: {', '.join(sorted(others))}."
        if others
        else ""
    )
    head = ["set", "method", "items", "base", "change, points", "p (Holm)", "detectable, points"]
    return _table(head, rows) + (
        "\n\n*Detectable*: a true change that another such sample would show with 80 % power; without it, no "
        "difference says nothing."
        f"{note}"
    )


def _costs(outcome: Outcome) -> str:
    """Of one run, the mean over seeds; preparation and tuning apart and together for the method."""
    rows = []
    for standing in outcome.standings:
        trials = [row for row in outcome.rows if row.kind == "trial" and row.method == standing.method]
        mean = {name: sum(r.costs.get(name, 0) for r in standing.rows) / len(standing.rows) for name in _COSTS}
        tuning = sum(row.costs.get("forward_tokens", 0) for row in trials)
        cells = [spell(mean[name]) for name, spell in _COSTS.items()]
        rows.append([standing.method, *cells, f"{len(trials)}", f"{tuning / 1000:,.0f}"])
    head = ["method", "seconds", "forwards, thousand tokens", "peak memory, MiB", "stored, MiB", "prepared, thousand"]
    note = (
        "A forward is one token through the network; a backward counts as two, as one where only an adapter learns. "
        "Stored: the run's `model/` and what its methods prepared."
    )
    return _table([*head, "trials", "tuning, thousand"], rows) + f"\n\n{note}"


_COSTS: Mapping[str, Spelling] = {
    "train_seconds": lambda value: f"{value:,.0f}",
    "forward_tokens": lambda value: f"{value / 1000:,.0f}",
    "train_peak_memory_mib": number.count,
    "stored_mib": lambda value: f"{value:,.1f}",
    "preparation_forward_tokens": lambda value: f"{value / 1000:,.0f}",
}


def _trials(outcome: Outcome) -> str:
    rows = []
    for row in (row for row in outcome.rows if row.kind == "trial"):
        gain, drift = mean_gain(row.texts), mean_drift(row.texts)
        numbers = [percent(gain) if gain is not None else "", number.nats(drift) if drift is not None else ""]
        if row.outcome == "diverged":
            numbers = ["diverged", ""]
        mark = "chosen" if row.settings == outcome.chosen(row.method) else ""
        rows.append([row.method, f"`{spelled(row.settings)}`", *numbers, mark])
    return _table(["method", "trial", "domain gain", "drift", ""], rows)


def _measures(standing: Standing) -> list[tuple[Measured | None, Spelling]]:
    return [(standing.gain, percent), (standing.drift, number.nats), (standing.loss, percent)]


def _value(measured: Measured | None, spell: Spelling) -> str:
    return number.NONE if measured is None else spell(measured.value)


def _interval(measured: Measured | None, spell: Spelling) -> str:
    if measured is None:
        return ""
    estimate = measured.estimate
    if not estimate.bounded:
        return f"{measured.documents} documents are too few to tell"
    return f"{spell(estimate.low)} to {spell(estimate.high)}"


def _bracketed(measured: Measured | None, spell: Spelling) -> str:
    return "" if measured is None else f"[{_interval(measured, spell)}]"


def _seeds(outcome: Outcome, standing: Standing) -> str:
    lost = [
        row.seed
        for row in outcome.rows
        if row.method == standing.method and row.outcome == "diverged" and row.kind == "run"
    ]
    diverged = f" (diverged: {', '.join(map(str, lost))})" if lost else ""
    return ", ".join(str(row.seed) for row in standing.rows) + diverged


def _many_seeds(outcome: Outcome) -> bool:
    return any(len(standing.rows) > 1 for standing in outcome.standings)


def _caption(outcome: Outcome) -> str:
    text = "gain and loss in bits/byte against the base; below each number its 95 % interval over documents"
    text += " and seeds" if _many_seeds(outcome) else " (one seed)"
    return f"{text}. {told_apart(outcome.standings)}".removesuffix(". ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Inside a table: what would end the cell or begin markup is escaped."""
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")


def _plain(text: str) -> str:
    return text.replace("<", "&lt;")
