"""Writes checkpoints while training, and keeps the best weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from acclimate.disk.files import discard, sync, unwritable
from acclimate.parallel.background import FolderWriter
from acclimate.parallel.saved import recover, verify
from acclimate.parallel.world import World
from acclimate.runs.layout import Layout
from acclimate.training.control.retention import SPENT
from acclimate.types.central import Callback, Metrics, TrainingState
from acclimate.types.errors import DamagedError, reason


class Watch(Protocol):
    """How measured weights are ranked."""

    @property
    def name(self) -> str:
        """Of the rule, in checkpoints."""
        ...

    def rank(self, metrics: Metrics) -> list[float] | None:
        """The lowest is the best; None of a step that measured nothing."""
        ...


@dataclass(frozen=True)
class Lowest:
    """By one metric."""

    name: str

    def rank(self, metrics: Metrics) -> list[float] | None:
        return [metrics[self.name]] if self.name in metrics else None


@dataclass(frozen=True)
class InsideBudget:
    """The best of the domain, by the mean change of its bits per byte, where the forgetting budget is kept; before all
    others, which are ranked by what they spend.

    >>> rule = InsideBudget(("domain",))
    >>> ranks = [rule.rank({SPENT: s, "eval/domain/change_percent": d}) for s, d in ((0.5, -9), (0.9, -12), (1.1, -20))]
    >>> ranks, min(ranks)
    ([[0.0, -9.0], [0.0, -12.0], [1.0, 1.1]], [0.0, -12.0])
    """

    domain: tuple[str, ...]
    name: str = "retain"

    def rank(self, metrics: Metrics) -> list[float] | None:
        if (spent := metrics.get(SPENT)) is None:
            return None
        changes = [metrics[key] for name in self.domain if (key := f"eval/{name}/change_percent") in metrics]
        return [1.0, spent] if spent > 1 else [0.0, fmean(changes) if changes else 0.0]


class Save(Callback):
    """Checkpoints every ``every`` steps and at the end, the last ``keep_last`` of them; if ``every`` is None, only
    when the run was asked to stop.

    When the step's metrics have a rank by ``watch`` and it is the lowest so far, the trained weights go to
    ``checkpoints/best``. What goes wrong while ``behind`` the next steps a checkpoint is written, the next one raises,
    or the run's end, which waits for it.
    """

    name = "save"

    def __init__(
        self,
        run_dir: Path,
        every: int | None,
        keep_last: int,
        watch: Watch,
        world: World,
        say: Callable[[str], None],
        behind: bool = False,
    ) -> None:
        self.run, self.every, self.keep_last, self.watch = Layout(run_dir), every, keep_last, watch
        self.world, self.say, self.writer = world, say, FolderWriter(world, behind)
        self.best: list[float] | None = None
        self._told: set[Path] = set()

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        rank = self.watch.rank(metrics)
        if rank is not None and (self.best is None or rank < self.best):
            self.best = rank
            weights = {f"weights/{name}": tensor for name, tensor in state.weights.state_dict().items()}
            measured = {name: found for name, found in metrics.items() if name.startswith("eval/")}
            self.writer.write(self.run.best, weights, {"step": state.step, **measured})
        due = self.every is not None and state.step % self.every == 0 and state.step < state.total_steps
        if due or state.stopping:
            self._save(state)
        if state.stopping:
            self.writer.wait()

    def on_train_end(self, state: TrainingState) -> None:
        if self.every is not None:
            self._save(state)
        self.writer.wait()

    def close(self) -> None:
        if (said := self.writer.close()) is not None and self.world.is_main:
            self.say(said)

    def _save(self, state: TrainingState) -> None:
        with self.world.all_or_none():
            if self.world.is_main:
                self._sync_metrics()
        self.writer.write(self.run.checkpoint(state.step), *state.saved(), self._remove_old)

    def _remove_old(self) -> None:
        if not self.world.is_main:
            return
        for old in self.run.step_checkpoints[: -self.keep_last]:
            if (error := discard(old)) and old not in self._told:
                self._told.add(old)
                self.say(
                    f"the checkpoint '{old}' could not be removed ({error.strerror or reason(error)}); training "
                    "goes on. What is left of it is removed with the next one, or at the next start."
                )

    def _sync_metrics(self) -> None:
        """The lines of the steps before a checkpoint are on the disk before it is."""
        path = self.run.metrics
        try:
            for written in (path, self.run.path) if path.is_file() else ():
                sync(written)
        except OSError as error:
            raise unwritable(path, error) from error

    def on_start(self, state: TrainingState) -> None:
        """When ``checkpoints/best`` is gone or damaged, the next measured weights are the best again; says so."""
        if self.best is None:
            return
        with suppress(OSError):  # another rank has done it
            recover(self.run.best)
        self.world.agree(None)
        try:
            verify(self.run.best, self.world)
        except DamagedError as error:
            self.best = None
            self.say(f"{error} The best weights are chosen anew from here on.")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "watch": self.watch.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best = state["best"] if state.get("watch") == self.watch.name else None  # or another version chose by another
        self.best = [best] if isinstance(best, float) else best  # of versions that knew one number
