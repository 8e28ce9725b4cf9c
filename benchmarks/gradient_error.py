"""How wrong is the gradient of KL(base || student) near the base, in bfloat16?

    python benchmarks/gradient_error.py --model FOLDER --text FILE > benchmarks/DATE-gradient-error.md (extra `bench`)

Hidden states and head are bfloat16; the student's hidden states are the reference's plus noise whose size is chosen
so that the mean KL is 0.0002, 0.002, 0.02 and 0.2 nats. The error is |g - g64| / |g64|, g64 from float64 on the very
same bfloat16 inputs, of the gradient of the hidden states and of a trained head.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from alternate import header
from head import PACKAGES, Loss, liger, naive, ours, torchtune, trl
from torch import Tensor

from acclimate.config.schema import ModelSection
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_network, load_tokenizer

TARGETS = (0.0002, 0.002, 0.02, 0.2)


def ours_bfloat16(hidden: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """What `objective.logits_dtype: bfloat16` computes."""
    return ours(hidden, reference, weight, logits_dtype=torch.bfloat16)


def gradients(loss: Loss, hidden: Tensor, reference: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    student, matrix = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    found = torch.autograd.grad(loss(student, reference, matrix), [student, matrix])
    return found[0].double(), found[1].double()


def mean_kl(hidden: Tensor, reference: Tensor, weight: Tensor) -> float:
    with torch.no_grad():
        return ours(hidden, reference, weight).item() / len(hidden)


def at_distance(reference: Tensor, weight: Tensor, target: float) -> Tensor:
    """bfloat16 hidden states around ``reference`` whose mean KL is near ``target``."""
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1)) * reference.float().std()
    low, high = 1e-5, 10.0
    for _ in range(14):
        middle = (low * high) ** 0.5
        hidden = (reference.float() + middle * noise).bfloat16()
        low, high = (middle, high) if mean_kl(hidden, reference, weight) < target else (low, middle)
    return hidden


def real(model: str, text: str) -> tuple[Tensor, Tensor]:
    """Final hidden states [256, D] of the model on a text, and its head."""
    section = ModelSection(path=model)
    causal = CausalModel(load_network(section, torch.bfloat16, torch.device("cpu")), load_tokenizer(section))
    words = " ".join(json.loads(line)["text"] for line in Path(text).read_text().splitlines()[:40])
    ids = causal.tokenizer(words, return_tensors="pt")["input_ids"][:, :256]
    with causal.inference():
        hidden = causal.network.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0]
    return hidden, causal.head.weight.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--text", required=True, type=lambda path: str(Path(path).expanduser()))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    random_states = (torch.randn(256, 576).bfloat16(), (torch.randn(49152, 576) / 12).bfloat16())
    contenders: dict[str, Loss] = {
        "naive, float32 softmax of bfloat16 logits": naive,
        "torchtune 0.6.1": torchtune,
        "Liger 0.8.5": liger,
        "TRL 1.16": trl(256, 32768),
        "acclimate, `logits_dtype: bfloat16`": ours_bfloat16,
        "acclimate": ours,
    }
    assert __doc__ is not None
    print(
        header("Gradient error of the KL near the base, bfloat16", PACKAGES, raced=False)
        + "\n"
        + __doc__.split("\n\n")[2]
        + "\n"
    )
    print("| hidden states | mean KL | " + " | ".join(contenders) + " |\n|---|---" + "|---" * len(contenders) + "|")
    for name, (reference, weight) in {
        "random": random_states,
        "SmolLM2": real(arguments.model, arguments.text),
    }.items():
        for target in TARGETS:
            hidden = at_distance(reference, weight, target)
            exact = gradients(ours, hidden.double(), reference.double(), weight.double())
            cells = []
            for loss in contenders.values():
                found = gradients(loss, hidden, reference, weight)
                errors = [(a - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
                cells.append(" / ".join(f"{100 * float(e):.2g} %" for e in errors))
            kl = mean_kl(hidden, reference, weight)
            print(f"| {name} | {kl:.2g} | " + " | ".join(cells) + " |", flush=True)
    print("\nEach cell: hidden states / weight of the head.")


if __name__ == "__main__":
    main()
