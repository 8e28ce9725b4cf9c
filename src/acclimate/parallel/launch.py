"""``--nproc N``: the same command in N processes of this machine, as torchrun would start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from acclimate.types.errors import UsageError

GRACE_SECONDS = 20.0
"""For the others to end by themselves once one has failed; then they are killed."""
LAUNCHED = "ACCLIMATE_LAUNCHED"


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs ``acclimate ARGUMENTS`` in so many processes and returns 0, or the exit code of the first that failed.

    Signals are handed on. When this process dies, whatever the reason, the others end too.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    shared = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        LAUNCHED: "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "acclimate", *arguments],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,  # never written to: its end tells the process that this one is gone
            start_new_session=True,  # Ctrl-C reaches this process only, which hands it on
        )
        for rank in range(processes)
    ]

    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    handed = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.signal(number, hand_on) for number in handed}
    try:
        return _wait(running)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(running: Sequence[subprocess.Popen[bytes]]) -> int:
    deadline = float("inf")
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        if deadline == float("inf") and any(process.returncode for process in running):
            deadline = time.monotonic() + GRACE_SECONDS
        time.sleep(0.05)
    failed = {rank: process.returncode for rank, process in enumerate(running) if process.returncode}
    for process in running:
        process.kill()
        process.wait()
    if not failed:
        return 0
    rank, code = min(failed.items(), key=lambda item: item[1])  # killed by a signal: below 0, and the cause
    if code > 0:
        return max(failed.values())  # the others end with 1 because of it
    name = signal.Signals(-code).name
    late = (
        ", as NCCL does where a rank is not heard of for parallel.timeout_minutes," if code == -signal.SIGABRT else ""
    )
    print(
        f"Error: process {rank} was killed by {name}{late or ','} so the others are ended; --resume continues from the "
        "last checkpoint.",
        file=sys.stderr,
    )
    return 128 - code


def launched_processes() -> int:
    """Processes that the launcher's environment speaks of; 1 without a launcher.

    Raises:
        UsageError: WORLD_SIZE is no number.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if not size.isdecimal() or size == "0":
        raise UsageError(
            f"WORLD_SIZE is '{size}' in the environment; accepted: how many processes there are, as torchrun sets it."
        )
    return int(size)


def launched_rank() -> int:
    return int(os.environ.get("RANK", "0"))


def speaks() -> bool:
    """Whether this process prints an error of its own. Before the ranks have joined, all of a machine meet the same
    error, and the first prints it; afterwards :meth:`~acclimate.parallel.world.World.all_or_none` silences the others.
    """
    return _joined() is not None or os.environ.get("LOCAL_RANK", "0") == "0"


def lost_peer(error: RuntimeError) -> str | None:
    """A sentence on a collective that failed because another process is gone or stuck; None of any other error.

    It is empty where :func:`launch` sees the other process end, and says why.
    """
    if _joined() is None:
        return None
    from acclimate.parallel.world import is_late, lost

    said = lost(error)
    return "" if said is not None and LAUNCHED in os.environ and not is_late(error) else said


def _joined() -> Any:
    """torch.distributed once the ranks have joined. Who never loaded it has not, and need not wait for it to load."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_initialized() else None


def end_with_launcher() -> bool:
    """In a process that :func:`launch` started: exits when the launcher is gone. Returns whether this is one."""
    if LAUNCHED not in os.environ:
        return False

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
