"""EWC's gradient is autograd's, full and through the factors of an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from acclimate.build.plan import compose
from acclimate.gradient import blocks
from acclimate.methods.ewc import Ewc
from acclimate.stores.fisher import Fisher
from acclimate.stores.store import write_store
from acclimate.types.central import GradientTransform
from acclimate.types.plan import PlanContext
from acclimate.verbs.validate import validate
from tests.fixtures.methods import spec
from tests.fixtures.runs import config
from tests.fixtures.stores import taken

GENERATOR = torch.Generator().manual_seed(0)
SHAPE = (700, 300)  # more than one block, and not a whole number of them


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def penalty(folder: Path, weight: float, fisher: dict[str, Tensor], scaling: dict[str, float]) -> GradientTransform:
    manifest = {"kind": "fisher", "base": {"path": "m", "digest": "d"}, "lora": None, "lora_scaling": {}}
    write_store(folder, fisher, {}, {n: tuple(f.shape) for n, f in fisher.items()}, manifest)
    plan = Ewc(store=str(folder), weight=weight).plan(PlanContext(lora_scaling=scaling))
    (transform,) = plan.transforms
    return transform


def test_equals_autograd(tmp_path: Path) -> None:
    assert SHAPE[0] * SHAPE[1] > blocks.BLOCK
    fisher = {"a": random(*SHAPE).square(), "b": random(7).square()}
    params = {name: random(*f.shape) for name, f in fisher.items()}
    transform = penalty(tmp_path / "s", 0.3, fisher, {})
    base = {name: p.clone() for name, p in params.items()}
    transform.init(params)
    params = {name: p + random(*p.shape) for name, p in params.items()}
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    value = 0.3 * sum((fisher[n] * (leaves[n] - base[n]).square()).sum() for n in base)
    value.backward()
    grads = {n: torch.ones_like(p) for n, p in params.items()}
    metrics = transform.update(grads, params, {}, 0)
    for n in base:
        torch.testing.assert_close(grads[n], 1 + leaves[n].grad, rtol=1e-12, atol=1e-12)
    assert metrics["penalty/ewc"] == pytest.approx(value.item(), rel=1e-12)


def test_equals_autograd_through_an_adapter(tmp_path: Path) -> None:
    fisher = {"m.weight": random(*SHAPE).square(), "unadapted.weight": random(3, 3)}
    a, b = "m.lora_A.default.weight", "m.lora_B.default.weight"
    params = {a: random(3, SHAPE[1]), b: torch.zeros(SHAPE[0], 3, dtype=torch.float64)}
    transform = penalty(tmp_path / "s", 0.2, fisher, {"m": 1.7})
    transform.init(params)
    params[b] += random(SHAPE[0], 3)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    value = 0.2 * (fisher["m.weight"] * (1.7 * leaves[b] @ leaves[a]).square()).sum()
    value.backward()
    grads = {n: torch.ones_like(p) for n, p in params.items()}
    metrics = transform.update(grads, params, {}, 0)
    for n, leaf in leaves.items():
        torch.testing.assert_close(grads[n], 1 + leaf.grad, rtol=1e-12, atol=1e-9)
    assert metrics["penalty/ewc"] == pytest.approx(value.item(), rel=1e-12)


def test_is_zero_at_the_base(tmp_path: Path) -> None:
    params = {"a": random(5, 4)}
    transform = penalty(tmp_path / "s", 10.0, {"a": random(5, 4).square()}, {})
    transform.init(params)
    grads = {"a": random(5, 4)}
    before = grads["a"].clone()
    assert transform.update(grads, params, {}, 0) == {"penalty/ewc": 0.0}
    assert torch.equal(grads["a"], before)


def test_a_fisher_over_all_weights_serves_an_adapter(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """And is the one that is taken under the adapter's own configuration."""
    lora = {"rank": 4, "target_modules": ["q_proj", "v_proj"]}
    whole = taken(Fisher(), pico_folder, corpora, tmp_path / "full")
    part = taken(Fisher(), pico_folder, corpora, tmp_path / "lora", lora=lora)
    assert set(part.tensors) < set(whole.tensors)
    for name, fisher in part.tensors.items():
        torch.testing.assert_close(fisher, whole.tensors[name], rtol=1e-4, atol=1e-12)
    for store in (whole, part):
        method = {"name": "ewc", "store": str(store.folder)}
        assert validate(config(pico_folder, corpora, tmp_path / "runs", lora=lora, method=method)).trained_parameters


@pytest.mark.parametrize("name", ["ewc", "hlr", "dba"])
def test_a_statistic_composes_with_any_terms(
    name: str, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    own = spec(name, pico_folder, corpora, made)
    for other in ("sft", "replay", "mol"):
        both = compose(config(pico_folder, corpora, tmp_path, method=[other, own]))
        assert both.terms == compose(config(pico_folder, corpora, tmp_path, method=other)).terms
        assert both.statistics
    alone = compose(config(pico_folder, corpora, tmp_path, method=own))
    assert alone.terms == compose(config(pico_folder, corpora, tmp_path, method="sft")).terms
