"""Does it run, and does it say the same: whole runs in bfloat16 on the device, by attention and tuning.

A run is 20 steps of mol. Its first KL must be exactly 0. One that is killed after step 10 and goes on is held beside
one that was not: bitwise, or by how much not. The documents of packed rows are computed as each by itself, or loading
would have refused the model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.machine import Machine, table, write_model
from tests.fixtures.runs import config, killed_after, metric_lines, weights, write_corpora

from acclimate.kernels.varlen import why_no_varlen
from acclimate.types.errors import AcclimateError
from acclimate.verbs.run import train

STEPS, REHEARSED = 20, 4
TUNINGS: dict[str, dict[str, Any]] = {"full": {}, "LoRA": {"lora": {"rank": 8, "alpha": 16}}}


def attentions(on: Machine) -> list[str]:
    """Those that can be trained with here; flex attention has no backward on a CPU."""
    if on.device.type != "cuda":
        return ["sdpa"]
    return ["sdpa", *(["varlen"] if why_no_varlen(on.device, on.dtype) is None else []), "flex_attention"]


def run(on: Machine) -> str:
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = write_model(folder / "model", "rehearsal", on)
        corpora = write_corpora(folder / "texts")
        for attention in attentions(on):
            for tuning, changes in TUNINGS.items():
                lines.append([attention, tuning, *_compared(on, model, corpora, folder / attention / tuning, changes)])
    head = "attention | tuning | KL of step 1 | CE, first and last step | after kill and resume"
    return f"{why(on)}{table(head, lines)}"


def why(on: Machine) -> str:
    reason = why_no_varlen(on.device, on.dtype)
    return "" if reason is None else f"varlen was not run: {reason}.\n\n"


def _compared(on: Machine, model: Path, corpora: Path, folder: Path, changes: dict[str, Any]) -> list[str]:
    steps = REHEARSED if on.rehearsed else STEPS
    asked = {
        "model": {"dtype": "bfloat16", "device": str(on.device), "attention": folder.parent.name},
        "budget": {"steps": steps, "batch_tokens": 128},
        "training": {"save_steps": steps // 2},
        "evaluation": {"generations": 0},
    } | changes
    try:
        whole = train(config(model, corpora, folder / "whole", **asked)).run_dir
        parted = config(model, corpora, folder / "parted", **asked)
        killed_after(steps // 2, parted)
        again = train(parted, resume=True).run_dir
    except AcclimateError as error:
        return ["–", "–", f"refused: {error}"]
    metrics = metric_lines(whole)
    drift = next(value for name, value in metrics[0].items() if name.endswith("/reverse_kl"))
    learned = [line["loss/domain/cross_entropy"] for line in metrics if "loss/domain/cross_entropy" in line]
    losses = (learned[0], learned[-1])
    first, second = weights(whole), weights(again)
    apart = max(float((first[name].float() - second[name].float()).abs().max()) for name in first)
    same = "bitwise the same" if apart == 0 else f"weights differ by at most {apart:.1e}"
    return [f"{drift:g}", " to ".join(f"{loss:.3f}" for loss in losses), same]
