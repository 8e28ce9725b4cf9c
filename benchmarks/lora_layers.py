"""LoRA layers of three products beside PEFT's own: one layer, and a whole step of mol.

python benchmarks/lora_layers.py --model FOLDER --domain FILE --general FILE [--rounds 6] > DATE-lora-layers.md
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import torch
from alternate import header, middle, race, ratios, serve, spread
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from step import one_step, training
from torch import nn

from acclimate.kernels.lora_linear import FusedLinear, fuse

SHAPES = ((576, 576), (576, 1536), (1536, 576))
TOKENS, RANK = 1024, 16


def as_pefts(network: nn.Module) -> None:
    for module in network.modules():
        if type(module) is FusedLinear:
            module.__class__ = Linear


def layer(inputs: int, outputs: int, dtype: torch.dtype) -> dict[str, float]:
    """Median CPU milliseconds of forward and backward of each."""
    network = nn.Sequential(nn.Linear(inputs, outputs, bias=False)).to(dtype)
    inject_adapter_in_model(LoraConfig(r=RANK, target_modules=["0"]), network)
    network.to(dtype)
    nn.init.normal_(network[0].lora_B["default"].weight, std=0.05)
    x = torch.randn(2, TOKENS // 2, inputs, dtype=dtype, requires_grad=True)
    grad = torch.randn(2, TOKENS // 2, outputs, dtype=dtype)
    spent: dict[str, list[float]] = {"peft": [], "ours": []}
    for _ in range(12):
        for name, change in (("peft", as_pefts), ("ours", fuse)):
            change(network)
            begun = time.process_time()
            network(x).backward(grad)
            spent[name].append(1000 * (time.process_time() - begun))
            network.zero_grad()
            x.grad = None
    return {name: median(times[2:]) for name, times in spent.items()}


def compare(arguments: argparse.Namespace) -> None:
    print(header("LoRA layers of three products, beside PEFT's", ["torch", "transformers", "peft"]))
    print(
        f"One layer, rank {RANK}, {TOKENS} tokens, forward and backward, median CPU milliseconds of all threads.\n\n"
        "| | PEFT's | ours | ours / PEFT's |\n|---|---|---|---|"
    )
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            found = layer(*shape, dtype)
            name = f"{shape[0]} x {shape[1]}, {str(dtype).removeprefix('torch.')}"
            part = found["ours"] / found["peft"]
            print(f"| {name} | {found['peft']:.1f} | {found['ours']:.1f} | **{part:.2f}** |", flush=True)
    print(
        f"\nA step of mol on SmolLM2-135M-Instruct, LoRA of rank 16 on all linear layers, {arguments.tokens} trained "
        f"tokens, {arguments.rounds} rounds.\n\n"
        "| | PEFT's ms/token | ours ms/token | ours / PEFT's | range | peak RSS PEFT's | ours |\n"
        "|---|---|---|---|---|---|---|"
    )
    for dtype_name in arguments.dtypes:
        fixed = ["--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
        fixed += ["--tokens", str(arguments.tokens), "--dtype", dtype_name]
        samples = race(__file__, {name: [name, *fixed] for name in ("peft", "ours")}, arguments.rounds, warmup=2)
        for a, b in zip(samples["peft"], samples["ours"], strict=True):
            assert a["tokens"] == b["tokens"], "the two did not see the same rows"
        for sample in [s for found in samples.values() for s in found]:
            sample["each"] = 1000 * sample["wall"] / sample["tokens"]
        ratio, between = ratios(samples, "ours", "peft", "each")
        cells = [spread(samples[name], "each") for name in ("peft", "ours")] + [f"**{ratio:.2f}**", between]
        cells += [f"{middle(samples[name], 'peak'):.0f} MiB" for name in ("peft", "ours")]
        print(f"| {dtype_name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    worker = sys.argv[1:2] == ["worker"]
    if worker:
        parser.add_argument("worker")
        parser.add_argument("contender", choices=["peft", "ours"])
        parser.add_argument("--dtype", default="float32")
    for name in ("model", "domain", "general"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    if not worker:
        compare(arguments)
        return
    arguments.tuning = "lora"
    built = training(arguments, "mol")
    if arguments.contender == "peft":
        as_pefts(built.model.network)
    serve(one_step(built))


if __name__ == "__main__":
    main()
