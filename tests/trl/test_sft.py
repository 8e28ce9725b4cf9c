"""TRL's SFTTrainer with the objective: packing, padding-free, chats and adapters give the weights of a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

import acclimate as ac
from acclimate.trl import ObjectiveMixin
from acclimate.types.central import IGNORE
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import TEXTS, InOrder, arguments, by_hand, difference, objective, plain, rows, steps_of

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


class Ours(InOrder, ObjectiveMixin, SFTTrainer):  # type: ignore[misc]
    pass


def texts() -> Dataset:
    return Dataset.from_list([{"text": text, "route": route} for text, route in TEXTS])


def trained(folder: Path, data: Any, own: ac.Objective, network: Any = None, **changed: Any) -> Ours:
    peft = changed.pop("peft_config", None)
    trainer = Ours(
        model=network or pico_model(0),
        args=arguments(folder, SFTConfig, shuffle_dataset=False, bf16=False, **changed),
        train_dataset=data,
        processing_class=pico_tokenizer(),
        peft_config=peft,
        objective=own,
    )
    trainer.train()
    return trainer


def alone(
    steps: Any, own: ac.Objective | None = None, network: Any = None, rate: float = 0.1
) -> dict[str, torch.Tensor]:
    network = network or pico_model(0)
    plain(ac.causal(network, pico_tokenizer()), own or objective(), steps, rate)
    return dict(network.state_dict())


@pytest.mark.parametrize("changed", [{}, {"padding_free": True, "max_length": None}])
def test_padded_and_padding_free(tmp_path: Path, changed: dict[str, Any]) -> None:
    trainer = trained(tmp_path, texts(), objective(), **changed)
    assert difference(trainer.model.state_dict(), alone(steps_of(rows(), 2, 2, 3))) < 1e-6


def test_packing(tmp_path: Path) -> None:
    """Best fit changes the order, so a step takes all rows: its sums have no order."""
    trainer = trained(
        tmp_path, texts(), objective(), packing=True, max_length=64, per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
    )  # fmt: skip
    assert len(trainer.train_dataset) < len(TEXTS)
    assert difference(trainer.model.state_dict(), alone([[by_hand(rows())]] * 3)) < 1e-6


def test_an_adapter_that_trl_puts_on(tmp_path: Path) -> None:
    trainer = trained(
        tmp_path, texts(), objective(ac.adapter_off), peft_config=LoraConfig(**LORA), learning_rate=1.0, packing=True,
        max_length=64, per_device_train_batch_size=8, gradient_accumulation_steps=1,
    )  # fmt: skip
    network = pico_model(0)
    set_seed(trainer.args.seed)  # as the trainer draws A
    network = get_peft_model(network, LoraConfig(**LORA))
    own = alone([[by_hand(rows())]] * 3, objective(ac.adapter_off), network, 1.0)
    assert difference(trainer.model.state_dict(), own) < 1e-6
    assert max(float(value.abs().max()) for name, value in own.items() if "lora_B" in name) > 1e-3


def test_only_answers_are_learned(tmp_path: Path) -> None:
    data = Dataset.from_list(
        [
            {"prompt": "What pumps blood? ", "completion": "The heart.", "route": "domain"},
            {"prompt": "The capital of France? ", "completion": "Paris.", "route": "general"},
        ]
    )
    trainer = trained(tmp_path, data, objective(), gradient_accumulation_steps=1)
    tokenizer = pico_tokenizer()
    learned = []
    for row in data:
        before, ids = (tokenizer(text)["input_ids"] for text in (row["prompt"], row["prompt"] + row["completion"]))
        ids = [*ids, tokenizer.eos_token_id]
        labels = [IGNORE] * len(before) + ids[len(before) :]
        learned.append({"input_ids": ids, "labels": labels, "route": row["route"]})
    steps = [[by_hand(Dataset.from_list(learned))]] * 3
    assert difference(trainer.model.state_dict(), alone(steps)) < 1e-6
