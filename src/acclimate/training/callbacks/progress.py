"""The progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acclimate.types.central import Callback, Metrics, TrainingState


class ProgressBar(Callback):
    """Steps, time left, rate, and the loss of every source and term. A line per tenth where there is no terminal."""

    def __init__(self, console: Console, name: str, total_steps: int) -> None:
        self.console, self.name = console, name
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task(name, total=total_steps, figures="")

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        losses = "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in metrics.items() if k.startswith("loss/"))
        figures = f"{metrics['tokens_per_second']:.0f} tok/s  {losses}"
        if self.console.is_terminal:
            self.bar.start()
            self.bar.update(self.task, completed=state.step, figures=figures)
        elif state.step % max(1, state.total_steps // 10) == 0:
            self.console.print(f"{self.name}: step {state.step}/{state.total_steps}  {figures}", highlight=False)

    def close(self) -> None:
        self.bar.stop()  # also when the loop stops with an error: the terminal gets its cursor back
