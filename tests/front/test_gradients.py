"""Gradient transforms between backward and the optimizer."""

from __future__ import annotations

import pytest
import torch

import acclimate as ac
from acclimate.model.causal import CausalModel
from acclimate.types.errors import UsageError
from tests.fixtures.pico import pico_model, pico_tokenizer

BATCHES = ac.pack([list(range(5, 40))], length=40)


def student() -> CausalModel:
    return ac.causal(pico_model(0), pico_tokenizer())


def backward(model: CausalModel) -> None:
    step = ac.Objective(ac.cross_entropy()).step(BATCHES)
    for batch in BATCHES:
        step.loss(model, batch).backward()


def test_penalties_pull_to_the_weights_that_they_found() -> None:
    """``2 w (theta - theta_0)`` for every weight, times F under an importance; clipping comes last."""
    own = student()
    fisher = {name: torch.full_like(p, 3.0) for name, p in own.trainable().items()}
    gradients = ac.chain(own, ac.clip(1e9), ac.l2_to_base(0.5), ac.importance(fisher, weight=0.25))
    with torch.no_grad():
        for parameter in own.trainable().values():
            parameter.add_(0.01)
    found = gradients.update()  # of no loss at all
    assert list(found) == ["penalty/l2", "penalty/ewc", "gradient_norm"]
    for parameter in own.trainable().values():
        assert parameter.grad is not None
        torch.testing.assert_close(  # 2 (0.5 + 0.25 * 3) 0.01
            parameter.grad, torch.full_like(parameter, (2 * 0.5 + 2 * 0.25 * 3.0) * 0.01), atol=1e-6, rtol=0
        )


def test_clipping_and_boosting_in_a_loop() -> None:
    own = student()
    mean = {name: torch.ones_like(p) for name, p in own.trainable().items()}
    gradients = ac.chain(own, ac.boost(mean, k0=1.0, total_steps=2), ac.clip(0.5))
    backward(own)
    found = gradients.update()
    assert found["boost/gamma"] == 1.0  # the stored gradient alone
    assert torch.nn.utils.get_total_norm([p.grad for p in own.trainable().values()]).item() == pytest.approx(0.5)
    backward(own)
    assert gradients.update()["boost/gamma"] == 0.5
    assert gradients.state_dict()["steps"] == 2
    again = ac.chain(own, ac.boost(mean, k0=1.0, total_steps=2), ac.clip(0.5))
    again.load_state_dict(gradients.state_dict())
    assert again.steps == 2
    with pytest.raises(UsageError, match="the state is of 2 transforms, and this chain has 1"):
        ac.chain(own, ac.clip()).load_state_dict(gradients.state_dict())


def test_an_adapter_is_held_by_what_it_changes() -> None:
    from peft import LoraConfig, get_peft_model

    own = ac.causal(get_peft_model(pico_model(0), LoraConfig(r=2, target_modules=["q_proj"])), pico_tokenizer())
    gradients = ac.chain(own, ac.l2_to_base(1.0))
    with torch.no_grad():
        for name, parameter in own.trainable().items():
            parameter.fill_(0.1 if "lora_B" in name else 0.2)
    assert gradients.update()["penalty/l2"] > 0
    with pytest.raises(UsageError, match=r"lack 2 of the 2 weights .* under its adapter"):
        ac.chain(own, ac.importance({"other": torch.ones(1)}))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ac.chain(student()), "there is no transform"),
        (lambda: ac.chain(pico_model(), ac.clip()), "the first argument is the student"),
        (lambda: ac.clip(0.0), "max_norm is 0.0; accepted: a number above 0"),
        (lambda: ac.l2_to_base(-1.0), "the weight may be -1.0"),
        (lambda: ac.boost({}, 0.1, 0), "total_steps is 0"),
    ],
)
def test_what_is_wrong_is_said(make: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()  # type: ignore[operator]
