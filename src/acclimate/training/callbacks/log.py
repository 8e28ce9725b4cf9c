"""metrics.jsonl, always, and tensorboard when asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from acclimate.runs.layout import append_line, body, write_lines
from acclimate.training.control.retention import SPENT
from acclimate.types.central import Callback, Metrics, TrainingState
from acclimate.types.errors import UsageError


class MetricsLog(Callback):
    """One JSON object per optimizer step, flushed at once. After a resume, lines of steps that are done again go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        append_line(self.path, {"step": state.step} | metrics)

    def on_start(self, state: TrainingState) -> None:
        """Removes lines of later steps, and a torn last line."""
        if not self.path.exists():
            return
        kept = []
        for _, line in body(self.path, self.path.read_text(encoding="utf-8", errors="replace").splitlines()):
            try:
                if (found := json.loads(line))["step"] <= state.step:
                    kept.append(found)
            except (ValueError, KeyError, TypeError):
                continue
        write_lines(self.path, kept)


BUDGET = "retain/budget"
"""The line that ``retain/spent`` is to stay below."""


class TensorBoard(Callback):
    """The same metrics for tensorboard, in the run folder's ``tensorboard/``; a forgetting budget's line beside what is
    spent of it, and a chart with both."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "report_to: tensorboard is not installed; run `pip install 'acclimate[tensorboard]'` "
                "or set report_to: []."
            ) from None
        self._folder, self._kind = folder, SummaryWriter
        self._writer: Any = None
        self._charted = False

    def on_start(self, state: TrainingState) -> None:
        """Hides what was logged of later steps."""
        self._writer = self._kind(str(self._folder), purge_step=state.step + 1)

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        if SPENT in metrics:
            if not self._charted:
                self._writer.add_custom_scalars({"budget": {"spent of the budget": ["Multiline", [SPENT, BUDGET]]}})
                self._charted = True
            metrics = metrics | {BUDGET: 1.0}
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, state.step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
