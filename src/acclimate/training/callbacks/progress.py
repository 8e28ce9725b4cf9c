"""What a terminal shows of a run: its steps, and how far measuring is."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.text import Text

from acclimate.paired.metrics import BITS
from acclimate.training.control.budget import MEAN, Budget
from acclimate.types.central import Callback, Metrics, TrainingState

SMALL = 0.01
"""Nats a token: below, a limit is written with two digits that count."""
LONGEST_BAR = 24


class ProgressBar(Callback):
    """Steps, rate and time left on a first line at any width, and losses and what was measured last on two others.

    Where there is no terminal a line per tenth, and one per measurement.

    Args:
        budget: a forgetting budget.
    """

    def __init__(self, console: Console, name: str, total_steps: int, budget: Budget | None = None) -> None:
        self.console, self.name, self.budget, self.total = console, name, budget, total_steps
        self.live: Live | None = None
        self.step, self.first, self.began = 0, 0, time.monotonic()
        self.rate, self.losses, self.last, self.spent = "", "", "", ""

    def on_start(self, state: TrainingState) -> None:
        self.step = self.first = state.step
        self.began = time.monotonic()

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        self.step = state.step
        measured = any(name.startswith("eval/") for name in metrics)
        if measured:
            self.spent = f"  {spent(self.budget, metrics)}" if self.budget is not None else ""
            self.last = f"{self.spent}{changes(metrics)}"
        losses = "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in metrics.items() if k.startswith("loss/"))
        self.rate = f"{metrics['tokens_per_second']:.0f} tok/s"
        rate = f"  learning rate {metrics['learning_rate']:.2g}" if "learning_rate" in metrics else ""
        self.losses = f"loss  {losses}{rate}"
        if self.console.is_terminal:
            self._show()
        elif measured or state.step % max(1, state.total_steps // 10) == 0:
            held_out = self.last if measured else self.spent
            done = f"step {state.step}/{state.total_steps}  {self.rate}, {self._left()} left"
            line = f"{self.name}: {done}  {losses}{held_out}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()  # also when the loop stops with an error: the terminal gets its cursor back
            self.live = None

    def _show(self) -> None:
        if not self.console.is_terminal:
            return
        if self.live is None:
            self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self.render)
            self.live.start()

    def _left(self) -> str:
        """Time left at the pace of this session, measurements included."""
        done = self.step - self.first
        return clock((time.monotonic() - self.began) / done * (self.total - self.step)) if done else "?"

    def render(self) -> Text:
        """The lines, none longer than the terminal is wide."""
        width = self.console.width
        parts = [f"{self.step}/{self.total}", f"{self._left()} left", self.rate]
        line = "  ".join(part for part in parts if part)
        room = width - len(line) - 2
        name = self.name if len(self.name) <= room else ""
        size = min(LONGEST_BAR, room - len(name) - 2)
        if size >= 8:
            line = f"{bar(self.step, self.total, size)}  {line}"
        line = f"{name}  {line}" if name else line
        more = [self.losses, f"held out{self.last}" if self.last else ""]
        shown = [_fitting(text, width) for text in (line, *more) if text]
        return Text("\n".join(shown), no_wrap=True, overflow="ellipsis")


def changes(metrics: Metrics) -> str:
    """
    >>> changes({"eval/law/change_percent": -3.14, "loss/law/ce": 1.0})
    '  law -3.1 %'
    """
    return "".join(
        f"  {name.removeprefix('eval/').removesuffix('/change_percent')} {value:+.1f} %"
        for name, value in metrics.items()
        if name.startswith("eval/") and name.endswith("/change_percent")
    )


def bar(step: int, total: int, size: int) -> str:
    """
    >>> bar(3, 12, 8)
    '━━──────'
    """
    done = size * step // max(total, 1)
    return "━" * done + "─" * (size - done)


def clock(seconds: float) -> str:
    """
    >>> clock(7), clock(754), clock(7384)
    ('0:07', '12:34', '2:03:04')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _fitting(text: str, width: int) -> str:
    """Cut between two figures, which stand two blanks apart, where there is one."""
    if len(text) <= width:
        return text
    cut = text[: max(width - 2, 1)]
    return (cut[: cut.rindex("  ")] if "  " in cut.strip() else cut).rstrip() + " …"


class Measuring:
    """How far the measuring of a trained model is: what is measured, and how many of its batches are done.

    Where there is no terminal a line for each thing that is measured.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Status | None = None

    def __enter__(self) -> Measuring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()
            self.status = None

    def of(self, what: str, total: int = 0) -> Callable[[], None]:
        """What is measured from now on; what it returns is called after each of its ``total`` parts."""
        if not self.console.is_terminal:
            self.console.print(f"Measuring: {what}.", highlight=False, markup=False, soft_wrap=True)
            return lambda: None
        done, began = 0, time.monotonic()

        def tell() -> None:
            left = f", {clock((time.monotonic() - began) / done * (total - done))} left" if done else ""
            self._status(f"Measuring: {what}{f' {done}/{total}{left}' if total else ''}")

        def tick() -> None:
            nonlocal done
            done += 1
            tell()

        tell()
        return tick

    def _status(self, text: str) -> None:
        shown = Text(text, no_wrap=True, overflow="ellipsis")
        if self.status is None:
            self.status = Status(shown, console=self.console)
            self.status.start()
        else:
            self.status.update(shown)


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
