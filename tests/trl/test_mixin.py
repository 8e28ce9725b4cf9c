"""The objective in transformers' Trainer: the weights of a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, Trainer

import acclimate as ac
from acclimate.trl import ObjectiveMixin
from acclimate.types.errors import DataError
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import InOrder, arguments, difference, objective, plain, rows, steps_of


class Ours(InOrder, ObjectiveMixin, Trainer):  # type: ignore[misc]
    pass


def trained(folder: Path, network: Any, own: ac.Objective, data: Any = None, **changed: Any) -> Ours:
    tokenizer = pico_tokenizer()
    trainer = Ours(
        network,
        arguments(folder, **changed),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=data or rows(),
        processing_class=tokenizer,
        objective=own,
    )
    trainer.train()
    return trainer


def test_the_weights_and_losses_of_a_plain_loop(tmp_path: Path) -> None:
    network, alone = pico_model(0), pico_model(0)
    trainer = trained(tmp_path, network, objective())
    losses = plain(ac.causal(alone, pico_tokenizer()), objective(), steps_of(rows(), 2, 2, 3), 0.1)
    assert difference(network.state_dict(), alone.state_dict()) < 1e-6
    assert difference(network.state_dict(), pico_model(0).state_dict()) > 1e-3
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in logged] == pytest.approx(losses, abs=1e-4)
    assert logged[0]["loss/general/reverse_kl"] == 0
    assert {"loss/domain/cross_entropy", "loss/general/reverse_kl"} < set(logged[-1])


def test_an_adapter_is_its_own_reference(tmp_path: Path) -> None:
    def adapted() -> Any:
        torch.manual_seed(1)
        return get_peft_model(pico_model(0), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))

    network, alone = adapted(), adapted()
    trained(tmp_path, network, objective(ac.adapter_off), learning_rate=1.0)
    plain(ac.causal(alone, pico_tokenizer()), objective(ac.adapter_off), steps_of(rows(), 2, 2, 3), 1.0)
    assert difference(network.state_dict(), alone.state_dict()) < 1e-6
    assert sum(float(p.detach().abs().sum()) for n, p in network.named_parameters() if "lora_B" in n) > 1e-2


def test_mixed_precision_does_not_part_the_base_from_itself(tmp_path: Path) -> None:
    trainer = trained(tmp_path, pico_model(0), objective(), bf16=True)
    first, *_, last = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert first["loss/general/reverse_kl"] == 0 < last["loss/general/reverse_kl"]


def test_evaluation_is_the_objective_too(tmp_path: Path) -> None:
    tokenizer = pico_tokenizer()
    trainer = Ours(
        pico_model(0),
        arguments(tmp_path),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        eval_dataset=rows().select([1]),
        processing_class=tokenizer,
        objective=objective(),
    )
    assert trainer.evaluate()["eval_loss"] == 0  # only general text, and the model is its base


def test_labels_without_a_route_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels of a batch name no route of the objective \(domain or general\)"):
        trained(tmp_path, pico_model(0), objective(), data=rows().remove_columns("route"))
