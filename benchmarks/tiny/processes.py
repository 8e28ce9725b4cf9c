"""A task a process, forked from one that has imported everything, so that no task can harm another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Task = Callable[[str], Any]


def each(names: Sequence[str], task: Task, workers: int, seconds: int, logs: Path) -> Iterator[tuple[str, Any]]:
    """``(name, result)`` of every task as it ends; of one that did not come to its end, a sentence.

    Args:
        workers: processes at one time.
        seconds: after which a task is killed.
        logs: folder of what each printed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context("fork")
    waiting, running = list(reversed(names)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            name = waiting.pop()
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_run, args=(task, name, theirs, seconds, logs / f"{name}.log"))
            process.start()
            theirs.close()
            running[ours] = name, process
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            name, process = running.pop(ready)
            try:
                result = ready.recv()
            except EOFError:
                process.join()
                late = process.exitcode == -signal.SIGALRM
                result = f"took over {seconds} s" if late else f"ended with exit code {process.exitcode}"
            process.join()
            yield name, result


def _run(task: Task, name: str, result: Connection, seconds: int, log: Path) -> None:
    """In the new process; the alarm ends it, whatever hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    with log.open("w") as printed:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    result.send(task(name))
    result.close()
    os._exit(0)  # threads that a task leaves behind would be waited for
