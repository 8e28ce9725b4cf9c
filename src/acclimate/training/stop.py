"""SIGTERM, SIGHUP and Ctrl-C while training: the step is finished, a checkpoint written, and the run ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rich.console import Console


@dataclass
class StopRequest:
    """Whether the run was asked to stop.

    ``signal`` is the number that this process got, 0 for none; ``agreed`` is what all ranks know after a step, so
    that they stop after the same one.
    """

    signal: int = 0
    agreed: bool = False

    @contextmanager
    def listening(self, console: Console) -> Iterator[None]:
        """Notes the first SIGTERM, SIGHUP or SIGINT; a second one interrupts at once.

        Only the main thread of a process can listen; elsewhere signals do what they did before.
        """

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            console.print(f"Stopping after this step, with a checkpoint{again}.", highlight=False)

        before: dict[int, Any] = {}
        try:
            for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(wanted) == signal.SIG_IGN:  # nohup
                    continue
                before[wanted] = signal.signal(wanted, note)
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
