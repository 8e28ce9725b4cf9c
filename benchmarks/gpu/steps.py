"""Whole steps: speed, who waits for whom, and memory beside what `acclimate validate` says.

Qwen3's shapes with random weights, in bfloat16, one packed row a micro-batch, two of them a step (mol and replay: one
of the domain, one of general text). TFLOP/s count 6 N a trained token (2 N more for a reference's forward; 4 N in place
of 6 N with LoRA), and no attention. `syncs` are the host's waits for the device in one micro-batch, by the profiler.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.machine import GIB, Machine, spread, table, write_model, write_texts
from rich.console import Console

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from acclimate.types.errors import AcclimateError
from acclimate.verbs.validate import validate

LORA = {"lora": {"rank": 16, "alpha": 32}}
SETTINGS: list[tuple[str, str, int, dict[str, Any]]] = [  # shape, method, row, changes
    ("0.6B", "mol", 2048, {}),
    ("0.6B", "replay", 2048, {}),
    ("0.6B", "mol", 8192, {}),
    ("1.7B", "mol", 2048, {"training": {"gradient_checkpointing": True}}),
    ("4B", "mol", 2048, LORA),
    ("4B", "replay", 2048, LORA),
    ("8B", "mol", 8192, LORA | {"training": {"gradient_checkpointing": True}}),
]
REHEARSAL = [("rehearsal", "mol", 64, {}), ("rehearsal", "replay", 64, LORA)]
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def run(on: Machine) -> str:
    lines: list[list[object]] = []
    with tempfile.TemporaryDirectory() as place:
        folder, models = Path(place), dict[str, Path]()
        for shape, method, row, changes in REHEARSAL if on.rehearsed else SETTINGS:
            if shape not in models:
                models[shape] = write_model(folder / shape, shape, on)
            texts = write_texts(folder / f"texts-{row}", 64, row)
            named = f"{shape}, {method}, {'LoRA' if 'lora' in changes else 'full'}"
            named += ", all layers again" * ("training" in changes)
            try:
                found = _measured(on, models[shape], texts, method, row, changes)
            except (AcclimateError, torch.OutOfMemoryError) as error:
                found = [f"{type(error).__name__}: {str(error).splitlines()[0]}", *["–"] * 6]
            lines.append([named, row, *found])
            gc.collect()
            if on.device.type == "cuda":
                torch.cuda.empty_cache()
    return table(
        "setting | row | attention | ms a step | tokens/s | TFLOP/s | syncs | peak, GiB | estimate / peak", lines
    )


def _measured(on: Machine, model: Path, texts: Path, method: str, row: int, changes: dict[str, Any]) -> list[object]:
    source = {"share": 0.5, "heldout": 8}
    training = {"micro_batch_size": 1} | changes.get("training", {})
    data = {
        "name": "bench",
        "output_dir": tempfile.mkdtemp(dir=texts),
        "model": {"path": str(model), "dtype": "bfloat16", "device": str(on.device)},
        "method": method,
        "sources": {name: {"path": str(texts / f"{name}.jsonl")} | source for name in ("domain", "general")},
        "budget": {"steps": 200, "batch_tokens": row},
        "data": {"sequence_length": row, "cache_dir": str(texts / "cache")},
        **changes,
        "training": training,
    }
    estimate = validate(parse_config(data)).memory_bytes
    if on.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(on.device)
    job = resolve(parse_config(data))
    corpora, pair = load_corpora(job.config, load_tokenizer(job.config.model)), load_model(job.config, job.device)
    built, _, _ = build_training(job, compose(job.config), pair, corpora, Console(quiet=True))
    built.callbacks = ()
    before, step = trained(built), built.step
    taken = on.seconds(lambda: one_step(built), rounds=8, warmup=4)
    tokens = (trained(built) - before) / (built.step - step)
    weights = sum(p.numel() for p in pair.network.parameters())
    passes = (4 if "lora" in changes else 6) * tokens + 2 * tokens / 2 * (method == "mol")
    peak = torch.cuda.max_memory_allocated(on.device) if on.device.type == "cuda" else None
    return [
        pair.network.config._attn_implementation,
        spread(taken),
        f"{tokens / taken[0]:,.0f}",
        f"{passes * weights / taken[0] / 1e12:.1f}",
        _waits(on, built),
        "–" if peak is None else f"{peak / GIB:.2f}",
        "–" if peak is None else f"{estimate / peak:.2f}",
    ]


def one_step(built: Training) -> None:
    built.total_steps = built.step + 1
    run_loop(built)


def trained(built: Training) -> float:
    return sum(value for name, value in built.data.progress().items() if name.startswith("trained_tokens/"))


def _waits(on: Machine, built: Training) -> str:
    """Of one step of two micro-batches, by half."""
    if on.device.type != "cuda":
        return "–"
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        one_step(built)
    counts = [event.count for event in profile.key_averages() if event.key in WAITS]
    return f"{sum(counts) / 2:.1f}"
