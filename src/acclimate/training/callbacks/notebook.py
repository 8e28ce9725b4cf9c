"""Progress in a notebook: a bar, and a table of what was measured."""

from __future__ import annotations

import sys
import time
from typing import Any

from acclimate.types.central import Callback, Metrics, TrainingState
from acclimate.types.notebook import html_table

EVERY = 0.5
"""Seconds between two pictures."""
LINES = 20
"""Measurements that are shown, the last ones."""


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this process, which shows what is displayed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookProgress(Callback):
    """Steps, time left, losses of the last step, and a line for each measurement of held-out text, in one cell.

    Args:
        name: of the run.
        total_steps: that it will take.
    """

    def __init__(self, name: str, total_steps: int) -> None:
        self.run, self.total_steps = name, total_steps
        self.lines: list[dict[str, float]] = []
        """Of every measurement, what was measured."""
        self.now: Metrics = {}
        self._first, self._began, self._shown = 0, time.monotonic(), 0.0
        self._cell: Any = None

    def on_start(self, state: TrainingState) -> None:
        self._first, self._began = state.step, time.monotonic()

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        self.now = dict(metrics)
        measured = {name: value for name, value in metrics.items() if name.startswith("eval/")}
        if measured:
            self.lines.append({"step": float(state.step)} | measured)
        if measured or state.step == self.total_steps or time.monotonic() - self._shown > EVERY:
            self._show(state.step)

    def html(self, step: int) -> str:
        """What the cell shows after so many steps."""
        done = max(step - self._first, 1)
        left = (time.monotonic() - self._began) / done * (self.total_steps - step)
        bar = f'<progress value="{step}" max="{self.total_steps}" style="width:24em"></progress>'
        losses = " · ".join(f"{n.removeprefix('loss/')} {v:.3f}" for n, v in self.now.items() if n.startswith("loss/"))
        columns = list(dict.fromkeys(name for line in self.lines for name in line))
        rows = [
            [f"{line['step']:.0f}", *(f"{line[name]:.4f}" if name in line else "" for name in columns[1:])]
            for line in self.lines[-LINES:]
        ]
        said = html_table((), (), [f"{self.run}: step {step:,} of {self.total_steps:,}, {_spoken(left)} left", losses])
        return f"<div>{bar}{said}{html_table([name.removeprefix('eval/') for name in columns], rows)}</div>"

    def _show(self, step: int) -> None:
        from IPython.display import HTML, display

        page = HTML(self.html(step))
        if self._cell is None:
            self._cell = display(page, display_id=True)
        else:
            self._cell.update(page)
        self._shown = time.monotonic()


def _spoken(seconds: float) -> str:
    """
    >>> _spoken(8.0), _spoken(75.0), _spoken(7290.0)
    ('8 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
