"""A loop without a trainer, on batches made by hand: what a trainer has to come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import TrainingArguments

import acclimate as ac
from acclimate.model.causal import CausalModel
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch
from tests.fixtures.pico import pico_tokenizer

TEXTS = (
    ("The heart is a muscle that pumps blood through the body.", "domain"),
    ("Paris is the capital of France.", "general"),
    ("Blood carries oxygen.", "domain"),
    ("Rome is the capital of Italy, and Bern of Switzerland.", "general"),
    ("A vein leads to the heart.", "domain"),
    ("The Alps are high.", "general"),
    ("An artery leads away from it, and is the stronger of the two.", "domain"),
    ("Water boils at a hundred degrees at sea level.", "general"),
)
ROUTES = ("domain", "general")


def rows(texts: Sequence[tuple[str, str]] = TEXTS) -> Dataset:
    """Tokenised, each row with its route."""
    tokenizer = pico_tokenizer()
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text, _ in texts]
    return Dataset.from_list(
        [{"input_ids": own, "labels": own, "route": route} for own, (_, route) in zip(ids, texts, strict=True)]
    )


def by_hand(dataset: Dataset) -> Batch:
    """A document a row."""
    width = max(map(len, dataset["input_ids"]))
    found = {name: torch.full((len(dataset), width), 0) for name in ("input_ids", "labels", "document", "route")}
    found["labels"] += IGNORE
    found["document"] += PAD_DOCUMENT
    positions = torch.zeros(len(dataset), width, dtype=torch.int64)
    for b, row in enumerate(dataset):
        ids, n = torch.tensor(row["input_ids"]), len(row["input_ids"])
        labels = torch.tensor(row["labels"])
        found["input_ids"][b, :n] = ids
        found["labels"][b, : n - 1] = labels[1:]
        found["document"][b, :n] = b
        found["route"][b, : n - 1] = torch.where(labels[1:] != IGNORE, ROUTES.index(row["route"]), 0)
        positions[b] = torch.cat([torch.arange(n), torch.arange(width - n)])
    return Batch(position_ids=positions, **found)


def objective(reference: Any = ac.frozen_copy, weight: float = 2.0) -> ac.Objective:
    return ac.Objective(
        ac.cross_entropy(on="domain"), ac.kl(to="base", on="general", weight=weight), references={"base": reference}
    )


def plain(student: CausalModel, own: ac.Objective, steps: Sequence[Sequence[Batch]], rate: float) -> list[float]:
    """SGD with clipping at 1; the losses of the steps."""
    bound = own.bind(student)
    optimizer = torch.optim.SGD(list(student.trainable().values()), lr=rate)
    losses = []
    for batches in steps:
        step = bound.step(batches)
        for batch in batches:
            step.loss(student, batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.trainable().values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(step.report()["loss"])
    return losses


def arguments(folder: Path, kind: type = TrainingArguments, **changed: Any) -> Any:
    given = {
        "output_dir": str(folder), "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 3,
        "learning_rate": 0.1, "lr_scheduler_type": "constant", "optim": "sgd", "logging_steps": 1, "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "max_grad_norm": 1.0,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return kind(**(given | changed))


class InOrder:
    """Rows in the order of the data set."""

    def _get_train_sampler(self, *ignored: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[attr-defined]


def steps_of(dataset: Dataset, micro: int, accumulate: int, count: int) -> list[list[Batch]]:
    """Micro-batches of ``micro`` rows in order, round and round."""
    found, at = [], 0
    for _ in range(count):
        step = []
        for _ in range(accumulate):
            step.append(by_hand(dataset.select(range(at, at + micro))))
            at = (at + micro) % len(dataset)
        found.append(step)
    return found


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)
