"""Where a part of the kit runs, how it takes time, and models of known shapes with random weights."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.runs import write_corpora
from transformers import Qwen3Config, Qwen3ForCausalLM

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """A device, and whether sizes are those of a rehearsal, which only shows that every line runs."""

    device: torch.device
    rehearsed: bool

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], rounds: int = 10, warmup: int = 3) -> tuple[float, float, float]:
        """Median, least and most of ``rounds`` calls, each until the device has done its work."""
        rounds, warmup = (2, 1) if self.rehearsed else (rounds, warmup)
        found = []
        for number in range(warmup + rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            if number >= warmup:
                found.append(time.perf_counter() - begun)
        return median(found), min(found), max(found)

    def peak(self, work: Callable[[], object]) -> int | None:
        """Bytes of tensors above what was held before; None away from CUDA, where nothing counts them."""
        if self.device.type != "cuda":
            return None
        self.wait()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        self.wait()
        return int(torch.cuda.max_memory_allocated(self.device)) - before


def machine(rehearsed: bool) -> Machine:
    return Machine(torch.device("cpu" if rehearsed else "cuda"), rehearsed)


SHAPES: dict[str, dict[str, int]] = {
    "rehearsal": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
    "4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
    "8B": {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
}
"""Qwen3's, by its published configurations [second-hand]; all have 8 key heads of 128 numbers. Weights are random."""
VOCABULARY = 151_936


def qwen3(shape: str, **changes: int) -> Qwen3Config:
    """The configuration of a shape; the tokenizer beside it has 259 ids, so most of the head's rows are never said."""
    small = shape == "rehearsal"
    return Qwen3Config(
        **SHAPES[shape]
        | {
            "vocab_size": 259 if small else VOCABULARY,
            "num_key_value_heads": 2 if small else 8,
            "head_dim": 8 if small else 128,
            "max_position_embeddings": 40_960,
        }
        | changes,
        tie_word_embeddings=shape in ("rehearsal", "0.6B", "1.7B", "4B"),
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.02,
    )


def write_model(folder: Path, shape: str, on: Machine) -> Path:
    """A Hugging Face folder in bfloat16."""
    torch.manual_seed(0)
    with torch.device(on.device):
        network = Qwen3ForCausalLM(qwen3(shape)).to(torch.bfloat16)
    network.save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


def write_texts(folder: Path, documents: int, letters: int) -> Path:
    """domain.jsonl and general.jsonl; a letter is a token."""
    write_corpora(folder, documents=8)  # chat.jsonl
    draw = random.Random(0)
    for name in ("domain", "general"):
        texts = (
            "".join(draw.choice("abcdefgh ") for _ in range(draw.randint(letters // 4, letters)))
            for _ in range(documents)
        )
        (folder / f"{name}.jsonl").write_text(
            "\n".join(f'{{"text": "{text} {number}"}}' for number, text in enumerate(texts))
        )
    return folder


def table(head: str, lines: list[list[object]]) -> str:
    """Markdown; ``head`` is the names between bars."""
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|---" * columns + "|", *(f"| {' | '.join(map(str, line))} |" for line in lines)])


def gib(count: float | None) -> str:
    return "–" if count is None else f"{count / GIB:.2f}"


def spread(found: tuple[float, float, float], unit: float = 1000) -> str:
    """Milliseconds, as a rule."""
    return f"{found[0] * unit:.2f} ({found[1] * unit:.2f}-{found[2] * unit:.2f})"
