"""What a mixture of experts asks of its user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acclimate.config.load import RunConfig
from acclimate.model.lora.coverage import expert_factors
from acclimate.model.mixture.routing import balance_weight, is_frozen, own_weight
from acclimate.verbs.validate.cost import STATE_BYTES, expert_copies


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
