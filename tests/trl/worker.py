"""One of two ranks: transformers' Trainer with the objective, under DDP, and a budget that moves its weights.

RANK=r WORLD_SIZE=2 ... python -m tests.trl.worker OUTPUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback

from acclimate.trl import ForgettingBudget, ObjectiveMixin
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import TEXTS, InOrder, arguments, objective, rows


class Ours(InOrder, ObjectiveMixin, Trainer):  # type: ignore[misc]
    pass


class Keep(TrainerCallback):  # type: ignore[misc]
    """The weights of the last step, before a budget moves them."""

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        weights = {name: value.clone() for name, value in given["model"].state_dict().items()}
        save_file(weights, Path(args.output_dir) / f"weights-{args.process_index}.safetensors")


def main() -> None:
    output, network, tokenizer = Path(sys.argv[1]), pico_model(0, tie=False), pico_tokenizer()
    torch.set_num_threads(1)
    told: list[str] = []
    budget = ForgettingBudget("anchor", kl=1e-4, on=[text for text, _ in TEXTS], every=2, steer=False, say=told.append)
    trainer = Ours(
        network,
        arguments(output, ddp_backend="gloo"),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows(),
        processing_class=tokenizer,
        objective=objective(),
        callbacks=[Keep(), budget],
    )
    trainer.train()
    assert budget.outcome is not None
    (output / f"outcome-{trainer.args.process_index}").write_text(f"{budget.outcome['spent']:.9f} {len(told)}")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
