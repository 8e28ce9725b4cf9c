"""Verbs over several runs: compare, and plan, which says what to train next."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.options import Json, beside, console, print_json
from acclimate.types.errors import Stopped, UsageError


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


def plan(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders; or a comparison's .yaml or .jsonl; or a log as .csv."),
    ] = None,
    keep: Annotated[
        float, typer.Option(help="Nats a token by which it may drift on other text: 0.05 is little.")
    ] = 0.05,
    tokens: Annotated[
        float | None, typer.Option(help="Of the domain, of the planned run; default: as the longest measured one.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This method, or name in a comparison; may be repeated.")
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="Train at most 6 short runs of this configuration first, and plan from them.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --probe: train without being asked.")] = False,
    output: Annotated[
        list[Path] | None, typer.Option("--output", help="Also write the page: plan.md or plan.html; may be repeated.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the advice as a new configuration.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="With --write: what the advice changes; default: the nearest run's.")
    ] = None,
    json_: Json = False,
) -> None:
    """Say from measured runs how much domain, how long and at which rate to train, with intervals."""
    from acclimate.config.load import load_config
    from acclimate.verbs.planning import plan as plan_run
    from acclimate.verbs.planning.plan import check_page
    from acclimate.verbs.planning.probes import foresee, probed
    from acclimate.verbs.planning.written import check_free

    # 1. what is wrong is said before anything is trained
    if yes and probe is None:
        raise UsageError("--yes: has no effect without --probe, which trains; leave it out.")
    if config is not None and write is None:
        raise UsageError("--config: has no effect without --write, which changes it; leave it out.")
    for page in output or ():
        check_page(page)
    if write is not None:
        check_free(write)
    base = load_config(config) if config is not None else None
    # 2. probes, where they are wanted
    runs, say = list(paths or []), beside(json_)
    if probe is not None:
        if runs:
            raise UsageError(f"--probe trains runs of its own, so '{runs[0]}' has no effect; leave one of them out.")
        asked = load_config(probe)
        foreseen = foresee(asked)
        if not _agreed(foreseen.says, yes, json_):
            return
        try:
            with only_the_document() if json_ else nullcontext():
                runs = probed(foreseen, say)
        except KeyboardInterrupt:
            raise Stopped("Interrupted. The same command goes on.", signal.SIGINT) from None
        base, tokens = base or asked, foreseen.tokens if tokens is None else tokens
    found = plan_run(runs, keep=keep, tokens=tokens, only=only or (), config=base)
    # 3. what it says
    files = [found.save(page) for page in output or ()]
    written = None if write is None else found.write(write)
    if json_:
        print_json(found.as_json() | {"pages": files, "config": written})
        return
    console.print(found.terminal)
    for what, path in [*(("Page", path) for path in files), *([("Configuration", written)] if written else [])]:
        console.print(f"{what}: {path}", highlight=False, markup=False, soft_wrap=True)


def _agreed(says: list[str], yes: bool, json_: bool) -> bool:
    """Says what probes cost, and asks where somebody can answer."""
    for line in says:
        beside(json_).print(line, highlight=False, markup=False, soft_wrap=True)
    if yes:
        return True
    if json_ or not sys.stdin.isatty():
        raise UsageError("--probe trains these runs; say so with --yes.")
    return typer.confirm("Train them?")


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
