"""What a run will take: memory and time, reckoned before it is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from acclimate.build import Mixture
from acclimate.build.mixture import all_tokens
from acclimate.config.load import RunConfig
from acclimate.kernels.head import head_of
from acclimate.model.load import DTYPES
from acclimate.model.lora.coverage import expert_factors
from acclimate.model.mixture.routing import balance_weight, is_frozen, own_weight
from acclimate.model.packing.regrouped import Regrouped
from acclimate.model.whole.origin import origin_of
from acclimate.model.whole.towers import decoder_of, tower_sizes
from acclimate.types.central import Batch
from acclimate.verbs.footprint import expert_copies
from acclimate.verbs.memory import width_of
from acclimate.verbs.replay import Unwritten

EFFICIENCY = {"float32": 0.55, "bfloat16": 0.12}
"""Of the rate of one large matrix product in the model's dtype, what a training step reached on two CPU cores, whose
matrix units make bfloat16 products 8 times faster and nothing else [ours; docs/log/index.md]."""
GPU_EFFICIENCY = 0.25
"""A guess: not run on a GPU here."""
WRITING_EFFICIENCY = 0.3
"""Of the rate of one product of a batch's rows, what tokens reach that are kept: rows that end early leave their places
empty, some are left out, and drawing a token costs as much as a layer [ours; docs/howto/replay.md]."""
STATE_BYTES = 4 + 4 + 8
"""Of a trained parameter of an adapter: itself, its gradient, AdamW's moments, in float32."""


def _sizes(network: Any) -> tuple[int, int, int]:
    """Rows of the head, width of what it gets, and layers of the decoder; not every family's configuration has them."""
    vocabulary, hidden = head_of(network).weight.shape
    lists = (module for module in decoder_of(network).modules() if isinstance(module, nn.ModuleList))
    named = getattr(network.config.get_text_config(), "num_hidden_layers", None)
    return vocabulary, hidden, named or max(map(len, lists))


def kept_states(config: RunConfig, network: Any, positions: int) -> float:
    """Bytes of a base's last hidden states on so many positions."""
    return float(positions * _sizes(network)[1] * width_of(config))


def seconds(config: RunConfig, device: torch.device, network: Any, mixture: Mixture, total: int) -> float:
    """Training time at the rate of this machine's matrix products, measured now.

    With N weights that a token passes (embeddings are looked up, towers left out) a token costs 2 N in forward, 2 N
    for the gradient of activations and, under full tuning, 2 N for that of the weights; a reference, or a first pass,
    adds 2 N for the share of rows that need one.
    """
    passed, hidden = _passed(network, total), _sizes(network)[1]
    factor = (6 if config.lora is None else 4) + 2 * mixture.forwards
    rate = _flops(DTYPES[config.model.dtype], device, hidden)
    efficiency = EFFICIENCY[config.model.dtype] if device.type == "cpu" else GPU_EFFICIENCY
    per_token = factor * passed / (rate * efficiency)
    return float(all_tokens(config, mixture) * per_token)


def regrouped(batches: Sequence[Batch]) -> float:
    """Positions that are computed of these documents in rows of their own, over those of their packed rows."""
    own = sum(Regrouped.of(batch.position_ids, lambda count: count).positions for batch in batches)
    return own / sum(batch.input_ids.numel() for batch in batches)


def writing_seconds(
    config: RunConfig, device: torch.device, network: Any, unwritten: Sequence[Unwritten], total: int
) -> float:
    """Time in which the base writes the rows that are not there yet, token by token, in batches: each token costs 2 N,
    at the rate of products of so few rows."""
    found, passed = 0.0, _passed(network, total)
    for source in unwritten:
        rate = _flops(DTYPES[config.model.dtype], device, _sizes(network)[1], source.batch_size)
        found += source.tokens * 2 * passed / (rate * WRITING_EFFICIENCY)
    return found


def _passed(network: Any, total: int) -> int:
    """Weights that a token passes."""
    shape = network.config.get_text_config()
    tied = next((c.tie_word_embeddings for c in (shape, network.config) if hasattr(c, "tie_word_embeddings")), False)
    vocabulary, hidden, _ = _sizes(network)
    passed = total - (0 if tied else vocabulary * hidden)
    return passed - sum(size for _, size in tower_sizes(network, origin_of(network).towers))


def _flops(dtype: torch.dtype, device: torch.device, hidden_size: int, tokens: int = 1024) -> float:
    """Floating point operations a second in one linear layer of the model's width; best of five."""
    a = torch.ones(tokens, hidden_size, dtype=dtype, device=device)
    b = torch.ones(hidden_size, 4 * hidden_size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * tokens * hidden_size * 4 * hidden_size / best


def expert_notes(config: RunConfig, network: Any) -> Iterator[str]:
    """What adapters of the experts take or would take, and what becomes of the load balancing loss.

    Args:
        network: with its adapter.

    Raises:
        ModelError: objective.router_aux_loss has nothing to act on.
    """
    weight = balance_weight(network, config.objective.router_aux_loss)
    if weight:
        yield (
            f"the router's load balancing loss is added with coefficient {weight:g} (objective.router_aux_loss), over "
            "all tokens but padding."
        )
    elif (own := own_weight(network)) and is_frozen(network) and config.objective.router_aux_loss is None:
        yield (
            f"the model's config.json asks for a load balancing loss of {own:g}, which is left out: the router is "
            "frozen under lora unless lora.target_modules names it."
        )
    if config.lora is not None and (count := expert_factors(network, config.lora.rank)):
        takes = "takes" if config.lora.experts else "would take"
        size = count * STATE_BYTES + expert_copies(config, network, asked=True)
        yield (
            f"lora.experts: an adapter of the experts {takes} {count:,} parameters and about {size / 2**30:.2g} GiB, "
            "with gradients, AdamW's moments, and the changed copy of their weights that a backward needs."
        )
