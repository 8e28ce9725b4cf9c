"""TRL's trainer with our loss: cross-entropy on domain text, KL to the frozen base on general text, within a budget.

python examples/trl.py MODEL DOMAIN.jsonl GENERAL.jsonl OUTPUT
"""

import sys

import torch
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

import acclimate as ac
from acclimate.trl import ObjectiveMixin

name, domain, general, output = sys.argv[1:]


class Trainer(ObjectiveMixin, SFTTrainer):
    """The loss and its denominators are the objective's; everything else is TRL's."""


tokenizer = AutoTokenizer.from_pretrained(name)
mixed = ac.mix({"domain": domain, "general": general}, shares={"domain": 0.5, "general": 0.5})
rows = mixed.packed(tokenizer, length=512, tokens=4096)
trainer = Trainer(
    model=name,
    args=SFTConfig(
        output,
        max_steps=len(rows),
        learning_rate=2e-5,
        logging_steps=1,
        bf16=torch.cuda.is_available(),
        report_to="none",
    ),
    train_dataset=rows.train,
    processing_class=tokenizer,
    objective=ac.Objective(
        ac.cross_entropy(on="domain"), ac.kl(to="base", on="general"), references={"base": ac.frozen_copy}
    ),
    callbacks=[ac.ForgettingBudget("anchor", kl=0.05, on=rows.heldout["general"], every=50)],
)
trainer.train()
trainer.save_model()
