"""Who may write to a run folder: one process, where nothing else is in the way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acclimate.config.load import RunConfig
from acclimate.disk.files import leftovers, sweep, unwritable, writable
from acclimate.runs.beginning import begun_config, differences_from
from acclimate.runs.layout import Layout
from acclimate.types.errors import ConfigError, DataError, RunError, UsageError


def check_place(config: RunConfig) -> None:
    """The run folder can be made; makes nothing.

    Raises:
        ConfigError: something that is no folder is in its way, or it is closed.
    """
    if not writable(config.run_dir.parent):
        raise ConfigError(f"output_dir: '{config.output_dir}' cannot be written to; choose another folder.")
    if config.run_dir.exists() and not config.run_dir.is_dir():
        raise ConfigError(f"name: '{config.run_dir}' is a file, so it cannot be the run folder; choose another name.")


def check_run_dir(config: RunConfig, resume: bool) -> None:
    """Nothing that exists is overwritten, and a run is only continued by the configuration that began it."""
    run = Layout(config.run_dir)
    check_place(config)
    try:
        config.run_dir.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(config.run_dir.parent, error) from error
    if not begun_config(config).exists():
        if run.config.exists():
            raise UsageError(
                f"The run '{config.run_dir}' exists, and nothing was searched for in it: it was configured without "
                f"method: auto. Choose another name, for example --set name={config.name}-2."
            )
        held = config.run_dir.iterdir() if config.run_dir.is_dir() else ()
        if any(not (path.name.startswith(".") and path.suffix == ".partial") for path in held):
            raise UsageError(f"The folder '{config.run_dir}' holds something that is no run; choose another name.")
        return
    if not resume:
        raise UsageError(
            f"The run '{config.run_dir}' exists. Continue it with --resume, or choose another name, for example "
            f"--set name={config.name}-2."
        )
    if differences := differences_from(config):
        raise UsageError(
            f"The run '{config.run_dir}' began with another configuration; it differs at {'; '.join(differences)}. "
            "Use the configuration it began with, or another name."
        )
    if run.summary.is_file() and not run.has_model and not run.step_checkpoints:
        raise RunError(
            f"The run '{config.run_dir}' is finished, but its model/ is gone and it kept no checkpoint to make it "
            "from; start a new run under another name."
        )


def what_resume_does(run_dir: Path) -> str:
    run = Layout(run_dir)
    if run.search.is_dir() and not run.searched.is_file():
        return "goes on with the search, whose finished probes are not trained again"
    if run.has_model:
        return "measures the trained model"
    return (
        "continues from the last checkpoint"
        if run.step_checkpoints
        else "begins at step 0, for there is no checkpoint yet"
    )


@contextmanager
def sole_writer(run_dir: Path) -> Iterator[None]:
    """Refuses a second process that trains the same run; the lock goes when its holder ends, however that happens."""
    run_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = run_dir.is_dir() and os.path.samestat(os.fstat(handle), run_dir.stat())
        except BlockingIOError:
            mine = False
        if not mine:  # or its holder has just ended and taken the empty folder away
            raise RunError(f"The run '{run_dir}' is being trained by another process; wait for it, or stop it.")
        sweep([*leftovers(run_dir), *_left_by_a_trainer(run_dir)])
        try:
            yield
        finally:
            with suppress(OSError):
                run_dir.rmdir()  # nothing was begun in it; before the lock goes, so that nobody holds it by then
    finally:
        os.close(handle)


@contextmanager
def keeping_the_model(run_dir: Path) -> Iterator[None]:
    """Around the measuring of a run that is trained: text that is gone or changed costs no model, and it says so."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error} The trained model is whole and kept in '{Layout(run_dir).model}': export and chat work, and "
            f"`acclimate eval {run_dir} --panel FILE` measures it on a panel. To measure it on its own held-out text, "
            "make good what is said above, then run the same command with --resume; it trains nothing again."
        ) from error


def _left_by_a_trainer(run_dir: Path) -> list[Path]:
    """Folders that were half written or already replaced when a trainer of this run was killed."""
    run = Layout(run_dir)
    stale = run.checkpoints.glob(".*.stale")
    replaced = [path for path in stale if path.with_name(path.name[1:].removesuffix(".stale")).is_dir()]
    return [run.model.with_name(f".{run.model.name}.partial"), *run.checkpoints.glob(".*.partial"), *replaced]
