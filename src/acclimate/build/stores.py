"""Whether the statistics that methods read are of this run's base and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acclimate.config.schema import ModelSection
from acclimate.model.identity import model_digest
from acclimate.model.lora.adapter import adapted_layers
from acclimate.stores.store import Store


def check_stores(stores: Sequence[Store], section: ModelSection, network: Any) -> None:
    """Refuses stores that are damaged, of another base, or of other weights than the run changes.

    Args:
        network: with its adapter; on the meta device its shapes suffice.

    Raises:
        ConfigError, DamagedError: which store, and what it is of.
    """
    if not stores:
        return
    layers = adapted_layers(network)
    trained = {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}
    dense = {f"{name}.weight": (layer.out_features, layer.in_features) for name, layer in layers.items()}
    scaling = {name: float(network.get_submodule(name).scaling["default"]) for name in layers}
    digest = model_digest(section)
    for store in stores:
        store.check(digest, dense or trained, trained if dense else {}, scaling)
        store.verify()
