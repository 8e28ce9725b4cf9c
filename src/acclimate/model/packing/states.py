"""Hidden states of a network as its output head gets them, and what the head does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from acclimate.kernels.attention import PACKED_SDPA, with_packing
from acclimate.kernels.head import check_head, form_of, head_of
from acclimate.kernels.varlen import PACKED_VARLEN, with_bounds
from acclimate.model.whole.towers import decoder_of
from acclimate.types.batch import Bounds
from acclimate.types.errors import ModelError, reason

PROBE = 8
"""Tokens of the text that shows what a network's decoder gives and what its head makes of it."""
FLASH = "flash_attention_2"
UNFIT = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, AssertionError)
"""What code raises that is called in a way it is not made for."""


class States:
    """A network's hidden states: of packed rows, or of rows that hold one document each.

    Most families' decoder gives what the head gets. In some it does not: a layer stands between the two, or what
    transformers calls the decoder is the head, or a module above both. There the whole network runs, and the head
    tells what it is given; the logits of one token are made for nothing.

    Args:
        peft: the adapted network, whose logits are those that count.

    Raises:
        ModelError: the network cannot be run on token ids alone, or its logits are not its head's.
    """

    def __init__(self, network: Any, peft: Any | None = None) -> None:
        self.network = network
        self.through: Callable[..., Any] | None = None
        """Runs the whole network in its place: a trainer's wrapper, whose hooks have to fire (DDP, autocast)."""
        table = head_of(network).weight
        self.device: torch.device = table.device  # FSDP may keep the weights themselves elsewhere
        ids = torch.arange(1, PROBE + 1, device=self.device).remainder(table.shape[0])[None]
        with inference(network):
            try:
                with _watched_head(network) as given:
                    logits = (peft or network)(input_ids=ids, use_cache=False).logits
                hidden = given[-1]
            except UNFIT as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                raise ModelError(
                    f"{type(network).__name__} cannot be run on token ids alone ({type(error).__name__}: "
                    f"{reason(error)}), so acclimate cannot train or measure it."
                ) from error
            self.decoder = self._decoder_that_gives(hidden, ids)
            """None where the head tells."""
            self.form = form_of(network, hidden, logits)
            check_head(network, head_of(network, self.form), hidden, logits)

    def _decoder_that_gives(self, hidden: Tensor, ids: Tensor) -> Any | None:
        """The decoder, if it alone makes the states that the head was given."""
        try:
            decoder = decoder_of(self.network)
            found = decoder(input_ids=ids, use_cache=False).last_hidden_state
        except UNFIT:
            return None
        return decoder if found.shape == hidden.shape and torch.equal(found.to(hidden.dtype), hidden) else None

    def __call__(self, **inputs: Any) -> Tensor:
        """[B, T, D] of whatever the family's decoder takes."""
        if self.through is not None:
            with _watched_head(self.network, tokens=1) as given:
                self.through(use_cache=False, **inputs)
            if not given:
                raise ModelError(
                    f"{type(self.network).__name__} made no logits of its output head when its wrapper was run, so its "
                    "hidden states cannot be read; leave out what replaces its forward."
                )
            return given[-1]
        if self.decoder is not None:
            hidden: Tensor = self.decoder(use_cache=False, **inputs).last_hidden_state
            return hidden
        with _watched_head(self.network, tokens=1) as given:
            self.network(use_cache=False, **inputs)
        return given[-1]

    def packed(self, input_ids: Tensor, position_ids: Tensor, bounds: Bounds | None = None) -> Tensor:
        """[B, T] ids, and positions that restart at each document, to hidden states [B, T, D].

        Args:
            bounds: of the documents, where they were found ahead.
        """
        name = self.network.config._attn_implementation
        if name == PACKED_SDPA:
            position_ids = with_packing(position_ids)
        if name in (PACKED_VARLEN, FLASH):
            bounds = bounds or Bounds.of(position_ids)
        if name == PACKED_VARLEN:
            assert bounds is not None
            return self(input_ids=input_ids, **with_bounds(position_ids, bounds))
        if name == FLASH:
            assert bounds is not None
            return self._in_one_line(input_ids, position_ids, bounds)
        return self(input_ids=input_ids, position_ids=position_ids)

    def _in_one_line(self, input_ids: Tensor, position_ids: Tensor, bounds: Bounds) -> Tensor:
        """All rows as one, since transformers' flash attention tells documents of several rows not apart."""
        found = self(
            input_ids=input_ids.view(1, -1),
            position_ids=position_ids.view(1, -1),
            cu_seq_lens_q=bounds.starts,
            cu_seq_lens_k=bounds.starts,
            max_length_q=bounds.longest,
            max_length_k=bounds.longest,
        )
        return found.view(*input_ids.shape, -1)

    def alone(self, input_ids: Tensor) -> Tensor:
        """[B, T] rows that each begin with the beginning of their only document, to hidden states [B, T, D]."""
        return self(input_ids=input_ids)


@contextmanager
def inference(network: Any) -> Iterator[None]:
    """Evaluation mode without gradients; the previous mode comes back."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


@contextmanager
def _watched_head(network: Any, tokens: int | None = None) -> Iterator[list[Tensor]]:
    """What the output head is given, [B, T, D] each time; it then makes logits of the first ``tokens`` of a row."""
    given: list[Tensor] = []

    def watch(head: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given.append(inputs[0])
        return (inputs[0][:, :tokens], *inputs[1:])

    handle = network.get_output_embeddings().register_forward_pre_hook(watch)
    try:
        yield given
    finally:
        handle.remove()
