"""The base model answers its own prompts: chat rows that show how it behaved before any training."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from acclimate.demo import entry
from acclimate.model.load import resolve_dtype
from acclimate.types.errors import ModelError

FORMAT = 3
"""Raise when :func:`write_answers` would write something else for the same model, prompts and settings."""
TEMPERATURE = 1.0


def write_answers(
    model_path: Path,
    prompts: Sequence[str],
    output: Path,
    max_new_tokens: int = 96,
    batch_size: int = 64,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes one chat row per answered prompt, in the order of the prompts, and returns how many.

    Answers are drawn from the model's own distribution (temperature 1, nothing cut off). Greedy answers would be
    unfair to replay: a cross-entropy on them sharpens the model towards its own mode, and measured drift on
    chat was then larger than that of tuning without any chat rows (docs/log/index.md, 2026-11-22); a cross-entropy on
    samples is in expectation the forward KL. Up to rounding: dtype and batch size move what is drawn, so files
    differ between machines; the dtype used is noted in the manifest.

    An answer that does not end by itself within ``max_new_tokens`` is dropped: the end-of-turn token that a
    chat template puts behind it is not what the model would have said there, and a cross-entropy would
    learn to stop early. Empty answers are dropped too.

    Args:
        model_path: Hugging Face folder with a chat template.
        prompts: one user message each.
        output: JSONL file; not touched if its manifest names the same model, prompts and settings.
        max_new_tokens: longest answer, in tokens.
        batch_size: most prompts decoded together. Prompts are sorted by length first, so little is padding.
        dtype: None takes what is faster on this machine.
        seed: of the draw.
        progress: called with (answered, all) before the first batch, answered then being 0, and after each.
    """
    identity = {
        "format": FORMAT,
        "model": entry.digests(model_path),
        "prompts": hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest(),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "dtype": "faster" if dtype is None else str(dtype),
        "temperature": TEMPERATURE,
        "seed": seed,
    }
    if entry.is_current(output, identity):
        with output.open(encoding="utf-8") as file:
            return sum(1 for _ in file)
    hidden_size = AutoConfig.from_pretrained(str(model_path)).hidden_size
    chosen = dtype or resolve_dtype(torch.device("cpu"), hidden_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        replies = answer(model_path, prompts, max_new_tokens, batch_size, chosen, TEMPERATURE, progress)
    rows = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": text.strip()}]}
        for prompt, (text, ended) in zip(prompts, replies, strict=True)
        if ended and text.strip()
    ]
    with entry.building(output, identity, note={"dtype": str(chosen)}) as waiting:
        waiting.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


@torch.inference_mode()
def answer(
    model_path: Path,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
    temperature: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, bool]]:
    """(answer, whether the model ended it) for each prompt; greedy at temperature 0.

    The other arguments are those of :func:`write_answers`.
    """
    # Left padding: all prompts of a batch then end, and all answers begin, at the same column.
    tokenizer = AutoTokenizer.from_pretrained(str(model_path), padding_side="left")
    if not tokenizer.chat_template:
        raise ModelError(f"{model_path} has no chat template, so it cannot answer chat prompts. Use a chat model.")
    model = AutoModelForCausalLM.from_pretrained(str(model_path), dtype=dtype).eval()
    ends = _end_tokens(model, tokenizer)
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    # Equal batches: a last batch of a few rows would take nearly as long as a full one.
    size = math.ceil(len(order) / math.ceil(len(order) / batch_size)) if order else batch_size
    if progress is not None:
        progress(0, len(order))
    answers: list[tuple[str, bool]] = [("", True)] * len(texts)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        # The template has written the special tokens already.
        inputs = tokenizer(
            [texts[index] for index in chosen], return_tensors="pt", padding=True, add_special_tokens=False
        )
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            **(
                {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
                if temperature
                else {"do_sample": False}
            ),
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends),
        )
        for index, tokens in zip(chosen, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            length = next((place for place, token in enumerate(tokens) if token in ends), None)
            answers[index] = (tokenizer.decode(tokens[:length], skip_special_tokens=True), length is not None)
        if progress is not None:
            progress(start + len(chosen), len(order))
    return answers


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: what model and tokenizer declare, and the usual names of end-of-turn."""
    declared = model.generation_config.eos_token_id
    ends = set(declared if isinstance(declared, list) else [declared]) | {tokenizer.eos_token_id}
    vocabulary = tokenizer.get_vocab()
    ends |= {vocabulary.get(name) for name in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")}
    ends -= {None}
    if not ends:
        raise ModelError(f"{tokenizer.name_or_path} declares no token that ends an answer (eos_token).")
    return ends
