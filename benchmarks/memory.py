"""What a run takes of memory, measured, beside what `acclimate validate` says.

    python benchmarks/memory.py --model FOLDER [--only NAME ...] > DATE-memory.md

Each setting trains two steps in a process of its own. Two peaks are measured there. `tensors` is the most that torch's
allocator held at one time in the training's thread, by the profiler's record of each allocation, with the weights.
It is exact, and it is what the estimate is of, but for the process. `resident` is the kernel's VmHWM, which kills:
libraries, pages that malloc cannot give back, and buffers that oneDNN takes past torch are in it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GIB = 2**30
LORA = {
    "lora": {"rank": 16, "alpha": 32},
    "data": {"sequence_length": 256},
    "budget": {"batch_tokens": 500},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "pico, full, mol": {
        "model": {"path": "pico"},
        "data": {"sequence_length": 256},
        "budget": {"batch_tokens": 1000},
    },
    "pico, full, mol, all layers again": {
        "model": {"path": "pico"},
        "data": {"sequence_length": 256},
        "training": {"gradient_checkpointing": True},
    },
    "pico, LoRA, mol": {
        "model": {"path": "pico"},
    }
    | LORA,
    "SmolLM2, full, mol": {},
    "SmolLM2, full, mol, selective": {"training": {"gradient_checkpointing": "selective"}},
    "SmolLM2, full, mol, all layers again": {"training": {"gradient_checkpointing": True}},
    "SmolLM2, full, sft, bfloat16": {"model": {"dtype": "bfloat16"}, "method": "sft"},
    "SmolLM2, LoRA, mol": {} | LORA,
    "SmolLM2, LoRA, mol, all layers again": {"training": {"gradient_checkpointing": True}} | LORA,
    "SmolLM2, LoRA, sft, bfloat16": {"model": {"dtype": "bfloat16"}, "method": "sft"} | LORA,
    "SmolLM2, full, sft, 8-bit states": {"optimizer": {"name": "adamw_8bit"}, "method": "sft"},
    "SmolLM2, full, sft, last 10 layers": {"model": {"train": ["model.layers.2?"]}, "method": "sft"},
}


def settings(name: str, folder: Path, model: str) -> dict[str, Any]:
    """A run of two steps: in the second one the optimizer's states are there."""
    found: dict[str, Any] = {
        "name": re.sub(r"\W+", "-", name),
        "output_dir": str(folder / "runs"),
        "model": {"path": model, "dtype": "float32", "device": "cpu", "attention": "sdpa"},
        "method": "mol",
        "sources": {
            source: {"path": str(folder / f"{source}.jsonl"), "heldout": 4} for source in ("domain", "general")
        },
        "budget": {"steps": 2, "batch_tokens": 250, "count": "all"},
        "data": {"sequence_length": 128, "cache_dir": str(folder / "cache")},
        "training": {"micro_batch_size": 2, "gradient_checkpointing": False},
    }
    for key, value in SETTINGS[name].items():
        found[key] = found[key] | value if isinstance(value, dict) and key in found else value
    if found["data"]["sequence_length"] == 256:  # several micro-batches, of which one has full rows
        found["budget"]["batch_tokens"] = 1000
    if found["model"]["path"] == "pico":
        found["model"]["path"] = str(folder / "pico")
    return found


def write_inputs(folder: Path) -> None:
    """Texts of a few hundred tokens, and a Llama of two layers with a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    draw = random.Random(0)
    words = ["kidney", "renal", "bone", "tissue", "river", "city", "music", "train", "cloud", "game"]
    for source in ("domain", "general"):
        texts = [" ".join(draw.choice(words) for _ in range(draw.randint(60, 300))) for _ in range(80)]
        (folder / f"{source}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    alphabet = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>").save_pretrained(
        folder / "pico"
    )
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=257, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=0,
        )
    ).save_pretrained(folder / "pico")  # fmt: skip


def estimated(data: dict[str, Any], micro_batches: float) -> Any:
    """As `acclimate validate` tells it, which counts a step's micro-batches, too."""
    from acclimate.build.plan import compose
    from acclimate.config.load import parse_config
    from acclimate.verbs.footprint import Work, footprint

    config = parse_config(data)
    composition = compose(config)
    return footprint(
        config, composition.required_references, Work(composition.terms, accumulated=micro_batches > 1), "cpu"
    )


def measured(data: dict[str, Any]) -> dict[str, float]:
    """Peaks of two steps in this process."""
    import torch
    from rich.console import Console

    from acclimate.build import build_training, load_model, resolve
    from acclimate.build.plan import compose
    from acclimate.config.load import parse_config
    from acclimate.data.corpus import load_corpora
    from acclimate.model.load import load_tokenizer
    from acclimate.training.loop import run_loop

    job = resolve(parse_config(data))
    job.config.run_dir.mkdir(parents=True)
    corpora = load_corpora(job.config, load_tokenizer(job.config.model))
    before = _status("VmHWM")
    model = load_model(job.config, job.device)  # some weights are mapped, others are made by threads
    weights = sum(t.numel() * t.element_size() for t in (*model.network.parameters(), *model.network.buffers()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        training, _, _ = build_training(job, compose(job.config), model, corpora, Console(quiet=True))
        forwards = 0
        accumulate = training.weights.accumulate

        def counted() -> None:
            nonlocal forwards
            forwards += 1
            accumulate()

        training.weights.accumulate = counted  # type: ignore[method-assign]
        run_loop(training)
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return {"tensors": peak + weights, "resident": _status("VmHWM"), "before": before, "micro_batches": forwards / 2}


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measured(json.loads(Path(arguments.measure).read_text()))))
        return
    from acclimate.verbs.memory import PROCESS_BYTES

    print("| setting | estimate, MiB | tensors, MiB | ratio | estimate with process | resident | ratio | at |")
    print("|---|---|---|---|---|---|---|---|")
    parts = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder)
        for name in arguments.only:
            data = settings(name, folder, arguments.model)
            (folder / "run.json").write_text(json.dumps(data))
            command = [sys.executable, __file__, "--model", arguments.model, "--measure", str(folder / "run.json")]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            peaks = json.loads(done.stdout.splitlines()[-1])
            found = estimated(data, peaks["micro_batches"])
            own, whole = found.total - PROCESS_BYTES, found.total
            print(
                f"| {name} | {own / 2**20:,.1f} | {peaks['tensors'] / 2**20:,.1f} | {own / peaks['tensors']:.2f} | "
                f"{whole / 2**20:,.0f} | {peaks['resident'] / 2**20:,.0f} | {whole / peaks['resident']:.2f} | "
                f"{found.at} |",
                flush=True,
            )
            parts.append(f"- {name}: " + ", ".join(f"{k} {v / 2**20:,.1f}" for k, v in found.parts.items()))
            print(parts[-1], f"before {peaks['before'] / 2**20:,.0f}", file=sys.stderr, flush=True)
    print("\nParts, in MiB, at the peak:\n\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
