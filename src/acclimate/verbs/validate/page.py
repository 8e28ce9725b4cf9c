"""The plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acclimate.build import Checks
from acclimate.build.heldout.checks import PART
from acclimate.build.plan import method_names
from acclimate.data.read.files import UNSUPPORTED
from acclimate.model.lora.coverage import Coverage
from acclimate.verbs.validate.preflight import Preflight
from acclimate.verbs.validate.shown import print_documents


def print_preflight(found: Preflight, console: Console) -> None:
    """The plan as a person reads it."""
    config = found.config
    for line in found.search.says if found.search is not None else ():
        console.print(line, highlight=False, markup=False)
    table = Table(title=f"Plan of '{config.name}': {'+'.join(method_names(config))} on {config.model.path}")
    for column in ("source", "role", "documents", "held out", "trained tokens", "share", "epochs", "dropped"):
        justify: Literal["left", "right"] = "left" if column in ("source", "role") else "right"
        table.add_column(column, justify=justify, overflow="fold")  # a narrow terminal cuts no word
    placeholders = {source.name for source in found.unwritten}
    for name, row in found.data["sources"].items():
        dropped = f"{sum((row['dropped'] or {}).values()):,}" if row["dropped"] else "none"
        if name in placeholders:
            dropped = "not written"
        counted, used = not row["streamed"], row["share"] > 0
        tokens = f"{row['trained_tokens']:,}" if counted else "streamed"
        table.add_row(
            name, row["role"], _documents(row["documents"], config.sources[name].max_documents),
            f"{row['heldout_documents']:,}",
            tokens if used else "evaluated only", f"{row['share']:.0%}" if used else "",
            f"{row['epochs']:.2f}" if used and counted else "", dropped if counted else "streamed",
        )  # fmt: skip
    console.print(table)
    for name, row in found.data["sources"].items():
        # files of other types have a note
        rows = {why: count for why, count in (row["dropped"] or {}).items() if not why.startswith(UNSUPPORTED)}
        if rows and name not in placeholders:
            reasons = ", ".join(f"{count:,} {why}" for why, count in rows.items())
            console.print(f"Dropped of '{name}': {reasons}", highlight=False, markup=False)
    if schedule := found.data.get("schedule"):
        console.print(_schedule(schedule))
    kind = f"LoRA rank {config.lora.rank}" if config.lora else "full tuning"
    console.print(
        f"{found.data['steps']} optimizer steps · {kind}, {found.trained_parameters:,} of {found.total_parameters:,} "
        f"parameters trained · {config.model.dtype} · memory about {found.memory_bytes / 2**30:.1f} GiB · "
        f"training about {_duration(found.seconds)} at this machine's rate of matrix products",
        highlight=False,
    )
    console.print(_memory(found), highlight=False, markup=False)
    if found.fit is not None and (found.fit.room.asked or not found.fit.fits):
        console.print(found.fit.sentence, style=None if found.fit.fits else "red", highlight=False, markup=False)
    console.print(_rows(found), highlight=False, markup=False)
    if found.checks is not None:
        console.print(_checks(found, found.checks), highlight=False, markup=False)
    for line in _unwritten(found):
        console.print(line, highlight=False, markup=False)
    if found.reached:
        console.print(_reached(found.reached))
    for line in (*found.read_as, *found.turn_ends):
        console.print(line, highlight=False, markup=False)
    for warning in found.warnings:
        console.print(f"Note: {warning}", style="yellow", highlight=False, markup=False)
    print_documents(found.shown, console)


def _memory(found: Preflight) -> str:
    """What the memory is for, and whether layers are computed again."""
    how = found.config.training.gradient_checkpointing
    again = "on" if how is True else "off" if how is False else how
    return f"{found.memory.sentence} · gradient checkpointing {again}"


def _schedule(stages: Sequence[Mapping[str, Any]]) -> Table:
    """Which source gives how many tokens in which part of the run."""
    table = Table(title="Shares over the run, and trained tokens")
    table.add_column("from", justify="right")
    for name in stages[0]["tokens"]:
        table.add_column(name, justify="right", overflow="fold")
    for stage in stages:
        total = max(1, sum(stage["tokens"].values()))
        table.add_row(f"{stage['from']:.0%}", *(f"{n / total:.1%} ({n:,})" for n in stage["tokens"].values()))
    return table


def _documents(count: int | None, most: int | None) -> str:
    """Of a source, and how many of them are used where that is limited."""
    if count is None:
        return "streamed"
    return f"{most:,} of {count:,}" if most is not None and most < count else f"{count:,}"


def _checks(found: Preflight, checks: Checks) -> str:
    """How often held-out text is measured, and what that costs."""
    least = found.config.training.eval_steps == "auto" and checks.part > PART
    less = " (so few are the least; fewer validation documents cost less)" if least else ""
    kept = f" · the base's states on them take {found.states_bytes / 2**20:.0f} MiB" if found.states_bytes else ""
    return (
        f"held-out text is measured every {checks.every:,} steps, {checks.count:,} times, {checks.panel:,} tokens "
        f"each: {checks.part:.1%} of the training's work{less}{kept}"
    )


def _unwritten(found: Preflight) -> Iterator[str]:
    """Rows that the base has still to write, and how long that takes."""
    for source in found.unwritten:
        yield (
            f"source '{source.name}': its rows are not written yet; `train` has the base write {source.tokens:,} "
            "tokens first and keeps them in the cache. Its documents here, and those held out, are placeholders of as "
            "many tokens."
        )
    if found.unwritten:
        yield (
            f"writing about {_duration(found.writing_seconds)} at this machine's rate of matrix products, once for "
            "this base, these settings and this seed"
        )


def _rows(found: Preflight) -> str:
    """Attention, and how documents lie in rows."""
    if found.outlook is None:
        return (
            f"attention {found.attention} · whether documents are packed in rows, or have rows of their own, is found "
            "out when the weights are loaded: no sketch of this network could be made"
        )
    chosen = " (chosen)" if found.config.model.attention == "auto" else ""
    if found.outlook.alone is None:
        return f"attention {found.attention}{chosen} · documents packed in rows"
    return (
        f"attention {found.attention}{chosen} · documents in rows of their own, since otherwise "
        f"{found.outlook.alone}: {found.computed:.2f} times the positions are computed"
    )


def _reached(rows: Sequence[Coverage]) -> Table:
    table = Table(title="What LoRA adapts")
    for column in ("matrices", "adapted", "of", "the others"):
        table.add_column(column, justify="right" if column in ("adapted", "of") else "left", overflow="fold")
    for row in rows:
        table.add_row(row.kind, f"{row.reached:,}", f"{row.total:,}", escape(row.why))
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
