"""The progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acclimate.paired.metrics import BITS
from acclimate.training.control.budget import MEAN, Budget
from acclimate.types.central import Callback, Metrics, TrainingState

SMALL = 0.01
"""Nats a token: below, a limit is written with two digits that count."""


class ProgressBar(Callback):
    """Steps, time left, rate, the loss of every source and term, and what was measured last of a forgetting budget.

    Where there is no terminal a line per tenth, and one per measurement.

    Args:
        budget: a forgetting budget.
    """

    def __init__(self, console: Console, name: str, total_steps: int, budget: Budget | None = None) -> None:
        self.console, self.name, self.budget = console, name, budget
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task(name, total=total_steps, figures="")
        self.last = ""

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        measured = any(name.startswith("eval/") for name in metrics)
        if measured and self.budget is not None:
            self.last = f"  {spent(self.budget, metrics)}"
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


def spent(budget: Budget, metrics: Metrics) -> str:
    """What is spent of the limit that is most exhausted.

    >>> from acclimate.paired.metrics import DRIFT
    >>> spent(Budget(DRIFT, {"mean": 0.05}, ("chat",)), {f"eval/chat/{DRIFT}": 0.0432})
    'kl 0.043 of 0.050'
    >>> spent(Budget("bits_per_byte", {"chat": 0.01}), {"eval/chat/change_percent": -0.25})
    'bits/byte of chat -0.25 % of +1.00 %'
    """
    parts = budget.spent(metrics)
    name = max(parts, key=lambda one: parts[one])
    limit, of = budget.limits[name], "" if name == MEAN else f" of {name}"
    if budget.metric == BITS:
        return f"bits/byte{of} {100 * parts[name] * limit:+.2f} % of {100 * limit:+.2f} %"
    digits = ".3f" if limit >= SMALL else ".2g"
    return f"kl{of} {parts[name] * limit:{digits}} of {limit:{digits}}"
