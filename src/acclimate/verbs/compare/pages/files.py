"""The files of a comparison: one page as HTML and Markdown, pictures, a LaTeX table, and numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from acclimate.disk.files import write_text
from acclimate.paired.estimate import Estimate, finite
from acclimate.reports.page import markdown, write_html
from acclimate.reports.pictures.picture import inert
from acclimate.reports.pictures.svg import standalone
from acclimate.reports.words import number
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.pages.answer import MEASURES, answer
from acclimate.verbs.compare.pages.blocks import accuracies, measured, of_set, page_of, shown_metrics
from acclimate.verbs.compare.standing import Measured

LATEX = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
                       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
                       "−": "$-$", "–": "--", "<": "$<$", "\u202f": r"\,", "\u00a0": "~"})  # fmt: skip
COMMENT = str.maketrans({"\u00a0": " ", "\u202f": " ", "−": "-"})


def write_pages(outcome: Outcome, folder: Path) -> list[Path]:
    """``comparison.html`` and what goes with it."""
    page = page_of(outcome)
    texts = {
        "comparison.md": markdown(page),
        "comparison.csv": table_csv(outcome),
        "comparison-sets.csv": sets_csv(outcome),
        "comparison.tex": latex(outcome),
    }
    pictures = [picture for block in page.blocks for picture in block.pictures]
    texts |= {f"{picture.slug}.svg": standalone(picture.svg) for picture in pictures}
    write_html(page, folder / "comparison.html")
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in ("comparison.html", *texts)]


def table_csv(outcome: Outcome) -> str:
    """One line for each method, seed and number, and for the mean over seeds with its interval."""
    rows: list[Sequence[object]] = []
    for standing in outcome.standings:
        for name in MEASURES:
            found: Measured | None = getattr(standing, name)
            if found is not None:
                bounds = map(finite, (found.estimate.low, found.estimate.high))
                rows.append((standing.method, name, "mean", found.value, *bounds))
                rows += [(standing.method, name, seed, value, "", "") for seed, value in found.seeds]
    return _csv(("method", "metric", "seed", "value", "low", "high"), rows)


def sets_csv(outcome: Outcome) -> str:
    """One line for each set, method, seed and metric: of texts the part by which it rose over the base's, or its value;
    of accuracies the change with its interval over all seeds, beside the base's and chance."""
    rows: list[Sequence[object]] = []
    for standing in outcome.standings:
        for row in outcome.measured(standing.method):
            for name, scores in row.texts.items():
                for metric in shown_metrics():
                    metric_name = f"{metric.name}_change" if metric.paired else metric.name
                    value = of_set(scores, metric)
                    rows.append((name, scores.role, standing.method, row.seed, metric_name, value, *[""] * 4))
    for name, method, change, chance in accuracies(outcome):
        bounds = map(finite, (change.low, change.high))
        level = "" if chance is None else chance
        rows.append((name, "", method, "mean", "accuracy_change", change.value, *bounds, change.base, level))
    head = ("set", "role", "method", "seed", "metric", "value", "low", "high", "base", "chance")
    return _csv(head, rows)


def latex(outcome: Outcome) -> str:
    r"""A table for ``\usepackage{booktabs}``: each method with its intervals, the answer as a comment."""
    found = answer(outcome)
    lines = [r"\begin{tabular}{lrrrr}", r"\toprule"]
    lines += [r"method & gain, \% & drift, nats/token & loss elsewhere, \% & seeds \\", r"\midrule"]
    for standing in outcome.standings:
        cells = [standing.method]
        for one, spell in measured(standing):
            text = number.NONE if one is None else _tex_value(one.estimate, spell)
            cells.append(text)
        cells.append(str(len(standing.rows)))
        lines.append(" & ".join(map(_tex, cells)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    said = [] if found is None else [f"% {found.word}. {found.sentence}".translate(COMMENT)]
    return "\n".join([*said, *lines, ""])


def _tex_value(found: Estimate, spell: number.Spelling) -> str:
    value = spell(found.value).replace("\u00a0%", "")
    if not found.bounded:
        return value
    return f"{value} [{', '.join(spell(bound).replace(chr(0xA0) + '%', '') for bound in (found.low, found.high))}]"


def _tex(text: str) -> str:
    return text.translate(LATEX)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([inert(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return buffer.getvalue()
