"""The verb that compares methods: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.options import console


def compare(
    config: Annotated[Path, typer.Argument(help="The comparison's YAML file.")],
    only: Annotated[list[str] | None, typer.Option("--only", help="This method alone; may be repeated.")] = None,
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes of each training on this machine.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is done and what is left; train nothing.")
    ] = False,
) -> None:
    """Train and measure methods side by side at equal budgets, and continue one table of results."""
    from acclimate.verbs.compare import compare as run_comparison
    from acclimate.verbs.compare import load_comparison
    from acclimate.verbs.compare.work import print_plan

    comparison = load_comparison(config)
    if dry_run:
        print_plan(comparison, only or (), console)
    else:
        run_comparison(comparison, only or (), nproc, console)
