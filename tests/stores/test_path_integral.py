"""The path integral: closed form on a quadratic, the dense gradient under LoRA, the loss that a path takes away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from acclimate.build.training import hand_over
from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.gradient.factors import factors
from acclimate.model.causal import CausalModel
from acclimate.stores.path_integral import PathIntegral
from acclimate.types.central import Callback
from acclimate.types.errors import RunError
from acclimate.types.plan import Plan
from tests.fixtures.gradients import built
from tests.fixtures.runs import config
from tests.fixtures.stores import taken


def quadratic(rate: float, steps: int, max_norm: float | None = None) -> tuple[PathIntegral, Any, Chain, torch.Tensor]:
    """Gradient descent on ``1/2 sum h theta^2`` with the recorder in its chain."""
    h = torch.tensor([0.5, 1.0, 4.0, 0.0], dtype=torch.float64)
    theta = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    recorder = PathIntegral(xi=1e-9)
    training = SimpleNamespace(weights=SimpleNamespace(masters={"w": theta}, state_dict=lambda: {"w": theta}))
    chain = Chain([recorder, ClipNorm(max_norm)], training.weights.masters)
    for step in range(steps):
        grads = {"w": h * theta}
        chain.update(grads, step)
        theta -= rate * grads["w"]
        recorder.on_step_end(training, {})
    return recorder, training, chain, h


def test_is_the_loss_that_each_coordinate_took_away() -> None:
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    recorder, training, chain, h = quadratic(1e-4, 5000)
    end = training.weights.masters["w"]
    lost = 0.5 * h * (start**2 - end**2)
    torch.testing.assert_close(chain.states[0]["w"], lost, rtol=1e-3, atol=0)
    found = recorder.result(training, chain.states[0])
    assert found.facts["loss_decrease"] == pytest.approx(lost.sum().item(), rel=1e-3)
    moved = (end - start) ** 2
    expected = lost / (moved + 1e-9 * moved.mean())
    torch.testing.assert_close(found.statistic["w"], expected, rtol=1e-3, atol=0)
    assert found.statistic["w"][3] == 0  # it did not move
    assert found.facts["norms"]["w"] == pytest.approx(expected.norm().item(), rel=1e-3)


def test_gradients_are_raw() -> None:
    """Clipping scales what moves the weights, not what is multiplied with the movement."""
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    _, training, chain, h = quadratic(1e-3, 500, max_norm=0.05)
    end = training.weights.masters["w"]
    assert (start - end).norm() < 0.03
    torch.testing.assert_close(chain.states[0]["w"], 0.5 * h * (start**2 - end**2), rtol=1e-2, atol=0)


def test_a_harmful_movement_has_no_importance() -> None:
    recorder, training, chain, _ = quadratic(1e-3, 5)
    chain.states[0]["w"][1] = -0.3
    assert recorder.result(training, chain.states[0]).statistic["w"][1] == 0


def test_weights_that_stand_still_are_refused() -> None:
    recorder, training, chain, _ = quadratic(0.0, 3)
    with pytest.raises(RunError, match="The weights did not move"):
        recorder.result(training, chain.states[0])


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_the_sum_is_the_measured_decrease_of_the_loss(
    lora: dict | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    """The same rows at every step, small steps, float64."""
    settings = config(pico_folder, corpora, tmp_path, method="sft", lora=lora, budget={"batch_tokens": 400})
    training = built(settings)
    recorder = PathIntegral()
    takes = recorder.plan(training.model).takes or {}
    training.gradients = Chain([recorder, ClipNorm(0.3)], training.weights.masters)
    for name, taker in takes.items():
        hand_over(training.model.network.get_parameter(name), taker)
    assert len(takes) == len(training.model.lora_scaling)
    batches = training.data.next_step()
    training.data.close()
    losses = []
    for step in range(31):
        taken, total = training.objective.step(batches), 0.0
        for batch in batches:
            loss = taken.loss(training.model, batch)
            loss.backward()
            total += loss.item()
        losses.append(total)
        grads = training.weights.reduce(training.world)
        raw = {name: grad.clone() for name, grad in grads.items()}
        dense = dict(recorder._gradient)
        for pair in factors(training.model.lora_scaling):  # what reached A and B is the dense gradient's chain rule
            (a_name, b_name), (a, b) = pair.names, pair.of(training.weights.masters)
            torch.testing.assert_close(raw[b_name], pair.scaling * dense[pair.weight] @ a.T, rtol=0, atol=1e-12)
            torch.testing.assert_close(raw[a_name], pair.scaling * b.T @ dense[pair.weight], rtol=0, atol=1e-12)
        training.gradients.update(grads, step)
        with torch.no_grad():
            for name, master in training.weights.masters.items():
                master.sub_(0.02 * training.weights.gradients[name])
        training.weights.publish()
        recorder.on_step_end(training, {})
    decrease = recorder.result(training, training.gradients.states[0]).facts["loss_decrease"]
    assert losses[0] - losses[-1] > 0.05
    last = losses[-2] - losses[-1]  # the path has one step more than was measured
    assert decrease == pytest.approx(losses[0] - losses[-1] + last, rel=0.05)


def test_under_lora_nothing_but_the_adapter_moves(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    plan = PathIntegral.plan

    def watched(self: PathIntegral, model: CausalModel) -> Plan:
        seen["before"] = {n: p.detach().clone() for n, p in model.network.named_parameters()}
        seen["network"] = model.network
        return plan(self, model)

    monkeypatch.setattr(PathIntegral, "plan", watched)
    lora = {"rank": 4, "target_modules": ["q_proj", "v_proj"]}
    store = taken(PathIntegral(), pico_folder, corpora, tmp_path / "s", lora=lora)
    changed = {n for n, p in seen["network"].named_parameters() if not torch.equal(p, seen["before"][n])}
    assert changed == set(store.end)
    assert all("lora_" in name for name in changed)
    assert sorted(store.tensors) == [
        f"model.layers.{i}.self_attn.{m}_proj.weight" for i in (0, 1) for m in ("q", "v")
    ]  # fmt: skip


def test_it_is_a_callback_and_a_transform() -> None:
    assert isinstance(PathIntegral(), Callback)
