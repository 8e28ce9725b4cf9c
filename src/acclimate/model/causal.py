"""The student: one entry point from a packed batch to hidden states, and its head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.kernels.attention import PACKED_SDPA, with_packing
from acclimate.kernels.head import Head, check_head, head_of
from acclimate.model.checks.packing import check_packing
from acclimate.model.checks.reach import Reach, reach_of
from acclimate.types.central import Batch
from acclimate.types.errors import ModelError


class CausalModel(nn.Module):
    """Wraps a Hugging Face causal model, with or without a PEFT adapter.

    ``forward`` returns final hidden states; logits are the objective's business. Row packing needs no mask
    tensor from us: transformers builds the document mask from position ids that restart.
    """

    def __init__(self, network: Any, tokenizer: Any, peft: Any | None = None) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.peft = peft
        self.forwards = 0.0
        """Work so far in tokens through one forward: a backward counts as two more, or as one where the network is
        frozen and only an adapter learns."""
        self.reach: Reach = reach_of(network.config)
        self.device: torch.device = next(network.parameters()).device  # FSDP may keep the weights themselves elsewhere
        with self.inference():
            check_packing(self)
            probe = torch.arange(1, 9, device=self.device).remainder(self.vocabulary)[None]
            inputs = self._inputs(probe, torch.arange(8, device=self.device)[None])
            hidden = network.get_decoder()(**inputs).last_hidden_state
            check_head(network, self.head, hidden, (peft or network)(**inputs).logits)

    @property
    def dtype(self) -> torch.dtype:
        return self._table.dtype

    @property
    def vocabulary(self) -> int:
        """Rows of the head, of which a padded vocabulary has more than tokens."""
        return int(self._table.shape[0])

    @property
    def _table(self) -> Tensor:
        """The head's own weight: where an adapter trains rows, PEFT puts a whole one together when it is asked for."""
        kept = getattr(self.network.get_output_embeddings(), "original_module", None)
        table: Tensor = self.head.weight if kept is None else kept.weight
        return table

    @property
    def positions(self) -> int:
        """Longest input; a network without such a limit gets what any text fits in."""
        return self.reach.positions

    @property
    def head(self) -> Head:
        return head_of(self.network)

    @property
    def lora_scaling(self) -> dict[str, float]:
        """Adapted module name -> s of dW = s B A; empty under full tuning."""
        return {
            name: float(module.scaling["default"])
            for name, module in self.network.named_modules()
            if isinstance(getattr(module, "scaling", None), dict) and "default" in module.scaling
        }

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def forward(self, batch: Batch) -> Tensor:
        """[B, T] packed rows to hidden states [B, T, D] after the final norm.

        Raises:
            ModelError: rows are longer than those in which a document is computed as by itself.
        """
        if batch.input_ids.shape[1] > self.positions:
            raise ModelError(f"Rows of {batch.input_ids.shape[1]} tokens are more than the {self.reach}; shorten them.")
        backward = (2 if self.peft is None else 1) if torch.is_grad_enabled() else 0
        self.forwards += batch.input_ids.numel() * (1 + backward)
        return self.packed(batch.input_ids, batch.position_ids)

    def rows(self, input_ids: Tensor, position_ids: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T] rows of one document each to hidden states [B, T, D].

        Args:
            mask: [B, 1, T, T], added to attention scores in place of the causal mask.
        """
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "attention_mask": mask, "use_cache": False}
        hidden: Tensor = self.network.get_decoder()(**inputs).last_hidden_state
        return hidden

    def generate(self, **options: Any) -> Tensor:
        """``network.generate`` as a method of this module, whose weights FSDP gathers."""
        output: Tensor = self.network.generate(**options)
        return output

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder's layers: the largest list of modules in the network."""
        lists = [module for module in self.network.modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))

    def packed(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """[B, T] ids, and positions that restart at each document, to hidden states [B, T, D]."""
        hidden: Tensor = self.network.get_decoder()(**self._inputs(input_ids, position_ids)).last_hidden_state
        return hidden

    def _inputs(self, input_ids: Tensor, position_ids: Tensor) -> dict[str, Any]:
        if self.network.config._attn_implementation == PACKED_SDPA:
            position_ids = with_packing(position_ids)
        return {"input_ids": input_ids, "position_ids": position_ids, "use_cache": False}

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The base model, through the same weights."""
        assert self.peft is not None
        learned = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        try:
            with self.peft.disable_adapter():
                yield
        finally:  # PEFT thaws what then stands in their place: under FSDP the gathered one, after a forward
            for parameter in learned:
                parameter.requires_grad_(True)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Evaluation mode without gradients; the previous mode comes back."""
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.network.train(training)
