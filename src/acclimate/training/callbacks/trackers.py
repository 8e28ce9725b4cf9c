"""Trackers of experiments, by the names that ``report_to`` has in other trainers. tensorboard is in ``log``.

Each reads its own environment variables (``WANDB_PROJECT``, ``MLFLOW_TRACKING_URI``, ``TRACKIO_SPACE_ID`` ...), so that
where a run is kept, and who may write there, is said in one place for all programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any, Protocol

from rich.console import Console

from acclimate.runs.layout import Layout, read_json, write_json
from acclimate.types.central import Callback, Metrics, TrainingState
from acclimate.types.errors import UsageError, reason

PROJECT = "acclimate"
"""Where runs go if the environment names no project."""


@dataclass(frozen=True)
class Tracked:
    """The run that is told of: its name, its folder, its configuration as plain data."""

    name: str
    folder: Path
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """One service, and the run in it."""

    def begin(self, run: Tracked, identity: str | None) -> str:
        """Opens a run, or goes on with the one of ``identity``; returns its identity."""
        ...

    def log(self, metrics: Metrics, step: int) -> None: ...

    def conclude(self, measured: Metrics) -> None:
        """What was measured after the last step."""

    def end(self, whole: bool) -> None:
        """Closes the run; not ``whole``: it was stopped, or failed."""


class Wandb:
    """Weights & Biases."""

    def __init__(self, library: Any) -> None:
        self._library, self._run = library, None
        self._borrowed = False

    def begin(self, run: Tracked, identity: str | None) -> str:
        self._borrowed = identity is None and self._library.run is not None  # of the program that called us
        self._run = one = (
            self._library.run
            if self._borrowed
            else self._library.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", run.name),
                dir=str(run.folder),
                id=identity,
                resume="allow",
                config=dict(run.settings),
            )
        )
        # wandb drops what is logged of a step it has seen; as an axis, a step may come again after a resume
        one.define_metric("step")
        one.define_metric("*", step_metric="step")
        return str(one.id)

    def log(self, metrics: Metrics, step: int) -> None:
        self._opened.log({"step": step} | metrics)

    def conclude(self, measured: Metrics) -> None:
        self._opened.summary.update(measured)

    def end(self, whole: bool) -> None:
        if self._run is not None and not self._borrowed:
            self._opened.finish(exit_code=0 if whole else 1)

    @property
    def _opened(self) -> Any:
        return self._run


RENAMED = {"loss": "loss/total"}
"""MLflow may keep a metric as a file, and ``loss/domain/cross_entropy`` is below a folder of that name."""


class MLflow:
    """A run of MLflow: that of ``MLFLOW_RUN_ID``, the one that is active, or a new one."""

    def __init__(self, library: Any) -> None:
        self._library, self._client = library, library.MlflowClient()
        self._identity, self._borrowed, self._sent = "", False, None

    def begin(self, run: Tracked, identity: str | None) -> str:
        active = self._library.active_run()
        given = os.environ.get("MLFLOW_RUN_ID") or (active and active.info.run_id)
        self._borrowed = identity is None and bool(given)
        self._identity = identity or given or self._created(run.name)
        if identity is None:  # a parameter cannot be written twice
            entities = import_module("mlflow.entities")
            params = [entities.Param(key, str(value)[:500]) for key, value in flat(run.settings).items()]
            for first in range(0, len(params), 100):  # the most that one request may hold
                self._client.log_batch(self._identity, params=params[first : first + 100])
        else:
            self._client.update_run(self._identity, status="RUNNING")
        return self._identity

    def _created(self, name: str) -> str:
        where = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        number = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._library.set_experiment(where).experiment_id
        return str(self._client.create_run(number, run_name=os.environ.get("MLFLOW_RUN_NAME", name)).info.run_id)

    def log(self, metrics: Metrics, step: int) -> None:
        self._sent = self._batch(metrics, step, synchronous=False)  # no step waits for a server

    def conclude(self, measured: Metrics) -> None:
        self._batch(measured, 0, synchronous=True)

    def _batch(self, metrics: Metrics, step: int, synchronous: bool) -> Any:
        entities, now = import_module("mlflow.entities"), int(1000 * time())
        rows = [entities.Metric(RENAMED.get(name, name), value, now, step) for name, value in metrics.items()]
        return self._client.log_batch(self._identity, metrics=rows, synchronous=synchronous)

    def end(self, whole: bool) -> None:
        if self._sent is not None:
            self._sent.wait()
        if self._identity and not self._borrowed:
            self._client.set_terminated(self._identity, "FINISHED" if whole else "FAILED")


class Trackio:
    """Hugging Face's tracker, local or in a Space."""

    def __init__(self, library: Any) -> None:
        self._library, self._run = library, None

    def begin(self, run: Tracked, identity: str | None) -> str:
        name = identity or os.environ.get("TRACKIO_NAME", run.name)
        self._run = self._library.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=name,
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
            config=dict(run.settings),
            resume="allow" if identity else "never",
            embed=False,
        )
        return str(getattr(self._run, "name", name))  # a name that is taken gets another

    def log(self, metrics: Metrics, step: int) -> None:
        self._library.log(metrics, step=step)

    def conclude(self, measured: Metrics) -> None:
        self._library.log(measured)

    def end(self, whole: bool) -> None:
        if self._run is not None:
            self._library.finish()


TRACKERS: dict[str, Callable[[Any], Tracker]] = {"wandb": Wandb, "mlflow": MLflow, "trackio": Trackio}


def tracker(name: str) -> Tracker:
    """
    Raises:
        UsageError: its package is not installed.
    """
    try:
        return TRACKERS[name](import_module(name))
    except ImportError:
        raise UsageError(
            f"report_to: {name} is not installed; run `pip install 'acclimate[{name}]'` or take it out of report_to."
        ) from None


class Tracking(Callback):
    """Sends every step's metrics to one tracker. A service that fails while the run trains ends the telling, not the
    run: ``metrics.jsonl`` has every step."""

    def __init__(self, name: str, run: Tracked, console: Console) -> None:
        self._name, self._run, self._console = name, run, console
        self._tracker, self._works, self._whole = tracker(name), False, False

    def on_start(self, state: TrainingState) -> None:
        """
        Raises:
            UsageError: the service cannot be reached, or refuses; no step was taken.
        """
        path = Layout(self._run.folder).trackers
        known: dict[str, str] = read_json(path)["runs"] if path.is_file() else {}
        try:
            identity = self._tracker.begin(self._run, known.get(self._name))
        except Exception as error:  # each service has errors of its own
            raise UsageError(
                f"report_to: {self._name} could not begin ({reason(error)}); log in, or give its address, as "
                f"{self._name} asks for, or take it out of report_to."
            ) from error
        write_json(path, {"runs": known | {self._name: identity}})
        self._works = True

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        self._try(lambda: self._tracker.log(metrics, state.step), f"step {state.step} and later steps")

    def on_train_end(self, state: TrainingState) -> None:
        self._whole = True

    def close(self) -> None:
        self._try(lambda: self._tracker.end(self._whole), "the last steps")

    def _try(self, send: Callable[[], None], what: str) -> None:
        if not self._works:
            return
        try:
            send()
        except Exception as error:  # as above
            self._works = False
            _say(self._console, self._name, error, f"{what} are in metrics.jsonl")


def conclude(names: Sequence[str], run: Tracked, measured: Metrics, console: Console) -> None:
    """Adds what was measured after the last step to the runs that :class:`Tracking` began."""
    path = Layout(run.folder).trackers
    known: dict[str, str] = read_json(path)["runs"] if path.is_file() else {}
    for name in names:
        if name not in known:
            continue
        try:
            one = tracker(name)
            one.begin(run, known[name])
            one.conclude(measured)
            one.end(True)
        except Exception as error:  # the run is whole without it
            _say(console, name, error, "what was measured is in summary.json")


def _say(console: Console, name: str, error: Exception, where: str) -> None:
    text = f"Note: {name} does not answer ({reason(error)}): {where} only."
    console.print(text, style="yellow", highlight=False, markup=False)


def flat(settings: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Dotted names of the settings that are given.

    >>> flat({"lora": {"rank": 8, "alpha": None}, "seed": 0})
    {'lora.rank': 8, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{under}{name}.")
        elif value is not None:
            found[f"{under}{name}"] = value
    return found
