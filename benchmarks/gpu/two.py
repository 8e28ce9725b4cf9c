"""Two devices beside one: the same run by `--nproc 2`, with DDP and with FSDP."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarks.gpu.machine import Machine, table, write_model
from tests.fixtures.runs import metric_lines, settings, write_corpora

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {}),
    "two, DDP": (2, {}),
    "two, FSDP": (2, {"parallel": {"strategy": "fsdp"}}),
}


def run(on: Machine) -> str:
    if not on.rehearsed and torch.cuda.device_count() < 2:
        return f"Not run: it needs two GPUs, and there is {torch.cuda.device_count()}."
    lines: list[list[object]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = write_model(folder / "model", "rehearsal" if on.rehearsed else "0.6B", on)
        corpora, first = write_corpora(folder / "texts"), None
        for way, (processes, changes) in WAYS.items():
            last, seconds = _trained(on, model, corpora, folder / way.replace(" ", "-"), processes, changes)
            first = last if first is None else first
            lines.append([way, f"{seconds:.0f}", f"{last:.5f}", f"{last - first:+.1e}"])
    return table("processes | seconds, start to end | CE of the last step | beside one process", lines)


def _trained(
    on: Machine, model: Path, corpora: Path, folder: Path, processes: int, changes: dict[str, Any]
) -> tuple[float, float]:
    device = "cpu" if on.rehearsed else "cuda"
    asked = {"model": {"dtype": "bfloat16", "device": device}, "evaluation": {"generations": 0}} | changes
    folder.mkdir()
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(settings(model, corpora, folder / "runs", **asked)))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "acclimate", "train", str(config), "--nproc", str(processes)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - begun
    learned = [
        line["loss/domain/cross_entropy"]
        for line in metric_lines(folder / "runs/run")
        if "loss/domain/cross_entropy" in line
    ]
    return learned[-1], seconds
