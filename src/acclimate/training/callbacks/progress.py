"""The progress bar."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acclimate.types.central import Callback, Metrics, TrainingState


class ProgressBar(Callback):
    """Steps, time left, rate, the loss of every source and term, and what was measured last of a forgetting budget.

    Where there is no terminal a line per tenth, and one per measurement.

    Args:
        spent: what a measurement says of the budget, ``kl 0.043 of 0.050``.
    """

    def __init__(
        self, console: Console, name: str, total_steps: int, spent: Callable[[Metrics], str] | None = None
    ) -> None:
        self.console, self.name, self.spent = console, name, spent
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task(name, total=total_steps, figures="")
        self.last = ""

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        measured = any(name.startswith("eval/") for name in metrics)
        if measured and self.spent is not None:
            self.last = f"  {self.spent(metrics)}"
        losses = "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in metrics.items() if k.startswith("loss/"))
        figures = f"{metrics['tokens_per_second']:.0f} tok/s{self.last}  {losses}"
        if self.console.is_terminal:
            self.bar.start()
            self.bar.update(self.task, completed=state.step, figures=figures)
        elif measured or state.step % max(1, state.total_steps // 10) == 0:
            changes = "".join(
                f"  {k.removeprefix('eval/').removesuffix('/change_percent')} {v:+.1f} %"
                for k, v in metrics.items() if k.startswith("eval/") and k.endswith("/change_percent")
            )  # fmt: skip
            self.console.print(
                f"{self.name}: step {state.step}/{state.total_steps}  {figures}{changes}", highlight=False
            )

    def close(self) -> None:
        self.bar.stop()  # also when the loop stops with an error: the terminal gets its cursor back
