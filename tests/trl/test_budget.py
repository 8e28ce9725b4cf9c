"""A forgetting budget in trainers, with the objective and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, Trainer

from acclimate.data.chat.rendering import special_tokens
from acclimate.measurement.measure import measure
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.trl import ForgettingBudget, ForgettingPanel, ObjectiveMixin
from acclimate.trl.heldout import heldout
from acclimate.types.errors import ConfigError, UsageError
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import TEXTS, InOrder, arguments, difference, objective, rows

GENERAL = [text for text, route in TEXTS if route == "general"]


class Ours(InOrder, ObjectiveMixin, Trainer):  # type: ignore[misc]
    pass


class Ordinary(InOrder, Trainer):  # type: ignore[misc]
    pass


def made(folder: Path, callbacks: list[Any], kind: type = Ordinary, network: Any = None, **changed: Any) -> Any:
    tokenizer = pico_tokenizer()
    own = {"objective": objective(weight=1.0)} if kind is Ours else {}
    return kind(
        pico_model(0) if network is None else network,
        arguments(folder, **({"max_steps": 6, "learning_rate": 0.3} | changed)),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows() if kind is Ours else rows().remove_columns("route"),
        processing_class=tokenizer,
        callbacks=callbacks,
        **own,
    )


def drift(network: Any) -> float:
    """KL(base || model) a token, of two models that are opened anew."""
    tokenizer = pico_tokenizer()
    peft = network if hasattr(network, "peft_config") else None
    model = CausalModel(network if peft is None else peft.get_base_model(), tokenizer, peft)
    base = FrozenCopy(CausalModel(pico_model(0), tokenizer))
    scores, _ = measure(model, base, heldout(GENERAL, tokenizer, 512, "general"), list(special_tokens(tokenizer)))
    assert scores.kl_base_tuned is not None
    return float(scores.kl_base_tuned.sum() / scores.tokens.sum())


def budget(**changed: Any) -> tuple[ForgettingBudget, list[str]]:
    told: list[str] = []
    return ForgettingBudget("anchor", **({"kl": 0.05, "on": GENERAL, "every": 2, "say": told.append} | changed)), told


def test_any_trainer_is_watched_and_its_weights_moved_back(tmp_path: Path) -> None:
    own, told = budget()
    trainer = made(tmp_path, [own])
    trainer.train()
    spent = [entry["retain/spent"] for entry in trainer.state.log_history if "retain/spent" in entry]
    assert len(spent) == 3
    assert max(spent) > 1
    assert own.outcome is not None
    assert own.outcome["alpha"] < 1
    assert 0.9 < own.outcome["spent"] <= 1
    assert drift(trainer.model) == pytest.approx(0.05 * own.outcome["spent"], rel=1e-4)
    assert "of the way from the base" in told[-1]
    assert own.dial is None


def test_an_adapter_is_moved_back_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = get_peft_model(pico_model(0), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    own, _ = budget(kl=0.01)
    trainer = made(tmp_path, [own], network=network, learning_rate=3.0)
    trainer.train()
    assert own.outcome is not None
    assert own.outcome["alpha"] < 1
    assert drift(network) == pytest.approx(0.01 * own.outcome["spent"], rel=1e-3)


def test_the_objective_is_steered(tmp_path: Path) -> None:
    own, _ = budget(kl=0.005, rescale=False)
    steered = made(tmp_path, [own], Ours, max_steps=12)
    steered.train()
    watched, _ = budget(kl=0.005, rescale=False, steer=False)
    made(tmp_path, [watched], Ours, max_steps=12).train()
    assert own.outcome is not None
    assert watched.outcome is not None
    assert own.outcome["strength"] > 2
    assert own.outcome["spent"] < 0.9 * watched.outcome["spent"]
    assert watched.outcome["strength"] is None
    assert any("dial/strength" in entry for entry in steered.state.log_history)


def test_a_resumed_run_goes_on_with_its_strength(tmp_path: Path) -> None:
    def run(resume: str | None, name: str, **changed: Any) -> tuple[Any, ForgettingBudget]:
        own, _ = budget(kl=0.005)
        trainer = made(tmp_path / name, [own], Ours, save_strategy="steps", save_steps=3, **changed)
        trainer.train(resume_from_checkpoint=resume)
        return trainer, own

    whole, first = run(None, "whole")
    resumed, second = run(str(tmp_path / "whole" / "checkpoint-3"), "resumed")
    assert difference(whole.model.state_dict(), resumed.model.state_dict()) == 0
    assert first.outcome == second.outcome
    assert first.outcome is not None
    assert first.outcome["strength"] != 1


def test_a_budget_that_is_exceeded_beyond_doubt_ends_the_training(tmp_path: Path) -> None:
    own, told = budget(kl=1e-6, then="stop", rescale=False)
    trainer = made(tmp_path, [own], max_steps=40)
    trainer.train()
    assert trainer.state.global_step == 2
    assert "whatever documents were drawn; the budget is 1e-06 nats a token" in told[0]


def test_a_panel_in_any_trainer(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in GENERAL))
    (tmp_path / "panel.yaml").write_text("sets:\n  facts: {kind: text, path: facts.jsonl}\n")
    panel = ForgettingPanel(tmp_path / "panel.yaml", every=4)
    trainer = made(tmp_path, [panel])
    trainer.train()
    assert list(panel.results) == [4, 6]
    logged = [entry for entry in trainer.state.log_history if "panel/facts/kl_base_tuned" in entry]
    assert [entry["step"] for entry in logged] == [4, 6]
    assert logged[0]["panel/facts/kl_base_tuned"] > 0


def test_a_panel_is_read_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "panel.yaml").write_text("sets:\n  facts: {kind: text, path: facts.txt}\n")
    with pytest.raises(ConfigError, match=r"panel.yaml:2: sets.facts.path: there is no file"):
        ForgettingPanel(tmp_path / "panel.yaml")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kl": None}, "exactly one of kl"),
        ({"kl": "1%"}, "'1%' is a part, and kl is in nats"),
        ({"kl": {"other": 0.1}}, "'other' has a limit and no text; `on` has anchor"),
        ({"then": "roll_back"}, "'roll_back'; accepted: warn or stop"),
        ({"every": 0}, "every is 0; accepted: optimizer steps"),
        ({"steer": False, "high": 5.0}, "low and high have no effect"),
    ],
)
def test_no_budget(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        budget(**changed)


@pytest.mark.parametrize("on", ["a/path.txt", ["one"], ["one", " "], [1, 2], 3])
def test_no_text(tmp_path: Path, on: Any) -> None:
    with pytest.raises(UsageError, match=r"on\['anchor'\].*accepted: "):
        made(tmp_path, [budget(on=on)[0]])


def test_two_budgets_do_not_steer_one_objective(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another budget steers this objective already; set steer=False"):
        made(tmp_path, [budget()[0], budget()[0]], Ours)


def test_a_base_that_was_not_seen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="restore_callback_states_from_checkpoint=True"):
        made(tmp_path, [budget()[0]], restore_callback_states_from_checkpoint=True)
