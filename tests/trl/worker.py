"""One of two ranks: transformers' Trainer with the objective, under DDP; then a micro-batch that holds no general text.

RANK=r WORLD_SIZE=2 ... python -m tests.trl.worker OUTPUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import DataCollatorForSeq2Seq, Trainer

from acclimate.trl import ForgettingBudget, ObjectiveMixin
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.trl.loops import TEXTS, InOrder, arguments, objective, rows


class Ours(InOrder, ObjectiveMixin, Trainer):  # type: ignore[misc]
    pass


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
        callbacks=[budget] if sys.argv[2:] else [],
    )
    trainer.train()
    save_file(dict(network.state_dict()), output / f"weights-{trainer.args.process_index}.safetensors")
    if sys.argv[2:]:
        assert budget.outcome is not None
        (output / f"outcome-{trainer.args.process_index}").write_text(f"{budget.outcome['spent']:.9f} {len(told)}")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
