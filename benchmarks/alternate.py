"""Contenders side by side: one process each, all alive, timed in turn.

On a shared machine one contender after the other measures the machine. Here every round asks each contender for one
call, in an order that rotates; ratios are taken within a round. A contender waits on a pipe while another works.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from acclimate.verbs.doctor.machine import allocator

ROOT = Path(__file__).resolve().parent.parent
Sample = dict[str, float]


def serve(work: Callable[[], dict[str, Any] | None]) -> None:
    """The worker's side: answers every line on standard input with one timed call of ``work``.

    Peak memory is that of the call above what the process held before it, by the kernel's resettable high-water
    mark; CPU seconds are those of all threads.
    """
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else prints goes to standard error
    answer.write("ready\n")
    for _ in sys.stdin:
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        cpu, wall = time.process_time(), time.perf_counter()
        found = work() or {}
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = _memory("VmHWM")
        answer.write(json.dumps({"wall": wall, "cpu": cpu, "extra": peak - before, "peak": peak} | found) + "\n")


def _memory(field: str) -> float:
    """MiB of this process."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


class Contender:
    def __init__(self, script: str, arguments: Sequence[str], threads: int, variables: Mapping[str, str]) -> None:
        fixed = {"OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
        environment = os.environ | fixed | dict(variables)
        self.process = subprocess.Popen(
            [sys.executable, script, "worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "QUIET" in os.environ else None,
            text=True,
            env=environment,
        )
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}.")  # type: ignore[arg-type]
        return line

    def call(self) -> Sample:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        sample: Sample = json.loads(self._line())
        return sample

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def race(
    script: str,
    contenders: Mapping[str, Sequence[str]],
    rounds: int,
    threads: int = 2,
    warmup: int = 1,
    variables: Mapping[str, Mapping[str, str]] = {},
) -> dict[str, list[Sample]]:
    """Samples of each contender, by round; ``variables`` of its environment are a contender's own."""
    running = {
        name: Contender(script, arguments, threads, variables.get(name, {})) for name, arguments in contenders.items()
    }
    samples: dict[str, list[Sample]] = {name: [] for name in running}
    names = list(running)
    for number in range(warmup + rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            sample = running[name].call()
            if number >= warmup:
                samples[name].append(sample)
    for contender in running.values():
        contender.end()
    return samples


def ratios(samples: Mapping[str, list[Sample]], name: str, other: str, field: str = "wall") -> tuple[float, str]:
    """Median of the rounds' ratios, and their range in words."""
    pairs = sorted(a[field] / b[field] for a, b in zip(samples[name], samples[other], strict=True))
    return median(pairs), f"{pairs[0]:.2f}-{pairs[-1]:.2f}"


def middle(samples: Sequence[Sample], field: str) -> float:
    return median(sample[field] for sample in samples)


def spread(samples: Sequence[Sample], field: str) -> str:
    values = sorted(sample[field] for sample in samples)
    return f"{median(values):.2f} ({values[0]:.2f}-{values[-1]:.2f})"


def header(title: str, packages: Sequence[str], raced: bool = True) -> str:
    """First lines of a result file: date, machine, versions, commit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    commit = subprocess.check_output(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"# {title}\n\n{datetime.now(timezone.utc):%Y-%m-%d}, commit {commit.strip()}, `python {' '.join(sys.argv)}`. "
        f"{os.cpu_count()} cores of {cpu}, Linux {platform.release()}, Python {platform.python_version()}, {versions}, "
        f"{allocator()}. "
        + "One process per contender, timed in turn; medians, smallest and largest in brackets.\n"
        * raced
    )
