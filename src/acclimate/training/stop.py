"""SIGTERM, SIGUSR1, SIGHUP and Ctrl-C while training: the step is finished, a checkpoint written, and the run ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rich.console import Console

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""The first that a rank got is the one that the run ends with."""


@dataclass
class StopRequest:
    """Whether the run was asked to stop.

    ``signal`` is the number that this process got, 0 for none; ``agreed`` is the one that all ranks know of after a
    step, so that they stop after the same one and with the same exit code.
    """

    signal: int = 0
    agreed: int = 0

    @property
    def asked(self) -> list[bool]:
        """Which of ``SIGNALS`` this process got."""
        return [self.signal == number for number in SIGNALS]

    def agree(self, asked: Sequence[float]) -> None:
        """How many ranks got each of them."""
        self.agreed = next((number for number, ranks in zip(SIGNALS, asked, strict=True) if ranks), 0)

    @contextmanager
    def listening(self, console: Console) -> Iterator[None]:
        """Notes the first of ``SIGNALS``, among which SIGUSR1 is Slurm's usual word that a job's time ends; a second
        one interrupts at once.

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
            for wanted in SIGNALS:
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
