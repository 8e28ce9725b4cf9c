"""Our sft beside TRL's SFTTrainer: the same documents, one a row, in the same order, with the same optimizer.

    python benchmarks/sft_trl.py --model FOLDER --domain FILE > benchmarks/DATE-sft-trl.md    (extra `bench`)

Full tuning in float32, 8 documents a step, AdamW at 1e-4 without decay or warmup, clipping at 1. TRL runs with its
defaults but for gradient checkpointing (on by default; off here) and bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from alternate import header, race, ratios, serve, spread

from acclimate.config.schema import ModelSection
from acclimate.gradient.chain import Chain
from acclimate.gradient.clip import ClipNorm
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_network, load_tokenizer
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from acclimate.training.weights import Weights
from acclimate.types.central import IGNORE, Batch, Callback, Metrics, Route, RoutedTerm

ROWS, LEARNING_RATE = 8, 1e-4


def documents(arguments: argparse.Namespace) -> list[list[int]]:
    """Token ids of the first documents, enough for every round and the warmup."""
    tokenizer = load_tokenizer(ModelSection(path=arguments.model))
    lines = Path(arguments.domain).read_text().splitlines()
    random.Random(0).shuffle(lines)
    texts = [json.loads(line)["text"] for line in lines[: 3 * ROWS * (arguments.rounds + 2)]]
    found = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    return [ids for ids in found if 8 < len(ids) <= 512][: ROWS * (arguments.rounds + 2)]


class Rows:
    """The part of the loader's interface that the loop uses."""

    def __init__(self, ids: list[list[int]], pad: int) -> None:
        self.ids, self.pad, self.step = ids, pad, 0

    def next_step(self) -> list[Batch]:
        rows = self.ids[self.step * ROWS : (self.step + 1) * ROWS]
        self.step += 1
        width = max(map(len, rows)) - 1
        inputs, labels = torch.full((ROWS, width), self.pad), torch.full((ROWS, width), IGNORE)
        positions = torch.zeros(ROWS, width, dtype=torch.int64)
        for b, row in enumerate(rows):
            n = len(row) - 1
            inputs[b, :n], labels[b, :n] = torch.tensor(row[:-1]), torch.tensor(row[1:])
            positions[b] = torch.cat([torch.arange(n), torch.arange(width - n)])
        return [Batch(inputs, labels, positions, positions * 0, positions * 0)]

    def close(self) -> None:
        pass

    def progress(self) -> dict[str, float]:
        return {}


class Last(Callback):
    metrics: Metrics

    def on_step_end(self, state: Any, metrics: Metrics) -> None:
        self.metrics = metrics


def acclimate(arguments: argparse.Namespace) -> None:
    section = ModelSection(path=arguments.model)
    model = CausalModel(load_network(section, torch.float32, torch.device("cpu")), load_tokenizer(section))
    weights, last = Weights(model.trainable()), Last()
    term = RoutedTerm("cross_entropy", CrossEntropy(), ("domain",))
    training = Training(
        model=model,
        objective=Objective([term], [Route("domain", "domain")], {}),
        data=Rows(documents(arguments), model.tokenizer.eos_token_id),  # type: ignore[arg-type]
        weights=weights,
        gradients=Chain([ClipNorm(1.0)], weights.masters),
        optimizer=torch.optim.AdamW(list(weights.masters.values()), lr=LEARNING_RATE, weight_decay=0.0, fused=True),
        learning_rate=lambda step: LEARNING_RATE,
        total_steps=0,
        document_name=str,
        callbacks=[last],
    )

    def step() -> dict[str, Any]:
        training.total_steps += 1
        run_loop(training)
        return {"loss": last.metrics["loss"]}

    serve(step)


def trl(arguments: argparse.Namespace) -> None:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    section = ModelSection(path=arguments.model)
    from transformers import AutoModelForCausalLM

    ids = documents(arguments)
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=ROWS,
        max_steps=len(ids) // ROWS,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        max_length=None,
    )
    network = AutoModelForCausalLM.from_pretrained(section.path, dtype=torch.float32)
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    class Turns(TrainerCallback):  # type: ignore[misc]
        """Takes a step when asked to, and answers as `alternate.serve` does."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            if not sys.stdin.readline():
                os._exit(0)
            self.cpu, self.wall = time.process_time(), time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                found = {"wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
                answer.write(json.dumps(found | {"loss": float(logs["loss"])}) + "\n")

    trainer = SFTTrainer(
        model=network,
        args=config,
        train_dataset=Dataset.from_dict({"input_ids": ids}),
        processing_class=load_tokenizer(section),
        callbacks=[Turns()],
    )
    answer.write("ready\n")
    trainer.train()
    os._exit(0)


def compare(arguments: argparse.Namespace) -> None:
    fixed = ["--model", arguments.model, "--domain", arguments.domain, "--rounds", str(arguments.rounds)]
    names = {name: [name, *fixed] for name in ("trl", "acclimate")}
    samples = race(__file__, names, arguments.rounds, warmup=1)
    tokens = [sum(len(ids) - 1 for ids in documents(arguments)[i * ROWS : (i + 1) * ROWS]) for i in range(99)]
    print(header("sft: acclimate beside TRL's SFTTrainer", ["torch", "transformers", "trl"]))
    assert __doc__ is not None
    print(__doc__.split("\n\n")[2].strip() + f" {arguments.rounds} rounds, 2 threads.\n")
    for name, found in samples.items():
        for i, sample in enumerate(found):
            sample["each"] = 1000 * sample["wall"] / tokens[i + 1]
        print(f"- {name}: {spread(found, 'each')} ms per trained token")
    ratio, between = ratios(samples, "acclimate", "trl", "each")
    print(f"- acclimate / trl, step by step: {ratio:.2f} ({between})\n")
    print("| step | tokens | loss TRL | loss acclimate | difference |\n|---|---|---|---|---|")
    for i, (a, b) in enumerate(zip(samples["trl"], samples["acclimate"], strict=True)):
        print(f"| {i + 2} | {tokens[i + 1]} | {a['loss']:.6f} | {b['loss']:.6f} | {abs(a['loss'] - b['loss']):.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    if sys.argv[1:2] == ["worker"]:
        parser.add_argument("worker")
        parser.add_argument("contender", choices=["trl", "acclimate"])
    for name in ("model", "domain"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    {"trl": trl, "acclimate": acclimate, None: compare}[getattr(arguments, "contender", None)](arguments)


if __name__ == "__main__":
    main()
