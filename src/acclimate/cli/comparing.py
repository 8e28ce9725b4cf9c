"""The verb that compares methods: compare."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.options import Json, beside, console, print_json


def compare(
    config: Annotated[Path, typer.Argument(help="The comparison's YAML file.")],
    only: Annotated[list[str] | None, typer.Option("--only", help="This method alone; may be repeated.")] = None,
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes of each training on this machine.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is done and what is left; train nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Train and measure methods side by side at equal budgets, and continue one table of results."""
    from acclimate.verbs.compare import compare as run_comparison
    from acclimate.verbs.compare import load_comparison
    from acclimate.verbs.compare.work import left_of, print_plan

    comparison = load_comparison(config)
    if dry_run and json_:
        rows, left = left_of(comparison, only or ())
        print_json({"table": comparison.table_path, "rows": rows, "left": [task.name for task in left]})
    elif dry_run:
        print_plan(comparison, only or (), console)
    elif json_:
        with only_the_document():
            outcome = run_comparison(comparison, only or (), nproc, beside(json_))
        print_json(outcome.as_json())
    else:
        run_comparison(comparison, only or (), nproc, console)


@contextmanager
def only_the_document() -> Iterator[None]:
    """What the processes of single runs print goes to standard error meanwhile."""
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)


STDOUT, STDERR = 1, 2
