"""HLR, hierarchical layer-wise and element-wise regularisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.gradient.importance import ImportancePenalty
from acclimate.methods.fields import STRICT
from acclimate.stores.store import Statistic, open_store
from acclimate.types.plan import Facts, Method, Plan, PlanContext

COLLAPSED = 0.9
"""One matrix with this part of all layer weights is in effect the only one that is held."""


@dataclass(frozen=True, config=STRICT)
class Hlr(Method):
    """From the end theta* of training on general text: cross-entropy on domain tokens and a penalty on the distance
    from theta*, weighted by each parameter's and each matrix's importance to that training.

    ``L = mean over domain tokens of -log p(x_i | x_<i)
    + phi * sum_l alpha_l * sum_{i in l} Omega_i (theta_i - theta*_i)^2``, no factor 1/2 [second-hand];
    ``Omega_i = max(omega_i, 0) / ((theta*_i - theta_start,i)^2 + xi)``, ``omega_i = -sum_steps g_i dtheta_i`` with raw
    gradients (`acclimate stats path-integral`) [second-hand; clamp and relative xi: ours];
    ``alpha_l = softmax_l(||Omega_l||_2)`` [second-hand], l a trained matrix or vector, or with ``layers: block`` all
    of a transformer block [ours].
    phi is e^-3 or 1e-3, which the source leaves ambiguous: e^-3 = 0.0498 here [second-hand]. A digest calls the layer
    weights dynamic, so they may change while the domain is learned [second-hand]; ours are fixed by the store [ours].
    Raw norms make the softmax collapse onto one matrix [second-hand]: ``layer_weights: normalised`` is
    ``||Omega_l|| / sum_k ||Omega_k||`` [ours]. The largest alpha is logged, with a note above 0.9. Under LoRA
    importance is that of the dense dW = s B A of each adapted matrix, and its penalty reaches A and B by the chain
    rule [second-hand].

    The run starts from theta*, which the store holds; its base, for references and reports, is the base that the
    store was recorded on. At phi 0 it is sft from theta*, not from the base, so there is no neutral setting.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None
    facts: ClassVar[Facts] = Facts(
        stores="the importance in float32 and theta* (of the adapted matrices, and the adapter, under LoRA)",
        costs="one pass over the trained parameters; under LoRA four products of rank r with each adapted matrix",
        needs="a store of `acclimate stats path-integral`",
        reference=(
            "hierarchical layer-wise and element-wise regularisation, 2025, arXiv 2501.13669; its full text was not "
            "available to us: this is a reconstruction"
        ),
        evidence=("second-hand", "ours"),
        strength="phi",
    )

    store: Annotated[str, Statistic("path-integral")] = Field(
        min_length=1, description="of `acclimate stats path-integral`"
    )
    phi: float = Field(0.0498, ge=0, description="e^-3, or 1e-3: the source is ambiguous; 0 is sft from theta*")
    layer_weights: Literal["softmax", "normalised"] = Field(
        "softmax", description="softmax of the norms [second-hand], or their share of the sum [ours]"
    )

    layers: Literal["matrix", "block"] = Field(
        "matrix", description="what has a weight of its own: a matrix or vector, or a transformer block [ours]"
    )

    def plan(self, context: PlanContext) -> Plan:
        store = open_store(self.store, "path-integral")
        alpha = layer_weights(store.facts["norms"], self.layer_weights, self.layers)
        first = max(alpha, key=lambda name: alpha[name])
        notes = (
            f"hlr: the layer weight of '{first}' is {alpha[first]:.3g} of 1, so the penalty holds that {self.layers} "
            "alone; layer_weights: normalised spreads it.",
        )
        penalty = ImportancePenalty(
            "hlr",
            self.phi,
            store.tensors,
            dict(context.lora_scaling),
            alpha,
            store.end,
            {"alpha_max": alpha[first]},
            context.strength,
        )
        return Plan(
            transforms=(penalty,) if self.phi > 0 else (),
            start=store.end,
            notes=notes if alpha[first] > COLLAPSED else (),
        )


def layer_weights(norms: Mapping[str, float], kind: str, layers: str = "matrix") -> dict[str, float]:
    """alpha of every matrix, from the 2-norms of their importances; those of the layers sum to 1.

    >>> norms = {"h.0.q.weight": 3.0, "h.0.k.weight": 4.0, "h.1.q.weight": 15.0}
    >>> layer_weights(norms, "normalised", "block")
    {'h.0.q.weight': 0.25, 'h.0.k.weight': 0.25, 'h.1.q.weight': 0.75}
    """
    of = {name: name if layers == "matrix" else _block(name) for name in norms}
    squares = dict.fromkeys(of.values(), 0.0)
    for name, norm in norms.items():
        squares[of[name]] += norm**2
    values = torch.tensor(list(squares.values()), dtype=torch.float64).sqrt()
    alpha = values.softmax(0) if kind == "softmax" else values / values.sum()
    found = dict(zip(squares, alpha.tolist(), strict=True))
    return {name: found[layer] for name, layer in of.items()}


def _block(name: str) -> str:
    """``model.layers.7`` of ``model.layers.7.mlp.up_proj.weight``; what is in no block is its own."""
    parts = name.split(".")
    return ".".join(parts[: next((i + 1 for i, part in enumerate(parts) if part.isdigit()), len(parts))])
