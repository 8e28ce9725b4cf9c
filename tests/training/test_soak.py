"""kill -9 at random moments, then --resume: the weights are those of the run that nothing disturbed.

SOAK=20 python -m pytest tests/training/test_soak.py
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from acclimate.config.load import save_config
from acclimate.verbs.run import train
from tests.fixtures.nursery import Warm
from tests.fixtures.runs import config

KILLS = int(os.environ.get("SOAK", "2"))
SETTINGS: dict[str, Any] = {
    "method": ["mol", "l2"],
    "lora": {"rank": 4, "dropout": 0.1},
    "budget": {"steps": 40, "batch_tokens": 128},
    "sources": {
        "general": {"path": "general.jsonl", "share": 0.25, "heldout": 4, "streaming": True, "shuffle_buffer": 8}
    },
    "schedule": {"type": "wsd", "decay_ratio": 0.5},
    "training": {"micro_batch_size": 2, "save_steps": 3, "eval_steps": 8, "final": "best"},
    "evaluation": {"validation_documents": 2},
}


def start(path: Path, *options: str) -> Warm:
    command = [sys.executable, "-m", "acclimate", "train", str(path), *options]
    return Warm(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def results(run_dir: Path) -> dict[str, bytes]:
    """Weights and measurements."""
    found = [*(run_dir / "model").glob("*.safetensors"), run_dir / "summary.json", *(run_dir / "eval").glob("*.jsonl")]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in found}


def wait_until(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def steps_taken(run_dir: Path) -> int:
    metrics = run_dir / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def has_taken(run_dir: Path, steps: int) -> bool:
    return steps_taken(run_dir) >= steps


def test_killed_at_random_moments(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The moment is a little after a random step, or after the last, while the tuned model is measured."""
    stream = {"general": SETTINGS["sources"]["general"] | {"path": str(corpora / "general.jsonl")}}
    settings = config(pico_folder, corpora, tmp_path, **(SETTINGS | {"sources": stream}))
    run_dir, path = settings.run_dir, tmp_path / "c.yaml"
    save_config(settings, path)
    train(settings)  # in a process whose hash seed is not that of the others
    expected = results(run_dir)
    draw, steps, moments = random.Random(int(os.environ.get("SOAK_SEED", "0"))), SETTINGS["budget"]["steps"], []
    for trial in range(KILLS):
        shutil.rmtree(run_dir)
        step, killed = draw.randint(0, steps + 4), start(path)
        wait_until(killed, (run_dir / "config.yaml").exists)
        if step <= steps:
            wait_until(killed, partial(has_taken, run_dir, step))
        else:
            wait_until(killed, (run_dir / "model").exists)
        time.sleep(draw.uniform(0, 0.1))
        killed.kill()
        killed.wait()
        taken = steps_taken(run_dir)
        ended = next((name for name in ("summary.json", "eval", "model") if (run_dir / name).exists()), "training")
        saved = ", ".join(sorted(folder.name for folder in run_dir.glob("checkpoints/*"))) or "none"
        moments.append(f"after step {taken}, in {ended}, checkpoints: {saved}")
        resumed = start(path, "--resume")
        _, errors = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, f"{moments[-1]}\n{errors.decode()}"
        assert results(run_dir) == expected, f"trial {trial}, killed {moments[-1]}"
    print(*moments, sep="\n")
    assert any("step-" in moment and "in training" in moment for moment in moments)  # what this is about happened
