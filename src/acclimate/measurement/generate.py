"""Answers of the base and the tuned model, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from acclimate.data.read.chat_template import apply_chat_template
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference

TEXT_PROMPT_TOKENS = 24
"""A plain document is continued after this many of its tokens."""


def answer(
    model: CausalModel,
    tokenizer: Any,
    prompt: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    stop: Sequence[int] = (),
    streamer: Any | None = None,
) -> str:
    """:func:`continuation` without the blanks around it."""
    return continuation(model, tokenizer, prompt, max_new_tokens, temperature, stop, streamer).strip()


def continuation(
    model: CausalModel,
    tokenizer: Any,
    prompt: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    stop: Sequence[int] = (),
    streamer: Any | None = None,
    until: Sequence[str] = (),
) -> str:
    """What the model writes after ``prompt`` (token ids), as text.

    Args:
        temperature: 0 is the most likely continuation; above, tokens are drawn from torch's random numbers.
        stop: token ids that end it, besides the model's own.
        streamer: gets each token when it is generated, as in transformers.
        until: texts that end it; the one that did, and perhaps a little more, is still there.
    """
    inputs = torch.tensor([list(prompt)], device=model.device)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    eos = model.network.generation_config.eos_token_id
    ends = {*stop, *(eos if isinstance(eos, list) else [eos])} - {None}
    with model.inference():
        output = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=max_new_tokens,
            **({"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}),
            **({"stop_strings": list(until), "tokenizer": tokenizer} if until else {}),
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad_id,
            streamer=streamer,
        )
    return str(tokenizer.decode(output[0, inputs.shape[1] :], skip_special_tokens=True))


def side_by_side(
    model: CausalModel,
    base: Reference,
    prompts: Sequence[tuple[str, str, Sequence[int]]],
    max_new_tokens: int,
    stop: Sequence[int],
) -> list[dict[str, str]]:
    """Greedy answers of both models.

    Args:
        prompts: (set name, prompt as a person would read it, prompt as token ids).
        stop: token ids that end an answer of either, besides the model's own.

    Returns:
        ``{set, prompt, base, tuned}`` records.
    """
    answers = []
    for set_name, shown, ids in prompts:
        with base.generator() as base_model:
            before = answer(base_model, model.tokenizer, ids, max_new_tokens, stop=stop)
        after = answer(model, model.tokenizer, ids, max_new_tokens, stop=stop)
        answers.append({"set": set_name, "prompt": shown, "base": before, "tuned": after})
    return answers


def chat_prompt(
    tokenizer: Any, messages: Sequence[dict[str, Any]], thinking: str | None, tools: Sequence[Any] = ()
) -> tuple[str, list[int]]:
    """The last user message, and the conversation up to it with the assistant's turn opened; empty without one."""
    until = max((i for i, message in enumerate(messages) if message["role"] != "assistant"), default=-1) + 1
    if until == 0:
        return "", []
    options: dict[str, Any] = {} if thinking in (None, "mixed") else {"enable_thinking": thinking == "on"}
    if tools:
        options["tools"] = list(tools)
    ids = apply_chat_template(tokenizer, messages[:until], add_generation_prompt=True, return_dict=True, **options)[
        "input_ids"
    ]
    return str(messages[until - 1]["content"]), list(ids)


def text_prompt(tokenizer: Any, text: str, whole: bool) -> tuple[str, list[int]]:
    """The beginning of a document, or all of ``text`` where it is a prompt."""
    ids = tokenizer(text)["input_ids"]
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:  # the text spells its own, as in training
        ids = ids[1:]
    ids = ids[: None if whole else TEXT_PROMPT_TOKENS]
    return str(tokenizer.decode(ids, skip_special_tokens=True)), list(ids)
