"""What the anchor adds to a training step: mol beside replay on the same rows, and both beside their matrix products.

    python benchmarks/step.py --model FOLDER --domain FILE --general FILE [--rounds 6] > benchmarks/DATE-step.md

One step holds about 2,048 trained tokens, half of them domain. The contender `products` records every matrix product
of one mol step (shapes, strides, dtypes, precision) and then does nothing but those products.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from alternate import header, middle, race, ratios, serve, spread
from rich.console import Console
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.training.loop import run_loop
from acclimate.training.training import Training

aten = torch.ops.aten
LINEAR = {aten.mm.default, aten.mm.out, aten.addmm.default, aten.addmm_.default, aten.addmm.out, aten.bmm.default}
ATTENTION = {  # flash attention's products of size [L, L, d]
    aten._scaled_dot_product_flash_attention_for_cpu.default: 2,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: 5,
}


def training(arguments: argparse.Namespace, method: str) -> Training:
    source = {"share": 0.5, "heldout": 8, "max_documents": 2000}
    data = {
        "name": "bench",
        "output_dir": tempfile.mkdtemp(),
        "model": {"path": arguments.model, "dtype": arguments.dtype, "device": "cpu"},
        "method": method,
        "sources": {"domain": {"path": arguments.domain} | source, "general": {"path": arguments.general} | source},
        "budget": {"steps": 1000, "batch_tokens": arguments.tokens // 2},
        "data": {"sequence_length": 512},
        "training": {"micro_batch_size": 2},
    }
    if arguments.tuning == "lora":
        data["lora"] = {"rank": 16, "alpha": 32}
    job = resolve(parse_config(data))
    config = job.config
    corpora, model = load_corpora(config, load_tokenizer(config.model)), load_model(config, job.device)
    built, _, _ = build_training(job, compose(config), model, corpora, Console(quiet=True))
    built.callbacks = ()
    return built


def trained(built: Training) -> float:
    return sum(value for name, value in built.data.progress().items() if name.startswith("trained_tokens/"))


def one_step(built: Training) -> Callable[[], dict[str, Any]]:
    def step() -> dict[str, Any]:
        before = trained(built)
        built.total_steps = built.step + 1
        run_loop(built)
        return {"tokens": trained(built) - before}

    return step


class Recorder(TorchDispatchMode):
    """Notes every matrix product that runs under it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear: list[tuple[Any, list[Any], str]] = []
        self.attention: list[tuple[tuple[int, ...], torch.dtype, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in LINEAR:
            out = [kwargs["out"]] if "out" in kwargs else []
            specs = [(tuple(a.shape), a.stride(), a.dtype) for a in [*args, *out] if isinstance(a, Tensor)]
            self.linear.append((func, specs, torch.backends.mkldnn.matmul.fp32_precision))
        if func in ATTENTION:
            query = args[1] if "backward" in str(func) else args[0]
            self.attention.append((tuple(query.shape), query.dtype, ATTENTION[func]))
        return func(*args, **kwargs)


def products(built: Training) -> Callable[[], dict[str, Any]]:
    step = one_step(built)
    step()
    with Recorder() as recorder:
        tokens = step()["tokens"]
    tensors: dict[Any, Tensor] = {}

    def tensor(spec: Any, role: int) -> Tensor:
        shape, stride, dtype = spec
        if (spec, role) not in tensors:
            size = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
            tensors[spec, role] = torch.randn(size).to(dtype).as_strided(shape, stride)
        return tensors[spec, role]

    calls = []
    for func, specs, precision in recorder.linear:
        operands = [tensor(spec, role) for role, spec in enumerate(specs)]
        if func in (aten.mm.out, aten.addmm.out):
            calls.append((func, operands[:-1], {"out": operands[-1]}, precision))
        else:
            calls.append((func, operands, {}, precision))
    squares = []
    for shape, dtype, count in recorder.attention:
        n, length, size = shape[0] * shape[1], shape[2], shape[3]
        long = tensor(((n, length, length), (length**2, length, 1), dtype), 0)
        thin = tensor(((n, length, size), (length * size, size, 1), dtype), 1)
        squares += [(long, thin, count)]
    setting = torch.backends.mkldnn.matmul

    def work() -> dict[str, Any]:
        begun = time.perf_counter()
        for func, operands, keywords, precision in calls:
            setting.fp32_precision = precision
            func(*operands, **keywords)
        setting.fp32_precision = "none"
        linear = time.perf_counter() - begun
        for long, thin, count in squares:
            for _ in range(count):
                torch.bmm(long, thin)
        return {"tokens": tokens, "linear": linear}

    return work


def compare(arguments: argparse.Namespace) -> None:
    print(
        header(
            "A training step: the anchor's cost, and what is not a matrix product", ["torch", "transformers", "peft"]
        )
    )
    print(
        f"{Path(arguments.model).name}, {arguments.tokens} trained tokens a step (two micro-batches of 2 x 512 packed "
        f"positions), {arguments.rounds} rounds, 2 threads, logits in float32. `products`: every matrix product of a "
        "mol step, alone; of attention, the full squares. The floor of mol / replay is 3.5F / 3F = 1.17 under full "
        "tuning and 2.5F / 2F = 1.25 with LoRA.\n"
    )
    print(
        "| | replay ms/token | mol ms/token | mol / replay | range | products / mol | linear products alone / mol | "
        "peak RSS replay | mol |\n|---|---|---|---|---|---|---|---|---|"
    )
    for tuning in arguments.tunings:
        for dtype in arguments.dtypes:
            fixed = ["--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
            fixed += ["--tokens", str(arguments.tokens), "--tuning", tuning, "--dtype", dtype]
            names = {name: [name, *fixed] for name in ("replay", "mol", "products")}
            samples = race(__file__, names, arguments.rounds, warmup=2)
            for a, b in zip(samples["replay"], samples["mol"], strict=True):
                assert a["tokens"] == b["tokens"], "the two did not see the same rows"
            for sample in [s for found in samples.values() for s in found]:
                sample["each"] = 1000 * sample["wall"] / sample["tokens"]
                sample["linear_each"] = 1000 * sample.get("linear", 0.0) / sample["tokens"]
            ratio, between = ratios(samples, "mol", "replay", "each")
            rate = middle(samples["products"], "each") / middle(samples["mol"], "each")
            linear = middle(samples["products"], "linear_each") / middle(samples["mol"], "each")
            peaks = {name: max(s["peak"] for s in samples[name]) for name in ("replay", "mol")}
            print(
                f"| {tuning} {dtype} | {spread(samples['replay'], 'each')} | {spread(samples['mol'], 'each')} | "
                f"**{ratio:.2f}** | {between} | {100 * rate:.0f} % | {100 * linear:.0f} % | "
                f"{peaks['replay']:.0f} MiB | {peaks['mol']:.0f} MiB |",
                flush=True,
            )


def fixed_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("model", "domain", "general"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--tokens", type=int, default=2048)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    worker = sys.argv[1:2] == ["worker"]
    if worker:
        parser.add_argument("worker")
        parser.add_argument("contender", choices=["mol", "replay", "sft", "products"])
        parser.add_argument("--tuning", default="full")
        parser.add_argument("--dtype", default="float32")
    fixed_arguments(parser)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tunings", nargs="+", default=["full", "lora"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    if not worker:
        compare(arguments)
    elif arguments.contender == "products":
        serve(products(training(arguments, "mol")))
    else:
        serve(one_step(training(arguments, arguments.contender)))


if __name__ == "__main__":
    main()
