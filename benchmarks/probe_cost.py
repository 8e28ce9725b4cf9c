"""What watching a forgetting budget adds to a step: the same run with the probe at `eval_steps: auto` and without it.

    python benchmarks/probe_cost.py --model FOLDER --domain FILE --general FILE [--rounds 6] > benchmarks/DATE-probe.md

A call of either contender is the same `--steps` optimizer steps of mol on the same rows; the one with the probe also
checks its panel after the last of them, with what steers. At `auto` a run of `--total` steps is checked every so many,
which is as a rule more than `--steps`, so what the check adds is spread over these.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alternate import header, middle, race, ratios, serve, spread
from rich.console import Console

from acclimate.build import build_training, checks_of, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import parse_config
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.training.loop import run_loop


def training(arguments: argparse.Namespace) -> tuple[Any, int, float]:
    """With what checks it at `auto`: how often that is, and what part of the forwards the plan says it is."""
    source = {"share": 0.5, "heldout": 96, "max_documents": 2000}
    data = {
        "name": "bench",
        "output_dir": tempfile.mkdtemp(),
        "model": {"path": arguments.model, "dtype": arguments.dtype, "device": "cpu"},
        "method": "mol",
        "sources": {"domain": {"path": arguments.domain} | source, "general": {"path": arguments.general} | source},
        "budget": {"steps": arguments.total, "batch_tokens": arguments.tokens // 2},
        "data": {"sequence_length": 512},
        "retain": {"kl": 0.05},
        "evaluation": {"validation_documents": arguments.documents},
        "training": {"micro_batch_size": 2, "eval_steps": "auto"},
    }
    if arguments.tuning == "lora":
        data["lora"] = {"rank": 16, "alpha": 32}
    job = resolve(parse_config(data))
    config = job.config
    corpora, model = load_corpora(config, load_tokenizer(config.model)), load_model(config, job.device)
    built, _, mixture = build_training(job, compose(config), model, corpora, Console(quiet=True))
    checks = checks_of(config, corpora, mixture)
    assert checks is not None
    built.callbacks = ()
    return built, checks.every, checks.part


def steps(arguments: argparse.Namespace, probed: bool) -> Callable[[], dict[str, Any]]:
    built, every, part = training(arguments)
    probe, built.probe = built.probe, None

    def some() -> dict[str, Any]:
        built.total_steps = built.step + arguments.steps - 1
        if arguments.steps > 1:
            run_loop(built)
        built.total_steps += 1
        built.probe = probe if probed else None  # which measures after the last step
        run_loop(built)
        built.probe = None
        return {"every": every, "part": part}

    return some


def compare(arguments: argparse.Namespace) -> None:
    print(header("What the probe adds to a step", ["torch", "transformers", "peft"]))
    print(
        f"{Path(arguments.model).name}, mol, {arguments.tokens} trained tokens a step, {arguments.total} steps in all, "
        f"{arguments.documents} validation documents of each of two sources; {arguments.steps} steps a call, "
        f"{arguments.rounds} rounds, {arguments.threads} threads. Bar: 3 %.\n"
    )
    print(
        "| | a step, s | with a check, s a call | a check, steps | every | of the work, by the plan | "
        "**of the step time** |\n|---|---|---|---|---|---|---|"
    )
    for tuning in arguments.tunings:
        for dtype in arguments.dtypes:
            fixed = ["--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
            fixed += ["--tokens", str(arguments.tokens), "--steps", str(arguments.steps)]
            fixed += ["--total", str(arguments.total), "--documents", str(arguments.documents)]
            fixed += ["--tuning", tuning, "--dtype", dtype]
            found = race(
                __file__, {name: [name, *fixed] for name in ("without", "with")}, arguments.rounds, arguments.threads
            )
            for sample in found["without"]:
                sample["step"] = sample["wall"] / arguments.steps
            ratio, _ = ratios(found, "with", "without")
            check, every = (ratio - 1) * arguments.steps, found["with"][0]["every"]
            print(
                f"| {tuning} {dtype} | {spread(found['without'], 'step')} | {middle(found['with'], 'wall'):.2f} | "
                f"{check:.2f} | {every:.0f} | {found['with'][0]['part']:.1%} | **{check / every:.1%}** |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    worker = sys.argv[1:2] == ["worker"]
    if worker:
        parser.add_argument("worker")
        parser.add_argument("contender", choices=["with", "without"])
        parser.add_argument("--tuning", default="full")
        parser.add_argument("--dtype", default="float32")
    for name in ("model", "domain", "general"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: str(Path(path).expanduser()))
    for name, default in (("tokens", 2048), ("steps", 4), ("total", 1500), ("documents", 32), ("rounds", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tunings", nargs="+", default=["full", "lora"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    if worker:
        serve(steps(arguments, arguments.contender == "with"))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
