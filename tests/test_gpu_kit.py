"""`make gpu`: every part in its rehearsal on a CPU, the limits, and what is said where there is no GPU."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import pytest
from benchmarks.gpu import kit
from benchmarks.gpu.machine import machine


def test_the_parts_end_within_their_minutes() -> None:
    assert sum(part.limit for part in kit.PARTS) <= kit.MINUTES * 60


def test_without_a_gpu_it_says_what_it_would_do() -> None:
    told = kit.plan(kit.PARTS)
    assert told.startswith("There is no GPU here.")
    assert all(f"\n{part.name}: " in told for part in kit.PARTS)


@pytest.mark.parametrize(
    ("name", "columns", "rows"), [("exact", 5, 2), ("layer", 6, 2), ("head", 9, 12), ("steps", 9, 2)]
)
def test_a_rehearsal_runs_every_line(name: str, columns: int, rows: int) -> None:
    made = importlib.import_module(f"benchmarks.gpu.{name}").run(machine(rehearsed=True))
    lines = [line for line in made.splitlines() if line.startswith("|")]
    assert len(lines) == rows + 2
    assert all(line.count(" | ") == columns - 1 for line in lines[:1] + lines[2:])
    assert "Error" not in made


def test_a_part_that_fails_is_said_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 3, stdout=""))
    assert "**Not measured:** it ended with 3" in kit.ran(kit.PARTS[0], rehearsed=True)

    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("kit", 5)

    monkeypatch.setattr(subprocess, "run", late)
    assert "**Not measured:** it took more than" in kit.ran(kit.PARTS[0], rehearsed=True)
