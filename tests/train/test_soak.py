"""kill -9 at random moments, then --resume: the weights are those of the run that nothing disturbed.

SOAK=20 python -m pytest tests/train/test_soak.py
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from acclimate.config import save_config
from tests.fixtures.runs import config

KILLS = int(os.environ.get("SOAK", "3"))
SETTINGS: dict[str, Any] = {
    "method": ["mol", "l2"],
    "lora": {"rank": 4, "dropout": 0.1},
    "budget": {"steps": 40, "batch_tokens": 128},
    "sources": {
        "general": {"path": "general.jsonl", "share": 0.25, "heldout": 4, "streaming": True, "shuffle_buffer": 8}
    },
    "schedule": {"type": "wsd", "decay_ratio": 0.5},
    "training": {"micro_batch_size": 2, "save_steps": 3, "eval_steps": 8, "final": "best"},
}


def start(path: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "acclimate", "train", str(path), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def results(run_dir: Path) -> dict[str, bytes]:
    """Weights and measurements."""
    found = [*(run_dir / "model").glob("*.safetensors"), run_dir / "summary.json", *(run_dir / "eval").iterdir()]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in found}


def test_killed_at_random_moments(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    stream = {"general": SETTINGS["sources"]["general"] | {"path": str(corpora / "general.jsonl")}}
    settings = config(pico_folder, corpora, tmp_path, **(SETTINGS | {"sources": stream}))
    path = tmp_path / "c.yaml"
    save_config(settings, path)
    began = time.monotonic()
    straight = start(path)
    while not (settings.run_dir / "metrics.jsonl").exists() and straight.poll() is None:
        time.sleep(0.01)
    trains_after = time.monotonic() - began
    assert straight.wait(timeout=300) == 0
    whole = time.monotonic() - began
    expected = results(settings.run_dir)
    draw, moments = random.Random(int(os.environ.get("SOAK_SEED", "0"))), []
    for trial in range(KILLS):
        shutil.rmtree(settings.run_dir)
        killed, delay = start(path), draw.uniform(0.8 * trains_after, whole)
        try:
            killed.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            killed.kill()
        killed.wait()
        left = sorted(str(p.relative_to(settings.run_dir)) for p in settings.run_dir.rglob("*") if p.is_dir())
        moments.append(f"{delay:.2f} s: {', '.join(left) or 'no folder yet'}")
        begun = (settings.run_dir / "config.yaml").exists()
        resumed = start(path, *(["--resume"] if begun else []))
        _, errors = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, f"{moments[-1]}\n{errors.decode()}"
        assert results(settings.run_dir) == expected, f"trial {trial}, killed after {moments[-1]}"
    print(*moments, sep="\n")
    assert any("checkpoints/step" in moment for moment in moments)  # otherwise only beginnings were killed
