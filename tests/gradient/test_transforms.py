"""Penalties equal autograd; the chain keeps its order."""

from __future__ import annotations

import torch

from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.gradient.penalty import L2ToBase
from acclimate.types.central import Stage
from acclimate.types.dials import Dial


def test_l2_equals_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    base = {n: torch.randn(5, 4, generator=generator, dtype=torch.float64) for n in ("a.weight", "b.weight")}
    params = {n: t.clone() for n, t in base.items()}
    penalty = L2ToBase(dial := Dial("weight", 9.0, 0.0, 9.0))
    dial.move(0.3)
    state = penalty.init(params)
    for tensor in params.values():
        tensor.add_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    leaves = {n: t.clone().requires_grad_() for n, t in params.items()}
    value = 0.3 * sum((leaves[n] - base[n]).square().sum() for n in base)
    value.backward()
    grads = {n: torch.ones_like(t) for n, t in params.items()}
    metrics = penalty.update(grads, params, state, 0)
    for n in base:
        torch.testing.assert_close(grads[n], 1 + leaves[n].grad, rtol=0, atol=1e-14)
    assert abs(metrics["penalty/l2"] - value.item()) < 1e-12


def test_l2_under_lora_is_the_distance_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    params = {
        "m.lora_A.default.weight": torch.randn(3, 7, generator=generator, dtype=torch.float64),
        "m.lora_B.default.weight": torch.randn(5, 3, generator=generator, dtype=torch.float64),
    }
    penalty = L2ToBase(0.2, {"m": 1.7})
    state = penalty.init(params)
    leaves = {n: t.clone().requires_grad_() for n, t in params.items()}
    value = 0.2 * (1.7 * leaves["m.lora_B.default.weight"] @ leaves["m.lora_A.default.weight"]).square().sum()
    value.backward()
    grads = {n: torch.zeros_like(t) for n, t in params.items()}
    metrics = penalty.update(grads, params, state, 0)
    for n, leaf in leaves.items():
        torch.testing.assert_close(grads[n], leaf.grad, rtol=0, atol=1e-12)
    assert abs(metrics["penalty/l2"] - value.item()) < 1e-12


def test_l2_is_zero_at_the_base() -> None:
    params = {"a.weight": torch.randn(5, 4)}
    penalty = L2ToBase(10.0)
    state = penalty.init(params)
    grads = {"a.weight": torch.randn(5, 4)}
    before = grads["a.weight"].clone()
    assert penalty.update(grads, params, state, 0) == {"penalty/l2": 0.0}
    assert torch.equal(grads["a.weight"], before)


def test_clip_scales_to_the_norm_and_reports_the_norm_before() -> None:
    grads = {"a": torch.full((4,), 3.0), "b": torch.full((4,), 4.0)}
    assert ClipNorm(1.0).update(grads, grads, {}, 0) == {"gradient_norm": 10.0}
    torch.testing.assert_close(torch.cat(list(grads.values())).norm(), torch.tensor(1.0))
    small = {"a": torch.full((4,), 0.1)}
    ClipNorm(1.0).update(small, small, {}, 0)
    assert torch.equal(small["a"], torch.full((4,), 0.1))
    assert ClipNorm(None).update({"a": torch.full((4,), 50.0)}, {}, {}, 0) == {"gradient_norm": 100.0}


def test_chain_orders_by_stage() -> None:
    seen: list[str] = []

    class Probe:
        def __init__(self, name: str, stage: Stage) -> None:
            self.name, self.stage = name, stage

        def init(self, params: dict) -> dict:
            return {"count": torch.zeros(1)}

        def update(self, grads: dict, params: dict, state: dict, step: int) -> dict:
            seen.append(self.name)
            state["count"] += 1
            return {self.name: float(step)}

    chain = Chain([Probe("clip", Stage.CLIP), Probe("penalty", Stage.PENALTY), Probe("boost", Stage.BOOST)], {})
    assert chain.update({}, 4) == {"boost": 4.0, "penalty": 4.0, "clip": 4.0}
    assert seen == ["boost", "penalty", "clip"]
    other = Chain([Probe("clip", Stage.CLIP), Probe("penalty", Stage.PENALTY), Probe("boost", Stage.BOOST)], {})
    other.load_state_dict(chain.state_dict())
    assert [state["count"].item() for state in other.states] == [1, 1, 1]
