"""Settings of a trainer under which the objective would not be what it says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, Trainer
from trl import SFTConfig, SFTTrainer

import acclimate as ac
from acclimate.trl import ObjectiveMixin
from acclimate.trl.refusals import refuse_adapter, spread
from acclimate.types.errors import DataError, UsageError
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import arguments, objective, rows


class Ours(ObjectiveMixin, Trainer):  # type: ignore[misc]
    pass


class OursWithTrl(ObjectiveMixin, SFTTrainer):  # type: ignore[misc]
    pass


def made(folder: Path, own: Any = None, network: Any = None, **changed: Any) -> Ours:
    given = {name: changed.pop(name) for name in ("compute_loss_func", "compute_metrics") if name in changed}
    tokenizer = pico_tokenizer()
    return Ours(
        pico_model(0) if network is None else network,
        arguments(folder, **changed),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows(),
        processing_class=tokenizer,
        objective=objective() if own is None else own,
        **given,
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 has no effect"),
        ({"compute_loss_func": print}, "compute_loss_func would be a second loss"),
        ({"compute_metrics": print}, "compute_metrics needs the logits"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha adds noise to the student alone"),
        ({"torch_compile": True}, "torch_compile=True hides the states"),
        ({"accelerator_config": {"split_batches": True}, "per_device_train_batch_size": 2}, "split_batches=True"),
    ],
)
def test_arguments(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(tmp_path, **changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"packing": True, "packing_strategy": "wrapped", "max_length": 64}, "set packing_strategy='bfd'"),
        ({"loss_type": "dft"}, "loss_type='dft' would be a second loss"),
    ],
)
def test_arguments_of_trl(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    data = Dataset.from_list([{"text": "Blood carries oxygen.", "route": "domain"}])
    with pytest.raises(UsageError, match=words):
        OursWithTrl(
            model=pico_model(0), args=arguments(tmp_path, SFTConfig, bf16=False, **changed), train_dataset=data,
            processing_class=pico_tokenizer(), objective=objective(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n_gpu": 2}, "2 GPUs are visible to one process"),
        ({"deepspeed": "zero3.json"}, "deepspeed spreads or scales gradients"),
        ({"fsdp": ["full_shard"]}, "fsdp spreads the output head"),
    ],
)
def test_ways_to_share_a_model(changed: dict[str, Any], words: str) -> None:
    plain = {"n_gpu": 1, "deepspeed": None, "fsdp": []}
    assert not list(spread(SimpleNamespace(**plain)))
    assert words in next(spread(SimpleNamespace(**(plain | changed))))


def test_parts_of_a_row() -> None:
    accelerator = SimpleNamespace(parallelism_config=SimpleNamespace(tp_size=1, cp_size=2, sp_size=1))
    told = list(spread(SimpleNamespace(n_gpu=1, deepspeed=None, fsdp=[]), accelerator))
    assert told == ["parallelism_config: cp_size=2 cuts rows or weights; use DDP."]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"bias": "all"}, "bias='all' trains biases"), ({"init_lora_weights": "pissa"}, "'pissa' changes")],
)
def test_adapters_that_change_their_base(changed: dict[str, Any], words: str) -> None:
    network = get_peft_model(pico_model(0), LoraConfig(r=2, target_modules=["q_proj"], **changed))
    student = ac.causal(network, pico_tokenizer())
    with pytest.raises(UsageError, match=words):
        refuse_adapter({"base": ac.adapter_off(student)}, student.peft)


def test_an_adapter_of_prompts(tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(UsageError, match="made of prompts"):
        made(tmp_path, network=get_peft_model(pico_model(0), config))


def test_no_objective(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"objective is a float; accepted: an acclimate\.Objective"):
        made(tmp_path, own=0.5)


def test_a_route_that_the_objective_does_not_know(tmp_path: Path) -> None:
    own = ac.Objective(ac.cross_entropy(on="domain"), routes=["domain"])
    with pytest.raises(DataError, match="row 1 of the data set: the route 'general' is none of the objective's"):
        made(tmp_path, own=own)
