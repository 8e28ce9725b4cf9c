"""How often a micro-batch asks the device, counted on the meta device, whose tensors have no numbers to give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acclimate.build.plan import compose
from acclimate.config.load import parse_config
from acclimate.kernels import varlen
from acclimate.kernels.varlen import PACKED_VARLEN
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.objective.objective import Objective
from acclimate.types.batch import Bounds
from acclimate.types.central import WEIGHTS, Batch, Route, RoutedTerm
from acclimate.types.dials import Dial
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer

pytestmark = pytest.mark.skipif(varlen.varlen_attn is None, reason="torch has no variable-length attention")
ROUTES = (Route("domain", "domain"), Route("general", "general"))
MOST = 2
aten = torch.ops.aten
ASKING = {
    aten.nonzero, aten.masked_select, aten._unique2, aten.unique_consecutive, aten.unique_dim, aten.equal,
    aten.repeat_interleave, aten.bincount, aten._assert_async,
}  # fmt: skip


class Syncs(TorchDispatchMode):
    """Operations for which the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(tensor.is_meta for tensor in tensors):
            return func(*args, **kwargs)
        kind = func.overloadpacket
        if kind is aten._local_scalar_dense:
            self.seen.append("item")
            return args[0].dtype == torch.bool or 1
        if kind is aten._to_copy and torch.device(kwargs.get("device") or "meta").type == "cpu":
            self.seen.append("to the host")
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if kind is aten.copy_ and args[1].is_meta and not args[0].is_meta:
            self.seen.append("to the host")
            return args[0]
        if kind in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) and any(
            leaf.dtype in (torch.bool, torch.uint8) for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)
        ):
            self.seen.append("where a mask is true")
        if kind in ASKING:
            raise AssertionError(f"{func} asks the device")
        return func(*args, **kwargs)


def methods(method: Any, **sections: Any) -> list[RoutedTerm]:
    sources = {"domain": {"path": "d.jsonl"}, "general": {"path": "g.jsonl"}}
    data = {"model": {"path": "m"}, "sources": sources, "budget": {"steps": 1}, "method": method}
    return list(compose(parse_config(data | sections)).terms)


def held(terms: list[RoutedTerm]) -> list[RoutedTerm]:
    """With a forgetting budget's strength."""
    return [replace(term, strength=Dial("strength", 2.0, low=0.0, high=4.0)) for term in terms]


KINDS: dict[str, tuple[Callable[[], list[RoutedTerm]], dict[str, Any]]] = {
    "sft": (lambda: methods("sft"), {}),
    "replay": (lambda: methods("replay"), {}),
    "mol": (lambda: methods("mol"), {}),
    "mol, one count": (lambda: methods("mol"), {"normalise": "all"}),
    "mol, by sequence": (lambda: methods("mol"), {"average": "sequence"}),
    "mol, by sequence, one count": (lambda: methods("mol"), {"normalise": "all", "average": "sequence"}),
    "mol, held": (lambda: held(methods("mol")), {}),
    "js": (lambda: methods({"name": "mol", "direction": "js"}), {}),
    "dft": (lambda: methods("dft"), {}),
    "asft": (lambda: methods("asft"), {}),
    "talr, a tau of its own": (lambda: methods({"name": "talr", "tau": 2.0}), {}),
    "talr, the batch's": (lambda: methods({"name": "talr", "tau": "batch"}), {}),
    "talr, the step's": (lambda: methods({"name": "talr", "tau": "median"}), {}),
    "mol and dft": (lambda: methods(["mol", "dft"]), {}),
}


@pytest.fixture(scope="module")
def models() -> tuple[CausalModel, FrozenCopy]:
    """A student and its base on the device."""
    model = CausalModel(pico_model(num_hidden_layers=1), pico_tokenizer())
    base = FrozenCopy.of(model)
    for own in (model, base.model):
        own.network.config._attn_implementation = PACKED_VARLEN
        own.to("meta")
        own.device = own.states.device = torch.device("meta")
    return model, base


def on_device(objective: Objective, ahead: bool) -> list[Batch]:
    batches = [
        packed([[(0, 9, 0), (1, 12, 1)], [(2, 17, 0)]], seed=1),
        packed([[(3, 5, 0), (4, 11, 1)]], seed=2),
    ]
    for batch in batches:
        batch.columns = {WEIGHTS: torch.rand(batch.labels.shape)}
        if ahead:
            objective.assign_ahead(batch)
            batch.bounds = Bounds.of(batch.position_ids)
    return [batch.to("meta") for batch in batches]


@pytest.mark.parametrize(("kind", "ahead"), [*((kind, True) for kind in KINDS), ("mol", False), ("replay", False)])
def test_a_micro_batch_asks_at_most_twice(kind: str, ahead: bool, models: tuple[CausalModel, FrozenCopy]) -> None:
    """What the loader has not found ahead is found on the host: that takes its time, and asks for nothing."""
    made, settings = KINDS[kind]
    (model, base), terms = models, made()
    references = {"base": base} if any(term.reference for term in terms) else {}
    objective = Objective(terms, ROUTES, references, **settings)  # type: ignore[arg-type]
    batches = on_device(objective, ahead)
    model.zero_grad()
    with Syncs() as syncs:
        step = objective.step(batches)
    assert syncs.seen == [], "the counts of a step are known on the host"
    with Syncs() as syncs:
        step.observe(model)
    assert len(syncs.seen) <= MOST * len(batches), syncs.seen
    for batch in batches:
        with Syncs() as syncs:
            step.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        assert 1 <= len(syncs.seen) <= MOST, syncs.seen  # whether the loss was scaled, on the way back
    assert all(parameter.grad is not None for parameter in model.trainable().values())


def test_what_asks_is_counted() -> None:
    """A batch that was made on the device has to be copied from it: five tensors and its weights."""
    objective = Objective(methods("mol"), ROUTES, {})
    made_there = [batch.map(lambda tensor: tensor.clone()) for batch in on_device(objective, True)]
    with Syncs() as syncs:
        for batch in made_there:
            batch.on_host  # noqa: B018
    assert syncs.seen == ["to the host"] * 6 * len(made_there)
    flags = torch.ones(4, dtype=torch.bool, device="meta")
    with Syncs() as syncs:
        bool(flags[0])
        torch.zeros(4, device="meta").sum().cpu()
        with pytest.raises(AssertionError, match="nonzero"):
            flags.nonzero()
    assert syncs.seen == ["item", "to the host"]
