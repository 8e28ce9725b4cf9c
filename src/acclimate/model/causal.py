"""The student: one entry point from a packed batch to hidden states, and its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.kernels.head import Head, head_of
from acclimate.kernels.varlen import PACKED_VARLEN
from acclimate.model.checks.reach import Reach, reach_of
from acclimate.model.mixture.routing import Routing
from acclimate.model.packing.attention import name_of
from acclimate.model.packing.probe import check_alone, why_alone
from acclimate.model.packing.regrouped import Regrouped
from acclimate.model.packing.states import FLASH, States, inference
from acclimate.model.whole.towers import decoder_of
from acclimate.types.batch import Bounds
from acclimate.types.central import PAD_DOCUMENT, Batch
from acclimate.types.errors import ModelError


class CausalModel(nn.Module):
    """Wraps a Hugging Face causal model, with or without a PEFT adapter.

    ``forward`` returns final hidden states; logits are the objective's business. Row packing needs no mask
    tensor from us: transformers builds the document mask from position ids that restart. A network that computes
    something else of packed documents gets each in a row of its own.

    Args:
        like: of the same family, whose documents lie as this one's shall: a divergence of equal weights is then 0.
        spread: puts the weights of a network on the meta device in place, each rank its part, and leaves those that
            the probes read whole. What follows is then a collective.

    Raises:
        ModelError: its documents can stand neither in one row nor in rows of their own, or its logits are not its
            head's.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        peft: Any | None = None,
        like: CausalModel | None = None,
        spread: Callable[[CausalModel], None] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.peft = peft
        self.forwards = 0.0
        """Work so far in tokens through one forward: a backward counts as two more, or as one where the network is
        frozen and only an adapter learns. Padding counts."""
        self.agree: Callable[[int], int] = lambda own: own
        """How many forwards all ranks make of a micro-batch, from how many this one needs; FSDP wants equally many."""
        self.shorter: dict[str, torch.dtype] = {}
        """Parameter -> the type that it is computed and saved in, where FSDP keeps it in a longer one to learn."""
        self.blank: Any | None = None
        """The network without weights, where these were spread from the first byte on; frozen copies are made of it."""
        self.routing = Routing.of(network)
        """What its routers decide; None of a dense model."""
        self.reach: Reach = reach_of(network.config)
        if spread is not None:
            spread(self)
        self.states = States(network, peft)
        self.device = self.states.device
        self.alone: str | None = None
        """Why each document has a row of its own; None where documents are packed."""
        with self.inference():
            self.alone = why_alone(self.states, self.positions) if like is None else like.alone
            if self.alone is not None and like is None:
                check_alone(self.states)

    @property
    def attention(self) -> str:
        """As ``model.attention`` names it."""
        return name_of(self.network)

    @property
    def dtype(self) -> torch.dtype:
        """Of products and of saved weights."""
        return next(iter(self.shorter.values()), self._table.dtype)

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
        return head_of(self.network, self.states.form)

    @property
    def lora_scaling(self) -> dict[str, float]:
        """Adapted module name -> s of dW = s B A; empty under full tuning."""
        return {
            name: float(module.scaling["default"])
            for name, module in self.network.named_modules()
            if isinstance(getattr(module, "scaling", None), dict) and "default" in module.scaling
        }

    @property
    def lora_experts(self) -> dict[str, int]:
        """Adapted module name -> E, where its factors are of a stack of E matrices."""
        found = {name: getattr(self.network.get_submodule(name), "num_experts", 1) for name in self.lora_scaling}
        return {name: experts for name, experts in found.items() if experts > 1}

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def forward(self, batch: Batch) -> Tensor:
        """[B, T] packed rows to hidden states [B, T, D] after the final norm.

        Raises:
            ModelError: rows are longer than those in which a document is computed as by itself.
        """
        if batch.input_ids.shape[1] > self.positions:
            raise ModelError(f"Rows of {batch.input_ids.shape[1]} tokens are more than the {self.reach}; shorten them.")
        regrouped = None
        if self.alone is not None:
            regrouped = Regrouped.of(batch.on_host.position_ids, self.agree, batch.input_ids.device)
        computed = batch.input_ids.numel() if regrouped is None else regrouped.positions
        backward = (2 if self.peft is None else 1) if torch.is_grad_enabled() else 0
        self.forwards += computed * (1 + backward)
        if self.routing is None or not torch.is_grad_enabled():
            return self._hidden(batch, regrouped)
        real = batch.document != PAD_DOCUMENT
        self.routing.begin()
        with self.routing.watching(real if regrouped is None else regrouped.of_slots(real)):
            return self._hidden(batch, regrouped)

    def _hidden(self, batch: Batch, regrouped: Regrouped | None) -> Tensor:
        if regrouped is None:
            return self.states.packed(batch.input_ids, batch.position_ids, self._bounds(batch))
        return regrouped.hidden(self.states.alone, batch.input_ids)

    def _bounds(self, batch: Batch) -> Bounds | None:
        """Where its documents lie, for an attention that asks; found on the host, unless it was ahead."""
        if batch.bounds is None and self.wants_bounds:
            return Bounds.of(batch.on_host.position_ids).to(batch.input_ids.device)
        return batch.bounds

    @property
    def wants_bounds(self) -> bool:
        """Whether attention is told where documents lie."""
        return self.alone is None and self.network.config._attn_implementation in (PACKED_VARLEN, FLASH)

    def rows(self, input_ids: Tensor, position_ids: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T] rows of one document each to hidden states [B, T, D].

        Args:
            mask: [B, 1, T, T], added to attention scores in place of the causal mask; for a network whose documents
                are packed.
        """
        if self.alone is not None:
            assert mask is None
            return self.states.alone(input_ids)
        return self.states(input_ids=input_ids, position_ids=position_ids, attention_mask=mask)

    def generate(self, **options: Any) -> Tensor:
        """``network.generate`` as a method of this module, whose weights FSDP gathers."""
        if not hasattr(self.network.config.get_text_config(), "num_hidden_layers"):
            options["use_cache"] = False  # which transformers makes by this number, and Blt has layers of three kinds
        output: Tensor = self.network.generate(**options)
        return output

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder's."""
        return layers_of(self.network)

    @property
    def groups(self) -> list[nn.Module]:
        """What FSDP makes whole only while it runs: the layers, and embeddings that are not the head's, too."""
        table, head = self.network.get_input_embeddings(), self.network.get_output_embeddings()
        shared = {id(p) for p in head.parameters()} & {id(p) for p in table.parameters()}
        inside = any(module is table for layer in self.layers for module in layer.modules())
        return [*self.layers, *([] if shared or inside else [table])]

    def begin(self) -> None:
        """A forward of nothing: FSDP finds its groups, and makes the root's weights whole."""

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

    def inference(self) -> AbstractContextManager[None]:
        """Evaluation mode without gradients; the previous mode comes back."""
        return inference(self.network)


def layers_of(network: Any) -> nn.ModuleList:
    """The decoder's layers: the largest list of modules in it; a tower may have a larger one."""
    lists = [module for module in decoder_of(network).modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))
