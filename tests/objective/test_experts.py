"""The load of experts, and the loss that evens it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from acclimate.config.lora_schema import LoraSection
from acclimate.gradient.penalty import L2ToBase
from acclimate.model.causal import CausalModel
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.mixture.routing import balance_weight
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.types.central import PAD_DOCUMENT, Batch, Route, RoutedTerm
from acclimate.types.errors import ConfigError
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.batches import packed
from tests.fixtures.mixtures import mixture
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.runs import config, lines

ROUTES = [Route("domain", "domain"), Route("general", "general")]
TERMS = [RoutedTerm("ce", CrossEntropy(), ("domain",))]


def padded() -> Batch:
    batch = packed([[(0, 9, 0), (1, 12, 1)], [(2, 17, 0)]])
    assert (batch.document == PAD_DOCUMENT).any()
    return batch


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral", "phimoe"])
def test_the_loss_is_transformers_over_the_tokens_that_are_no_padding(family: str) -> None:
    network, batch = mixture(family), padded()
    model, coefficient = CausalModel(network, None), 0.3
    real = (batch.document != PAD_DOCUMENT).long()
    with torch.no_grad():
        inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
        found = network.get_decoder()(**inputs, output_router_logits=True)
    expected = load_balancing_loss_func(found.router_logits, 4, 2, real)
    without, with_it = (Objective(TERMS, ROUTES, {}, balance=weight) for weight in (0.0, coefficient))
    losses, reports = [], []
    for objective in (without, with_it):
        step = objective.step([batch])
        loss = step.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        reports.append(step.report())
    torch.testing.assert_close(losses[1] - losses[0], coefficient * expected, rtol=1e-4, atol=1e-5)
    assert reports[1]["experts/balance"] == pytest.approx(float(expected), rel=1e-5)
    assert "experts/balance" not in reports[0]
    assert reports[0]["experts/load_max"] == reports[1]["experts/load_max"] >= 1


def test_micro_batches_weigh_by_their_tokens_and_padding_counts_nowhere() -> None:
    model, first = CausalModel(mixture("qwen3_moe"), None), padded()
    second = packed([[(3, 5, 0)]], seed=3)
    objective = Objective(TERMS, ROUTES, {}, balance=1.0)
    alone = []
    for batch in (first, second):
        step = objective.step([batch])
        step.loss(model, batch)
        alone.append((step.report()["experts/balance"], int((batch.document != PAD_DOCUMENT).sum())))
    step = objective.step([first, second])
    for batch in (first, second):
        step.loss(model, batch)
    expected = sum(loss * n for loss, n in alone) / sum(n for _, n in alone)
    assert step.report()["experts/balance"] == pytest.approx(expected, rel=1e-5)
    assert step.sums is not None
    assert step.sums.load.sum(-1).tolist() == [2 * sum(n for _, n in alone)] * 2  # 2 experts a token in each layer


def test_what_is_compared_or_only_measured_is_not_watched() -> None:
    model = CausalModel(mixture("qwen3_moe"), None)
    assert model.routing is not None
    model.routing.begin()
    with model.inference():
        model(padded())
    assert not model.routing._real
    assert CausalModel(mixture("llama"), None).routing is None
    assert not any(module._forward_hooks for module in model.network.modules())


def test_where_the_coefficient_comes_from() -> None:
    asks = {"output_router_logits": True, "router_aux_loss_coef": 0.02}
    assert balance_weight(mixture("qwen3_moe"), None) == 0
    assert balance_weight(mixture("qwen3_moe"), 0.5) == 0.5
    assert balance_weight(mixture("qwen3_moe", **asks), None) == 0.02
    assert balance_weight(mixture("qwen3_moe", **asks), 0.0) == 0
    frozen = mixture("qwen3_moe", **asks)
    attach_lora(frozen, LoraSection(rank=2))
    assert balance_weight(frozen, None) == 0
    named = mixture("qwen3_moe", **asks)
    attach_lora(named, LoraSection(rank=2, target_modules=["gate"]))
    assert balance_weight(named, None) == 0.02
    for network, words in (
        (mixture("llama"), "has no effect: this model has no experts"),
        (mixture("deepseek_v3"), "transformers has no load balancing loss for deepseek_v3"),
        (frozen, "the router is frozen; name it in lora.target_modules"),
    ):
        with pytest.raises(ConfigError, match=f"objective.router_aux_loss: 0.1 .*{words}"):
            balance_weight(network, 0.1)


def test_l2_is_the_distance_of_each_experts_matrix() -> None:
    network = mixture("qwen3_moe")
    attach_lora(network, LoraSection(rank=2, experts=True, target_modules=["q_proj"]))
    model = CausalModel(network, None, None)
    torch.manual_seed(0)
    base = {}
    for name, module in network.named_modules():
        if name in model.lora_scaling:
            torch.nn.init.normal_(module.lora_B["default"].weight, std=0.1)
            base[name] = module.get_delta_weight("default")
    assert sorted(model.lora_experts.values()) == [4] * 4
    params = model.trainable()
    penalty = L2ToBase(0.5, model.lora_scaling, model.lora_experts)
    grads = {name: torch.zeros_like(p) for name, p in params.items()}
    penalty.init(params)
    found = penalty.update(grads, {n: p.detach() for n, p in params.items()}, {}, 0)
    loss = 0.5 * sum(network.get_submodule(n).get_delta_weight("default").square().sum() for n in base)
    assert found["penalty/l2"] == pytest.approx(float(loss.detach()), rel=1e-5)
    loss.backward()
    for name, parameter in params.items():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-4, atol=1e-5)


def saved(folder: Path, **changes: Any) -> Path:
    network = mixture("qwen3_moe", **changes)
    network.save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


def test_a_run_follows_the_models_own_configuration(tmp_path: Path, corpora: Path) -> None:
    folder = saved(tmp_path / "base", output_router_logits=True, router_aux_loss_coef=10.0)
    settings = {"budget": {"steps": 2, "batch_tokens": 128}}
    before = (folder / "config.json").read_text()
    runs = []
    for name, objective in (("own", {}), ("off", {"router_aux_loss": 0.0})):
        asked = config(folder, corpora, tmp_path, name=name, objective=objective, **settings)
        runs.append(train(asked).run_dir)
    own, off = (lines(run) for run in runs)
    assert own[0]["loss"] - off[0]["loss"] == pytest.approx(10 * own[0]["experts/balance"], rel=1e-4)
    assert own[1]["loss/domain/cross_entropy"] != off[1]["loss/domain/cross_entropy"]
    assert {"experts/load_max", "experts/unused"} <= off[0].keys()
    assert "experts/balance" not in off[0]
    exported = (runs[0] / "model" / "config.json").read_text()
    assert '"router_aux_loss_coef": 10.0' in before
    assert '"router_aux_loss_coef": 10.0' in exported


def test_validate_says_what_is_reached_and_what_experts_take(tmp_path: Path, corpora: Path) -> None:
    folder = saved(tmp_path / "base", output_router_logits=True, router_aux_loss_coef=0.1)
    found = validate(config(folder, corpora, tmp_path, lora={"rank": 4}))
    assert [str(row) for row in found.reached][:3] == ["attention 8 of 8", "experts 0 of 4", "router 0 of 2"]
    notes = "\n".join(found.warnings)
    assert "lora.experts: an adapter of the experts would take 3,584 parameters" in notes
    assert "a load balancing loss of 0.1, which is left out: the router is frozen" in notes
    with_experts = validate(config(folder, corpora, tmp_path, lora={"rank": 4, "experts": True}))
    assert with_experts.trained_parameters == found.trained_parameters + 3584
