"""Rows that a model writes: ancestral sampling in batches with a key-value cache, by transformers' ``generate``.

    x_t ~ softmax(logits(x_<t) / temperature), cut to the smallest set of probability top_p

At temperature 1 and top_p 1 the rows are drawn from the model itself. What a checkpoint's ``generation_config.json``
asks for (top_k, penalties, forced or suppressed tokens) is left out, since it is another distribution [ours].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig

from acclimate.model.causal import CausalModel
from acclimate.model.packing.probe import BFLOAT16_ROUNDING, MOST, ROUNDING, TIMES
from acclimate.model.packing.states import UNFIT
from acclimate.types.errors import ModelError, reason

Batching = Literal["padded", "equal", "alone"]
PROBED = (7, 3)
"""Tokens of the prompts that show whether padding changes a row."""
STEPS = 3
"""Tokens that are written behind them."""


@dataclass(frozen=True)
class Written:
    """What a model wrote behind a prompt."""

    ids: tuple[int, ...]
    """With the token that ended it, where one did."""
    ended: bool
    """Whether the model ended it; else it was cut at the limit."""


class Sampler:
    """Draws continuations from one model.

    How prompts of unequal lengths share a batch is found by trying: padded on the left where a padded row is computed
    as by itself, else with prompts of its own length, else alone.

    Args:
        temperature: divides logits; above 0.
        top_p: in (0, 1]; below 1 the least likely tokens are never written.

    Raises:
        ModelError: transformers' ``generate`` cannot run the network.
    """

    def __init__(self, model: CausalModel, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.model, self.temperature, self.top_p = model, temperature, top_p
        self.padding = model.tokenizer.pad_token_id
        if self.padding is None or self.padding >= model.vocabulary:
            self.padding = 0  # masked, so that any token will do
        self.batching: Batching = self._batching()

    def write(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: Sequence[int], seed: int
    ) -> list[Written]:
        """One continuation of each prompt; the same for the same seed, whatever was drawn before.

        Args:
            prompts: token ids, at least one each.
            max_new_tokens: the longest continuation.
            ends: tokens that end one.
            seed: of torch's random numbers, whose state outside is left as it was.
        """
        found: dict[int, Written] = {}
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), self._undisturbed():
            torch.manual_seed(seed)
            for group in self._groups(prompts):
                rows = self._generate([prompts[i] for i in group], max_new_tokens, ends, drawn=True).sequences
                width = max(len(prompts[i]) for i in group)
                found |= {i: _written(row[width:].tolist(), ends) for i, row in zip(group, rows, strict=True)}
        return [found[i] for i in range(len(prompts))]

    def _groups(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of prompts that share a forward, in an order that the prompts decide."""
        if self.batching == "padded":
            yield list(range(len(prompts)))
            return
        if self.batching == "alone":
            yield from ([i] for i in range(len(prompts)))
            return
        for length in dict.fromkeys(map(len, prompts)):
            yield [i for i, prompt in enumerate(prompts) if len(prompt) == length]

    def _generate(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: Sequence[int], drawn: bool) -> Any:
        """What ``generate`` returns of prompts that are padded on the left to one length."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.padding)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        drawing = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        with self.model.inference():
            return self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max_new_tokens,
                eos_token_id=list(ends) or None,
                pad_token_id=self.padding,
                return_dict_in_generate=True,
                output_logits=not drawn,
                **(drawing if drawn else {"do_sample": False}),
            )

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Without the checkpoint's own way of choosing tokens."""
        network = self.model.network
        own = network.generation_config
        network.generation_config = GenerationConfig()
        try:
            yield
        finally:
            network.generation_config = own

    def _batching(self) -> Batching:
        """How rows can share a batch.

        Raises:
            ModelError: not even one alone can be written.
        """
        rows = self.model.network.get_input_embeddings().weight.shape[0]
        tokens = torch.arange(3, 3 + 3 * max(PROBED)).remainder(rows).tolist()
        first, second, third = tokens[: PROBED[0]], tokens[PROBED[0] : sum(PROBED)], tokens[-PROBED[0] :]
        with self._undisturbed():
            try:
                alone = self._steps([first])
            except UNFIT as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                raise ModelError(
                    f"{type(self.model.network).__name__} cannot write text by transformers' generate "
                    f"({type(error).__name__}: {reason(error)}), so it can write no rows; give text of its own kind."
                ) from error
            rounds = _apart(self._steps([first, first]), torch.cat([alone, alone]))
            allowed = min(MOST, max(ROUNDING.get(self.model.dtype, BFLOAT16_ROUNDING), TIMES * rounds))
            ways: list[tuple[Batching, list[list[int]]]] = [("padded", [first, second]), ("equal", [first, third])]
            for batching, prompts in ways:
                try:
                    by_itself = torch.cat([self._steps([prompt]) for prompt in prompts])
                    if _apart(self._steps(prompts), by_itself) <= allowed:
                        return batching
                except UNFIT as error:
                    if isinstance(error, torch.OutOfMemoryError):
                        raise
        return "alone"

    def _steps(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """[prompts, steps, V] logits of a greedy continuation."""
        return torch.stack(self._generate(prompts, STEPS, (), drawn=False).logits, 1).float()


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest relative difference of logits [n, steps, V], over the steps before two rows choose otherwise."""
    chosen = found.argmax(-1) == expected.argmax(-1)
    same = torch.cat([torch.ones_like(chosen[:, :1]), chosen[:, :-1].cumprod(1).bool()], 1)  # what a step was given
    one, other = (x - x.mean(-1, keepdim=True) for x in (found, expected))
    apart = (one - other).norm(dim=-1) / other.norm(dim=-1)
    return float(apart[same].max().nan_to_num(torch.inf))


def _written(ids: list[int], ends: Sequence[int]) -> Written:
    """Up to the first end; what stands behind it is padding."""
    end = next((place for place, token in enumerate(ids) if token in ends), None)
    return Written(tuple(ids), False) if end is None else Written(tuple(ids[: end + 1]), True)
