"""Verbs that make runs: init, validate, train, demo, and what one looks up before them."""

from __future__ import annotations

import glob
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.measuring import report_on
from acclimate.cli.options import RUNTIME_ERROR, Config, Json, Set, beside, console, print_json
from acclimate.config.template import DEFAULT_MODEL, check_new, write_template
from acclimate.runs.layout import Layout
from acclimate.types.errors import Stopped, UsageError

BESIDE = "data/general"
"""Where general text is looked for."""
Gpu = Annotated[str | None, typer.Option(help="A GPU's memory, as 24GB: whether the run fits there.")]


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("acclimate.yaml"),
    domain: Annotated[str, typer.Option(help="Domain text: file, folder or glob.")] = "data/domain",
    general: Annotated[
        str | None,
        typer.Option(
            help="General text to keep; default: data/general if it is there, else self: the model writes it."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Hub id, local folder or .gguf file.")] = DEFAULT_MODEL,
    gpu: Gpu = None,
    policy: Annotated[bool, typer.Option("--policy", help="Also write a gate's policy for the run.")] = False,
) -> None:
    """Write a commented configuration to start from, with values that suit the model and the machine."""
    check_new(path)
    from acclimate.config.source_schema import SELF
    from acclimate.verbs.draft import paced, policy_path, suited_to, write_policy
    from acclimate.verbs.memory import gpu_of

    margins = policy_path(path)
    if policy:
        check_new(margins)
    console.print("Looking at model and machine ...", highlight=False)
    suited, said = suited_to(model, gpu_of(gpu) if gpu is not None else None)
    suited, seen = paced(suited, domain)
    said += seen
    here = general or (BESIDE if Path(BESIDE).exists() else SELF)
    write_template(path, domain, here, model, suited)
    if here == SELF and general is None:
        said.append(
            f"General text: none was given and there is no {BESIDE}, so the model writes it itself (general: self)."
        )
    elif general is None:
        said.append(f"General text: {BESIDE}, which is there.")
    if not _may_be_there(domain):
        said.append(f"Domain text: there is no '{domain}' yet. Put it there, or change sources.domain.path.")
    for line in said:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Wrote {path}, and beside it the schema that editors read.", highlight=False, soft_wrap=True)
    check = f"acclimate validate {path}"
    if policy:
        for line in write_policy(margins, path):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print(f"Wrote {margins}.", highlight=False, soft_wrap=True)
        check = f"{check} --policy {margins}"
    console.print(f"Next: {check}", highlight=False, soft_wrap=True)


def _may_be_there(path: str) -> bool:
    """Not so only where it is plain that it is not."""
    return "://" in path or glob.has_magic(path) or os.path.exists(os.path.expanduser(path))


def validate(
    config: Config,
    set_: Set = None,
    show: Annotated[
        int, typer.Option("--show", min=0, help="Print so many documents of each source as the model reads them.")
    ] = 0,
    gpu: Gpu = None,
    policy: Annotated[
        Path | None, typer.Option(help="A gate's policy: whether its rules are about what the run will measure.")
    ] = None,
    json_: Json = False,
) -> None:
    """Check configuration, files and records, and print the resolved plan; trains nothing.

    Exit code 1 if the run does not fit the GPU of --gpu.
    """
    from acclimate.config.load import load_config
    from acclimate.verbs.draft import check_policy
    from acclimate.verbs.memory import gpu_of
    from acclimate.verbs.validate import print_preflight
    from acclimate.verbs.validate import validate as check
    from acclimate.verbs.validate.document import document

    room = gpu_of(gpu) if gpu is not None else None
    found = check(load_config(config, set_ or ()), show, room)
    about = [] if policy is None else check_policy(policy, found.config, found.data)
    if json_:
        print_json(document(found) | {"policy_notes": about})
    else:
        print_preflight(found, console)
        for note in about:
            console.print(f"Note: {note}", style="yellow", highlight=False, markup=False)
        if policy is not None:
            console.print(
                f"{policy}: every rule is about a set that this run measures.", highlight=False, soft_wrap=True
            )
    if room is not None and found.fit is not None and not found.fit.fits:
        raise typer.Exit(RUNTIME_ERROR)


def train(
    config: Config,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")] = False,
    nproc: Annotated[
        int | None, typer.Option("--nproc", min=1, help="Train in so many processes on this machine, one a GPU.")
    ] = None,
    freeze: Annotated[
        Path | None,
        typer.Option(help="With method: auto: write the configuration that it chooses to this file, and stop there."),
    ] = None,
    json_: Json = False,
) -> None:
    """Train, measure against the base, and write the run folder with its report."""
    from acclimate.config.load import load_config
    from acclimate.parallel.launch import launch, launched_processes, launched_rank

    loaded = load_config(config, set_ or ())
    if nproc is not None and nproc > 1:
        if launched_processes() > 1:
            raise UsageError(f"--nproc {nproc}: this is one of {launched_processes()} processes already; leave it out.")
        overrides = [part for override in set_ or () for part in ("--set", override)]
        frozen = ["--freeze", str(freeze)] if freeze is not None else []
        options = [*(["--resume"] if resume else []), *(["--json"] if json_ else [])]
        raise typer.Exit(launch(["train", str(config), *overrides, *options, *frozen], nproc))
    from acclimate.runs.claim import what_resume_does
    from acclimate.verbs.run import chosen
    from acclimate.verbs.run import train as train_run  # seconds of imports, which the launcher does without
    from acclimate.verbs.search import check_frozen
    from acclimate.verbs.search import freeze as write_frozen

    try:
        if freeze is not None:
            if launched_rank() == 0:
                check_frozen(freeze)
            found = chosen(loaded, resume=resume, console=beside(json_))
            if launched_rank() == 0:
                write_frozen(found, freeze)
                beside(json_).print(
                    f"Wrote {freeze}. Next: acclimate train {freeze} --resume", highlight=False, soft_wrap=True
                )
            return
        result = train_run(loaded, resume=resume, console=beside(json_))
    except KeyboardInterrupt:
        how = what_resume_does(loaded.run_dir)
        raise Stopped(f"Interrupted. The same command with --resume {how}.", signal.SIGINT) from None
    if launched_rank() == 0:
        report_on(loaded.run_dir, result.summary, json_)


def demo(
    output: Annotated[Path | None, typer.Option(help="Default: runs/demo, or runs/demo-quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same path with a sixth of the tokens.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method.")] = 1,
    json_: Json = False,
) -> None:
    """Tune a real small model four ways on medical text and show what each kept."""
    from acclimate.demo import run_demo

    folder = output or Path("runs/demo-quick" if quick else "runs/demo")
    results = run_demo(folder, quick=quick, seeds=seeds, console=beside(json_))
    if json_:
        runs = [{"run": result.run_dir, "summary": result.summary} for result in results]
        print_json({"report": Layout(folder).report, "runs": runs})


def methods(json_: Json = False) -> None:
    """List the methods with what they do, store and cost."""
    from acclimate.methods.listing import listed_methods, print_table

    if json_:
        print_json(listed_methods())
    else:
        print_table(listed_methods(), console)


def doctor(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file, to see what it would need.")] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Look for what would stop a run: versions, devices, memory, disk; exit code 1 if something would."""
    from acclimate.config.load import load_config
    from acclimate.verbs.doctor import diagnose
    from acclimate.verbs.doctor.page import print_diagnosis

    if set_ and config is None:
        raise UsageError("--set: changes a configuration; name its file too.")
    found = diagnose(load_config(config, set_ or ()) if config else None)
    if json_:
        print_json(found.as_json())
    else:
        print_diagnosis(found, console)
    if found.problems:
        raise typer.Exit(RUNTIME_ERROR)
