"""What talr's first pass costs: a step with `tau: median` beside one with a fixed tau, and beside sft.

    python benchmarks/first_pass.py --model FOLDER --domain FILE [--rounds 6] [--tuning full] > DATE-first-pass.md

One step holds about 512 trained tokens of domain text, in rows of 256. CPU seconds of one thread: machines are shared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from alternate import header, race, ratios, serve, spread
from rich.console import Console

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.training.loop import run_loop

METHODS: dict[str, Any] = {"sft": "sft", "fixed": {"name": "talr", "tau": 1.0}, "median": "talr"}


def one_step(arguments: argparse.Namespace) -> Callable[[], None]:
    data = {
        "name": "bench",
        "output_dir": tempfile.mkdtemp(),
        "model": {"path": arguments.model, "dtype": "bfloat16", "device": "cpu"},
        "method": METHODS[arguments.method],
        "sources": {"domain": {"path": arguments.domain, "heldout": 8, "max_documents": 2000}},
        "budget": {"steps": 1000, "batch_tokens": 512},
        "data": {"sequence_length": 256},
        "training": {"micro_batch_size": 2},
    }
    if arguments.tuning == "lora":
        data["lora"] = {"rank": 16, "alpha": 32}
    job = resolve(parse_config(data))
    config = job.config
    corpora, model = load_corpora(config, load_tokenizer(config.model)), load_model(config, job.device)
    built, _, _ = build_training(job, compose(config), model, corpora, Console(quiet=True))
    built.callbacks = ()

    def step() -> None:
        built.total_steps = built.step + 1
        run_loop(built)

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="?")
    parser.add_argument("--model", required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--tuning", choices=("full", "lora"))
    arguments = parser.parse_args()
    if arguments.role == "worker":
        serve(one_step(arguments))  # type: ignore[arg-type]
        return
    print(header("talr's first pass", ("torch", "transformers", "peft")))
    print("| tuning | sft CPU s/step | fixed / sft | range | median / fixed | range |\n|---|---|---|---|---|---|")
    common = ["--model", arguments.model, "--domain", arguments.domain]
    for tuning in (arguments.tuning,) if arguments.tuning else ("lora", "full"):
        contenders = {name: [*common, "--tuning", tuning, "--method", name] for name in METHODS}
        samples = race(sys.argv[0], contenders, arguments.rounds, threads=1)
        weighed, first_pass = (ratios(samples, *pair, "cpu") for pair in (("fixed", "sft"), ("median", "fixed")))
        cells = (f"{weighed[0]:.2f} | {weighed[1]}", f"{first_pass[0]:.2f} | {first_pass[1]}")
        print(f"| {tuning} | {spread(samples['sft'], 'cpu')} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
