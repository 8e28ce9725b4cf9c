"""What was written, as a person reads it: a table in the terminal, and the same as a page beside the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from acclimate.verbs.replay.two_samples import FEWEST

TALLIES = (
    ("ways", "begins from"), ("families", "family"), ("languages", "language of the prompt"), ("forms", "form"),
    ("thinkings", "thinking"),
)  # fmt: skip
COMPARED = {"prompts": "prompts", "said": "what the model wrote"}


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """Sentences, one a line."""
    rate = found["written_tokens"] / max(found["seconds"], 1e-9)
    yield (
        f"{found['rows']:,} rows with {found['tokens']:,} tokens by '{found['model']}' ({found['dtype']}), of "
        f"{found['written_tokens']:,} written in {found['seconds']:,.0f} s ({rate:,.0f} tokens a second)."
    )
    yield (
        f"The model ended {found['ended']:,} of them; {found['rows'] - found['ended']:,} were cut at the limit, and no "
        "end of theirs is learned."
    )
    dropped = found["dropped"]
    total = sum(dropped.values())
    reasons = ", ".join(f"{count:,} {why}" for why, count in sorted(dropped.items(), key=lambda item: -item[1]))
    share = total / max(1, total + found["rows"])
    yield f"Left out: {total:,} rows ({share:.1%})" + (f": {reasons}." if reasons else ".")
    distinct = ", ".join(f"{share:.3f} of runs of {n} word{'s' * (n != '1')}" for n, share in found["distinct"].items())
    yield f"Different: {distinct}."
    for name, what in COMPARED.items() if "real" in found else ():
        told = found["real"].get(name)
        if told is None:
            yield f"Against real {what}: fewer than {FEWEST} of either kind, so nothing can be said."
            continue
        yield (
            f"A classifier tells {what} from real ones in {told['accuracy']:.1%} ({told['low']:.1%} to "
            f"{told['high']:.1%}) of {told['texts']:,} texts that it has not seen; 50 % is chance."
        )


def print_report(found: Mapping[str, Any], console: Console) -> None:
    """In the terminal."""
    for title, what in TALLIES:
        if found[title]:
            table = Table("", "rows", "tokens", title=what, title_justify="left")
            table.columns[1].justify = table.columns[2].justify = "right"
            for name, of in found[title].items():
                table.add_row(name, f"{of['rows']:,}", f"{of['tokens']:,}")
            console.print(table)
    lengths = Table("tokens", "rows", title="length", title_justify="left")
    lengths.columns[1].justify = "right"
    for name, rows in found["lengths"].items():
        lengths.add_row(name, f"{rows:,}")
    console.print(lengths)
    for line in summary(found):
        console.print(line, highlight=False, markup=False)


def page(found: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = ["# Rows that the model wrote", ""]
    for line in summary(found):
        lines += [line, ""]
    for title, what in TALLIES:
        if found[title]:
            lines += [f"| {what} | rows | tokens |", "|---|---:|---:|"]
            lines += [f"| {name} | {of['rows']:,} | {of['tokens']:,} |" for name, of in found[title].items()]
            lines.append("")
    lines += ["| tokens | rows |", "|---|---:|", *(f"| {name} | {n:,} |" for name, n in found["lengths"].items()), ""]
    settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items() if value is not None)
    return "\n".join([*lines, f"Settings: {settings}.", ""])
