"""Do a row's hidden states depend on the rows beside it? python benchmarks/row_invariance.py MODEL_FOLDER

Prints the largest absolute difference between rows computed in a batch of 4 and the same rows computed in fewer.
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoModelForCausalLM


@torch.no_grad()
def difference(network: AutoModelForCausalLM, length: int) -> float:
    """Over the rows [0], [1, 3] and [0, 1, 2] of a random batch whose positions restart every 100."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, network.config.vocab_size, (4, length), generator=generator)
    positions = (torch.arange(length) % 100).expand(4, length)
    decoder = network.get_decoder()
    whole = decoder(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    found = 0.0
    for rows in ([0], [1, 3], [0, 1, 2]):
        part = decoder(input_ids=ids[rows], position_ids=positions[rows], use_cache=False).last_hidden_state
        found = max(found, (whole[rows] - part).abs().max().item())
    return found


if __name__ == "__main__":
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=dtype).eval()
        print(dtype, {length: difference(model, length) for length in (64, 256, 512)})
