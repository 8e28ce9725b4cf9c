"""A training loop of your own: cross-entropy on domain text, KL to the frozen base on general text.

python examples/plain_loop.py MODEL DOMAIN.jsonl GENERAL.jsonl OUTPUT
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import acclimate as ac

name, domain, general, output = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
student = ac.causal(AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), tokenizer)
base = ac.frozen_copy(student)
objective = ac.Objective(ac.cross_entropy(on="domain"), ac.kl(to="base", on="general"), references={"base": base})
rows = ac.mix({"domain": domain, "general": general}, shares={"domain": 0.5, "general": 0.5})
packed = rows.packed(tokenizer, length=512, tokens=4096)
optimizer = torch.optim.AdamW(student.parameters(), lr=2e-5)

for batches in packed:
    step = objective.step(batches)  # counts the tokens of the whole step: the only denominators
    for batch in batches:
        step.loss(student, batch).backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step.report())  # loss/<source>/<term> [nats/token]

print(ac.measure(student, packed.heldout, base=base))  # on documents that were never trained on
student.network.save_pretrained(output)
tokenizer.save_pretrained(output)
