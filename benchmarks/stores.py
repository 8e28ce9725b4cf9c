"""What ewc, hlr and dba add to a training step, what recording costs, and how small and how stable stores are.

    python benchmarks/stores.py steps  --model FOLDER --domain FILE --general FILE [--rounds 6] > DATE-...-steps.md
    python benchmarks/stores.py stores --model FOLDER --domain FILE --general FILE > DATE-...-stores.md

`steps`: each method beside sft on the same rows, about 2,048 trained tokens a step, from a store of random values (a
value does not change what a step costs). `recording` is sft with the path integral's recorder in it.
`stores`: bytes of a path integral under LoRA beside a Fisher over all weights; the mean gradient's error by rank; and
the rank correlation of the importance of two halves of general text, by tokens.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from alternate import header, race, ratios, serve, spread
from rich.console import Console

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.build.training import hand_over
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import load_corpora
from acclimate.gradient.chain import Chain
from acclimate.model.identity import model_digest
from acclimate.model.load import load_tokenizer
from acclimate.stores.fisher import Fisher
from acclimate.stores.lowrank import LEFT, RIGHT, Matrices, shortened
from acclimate.stores.mean_gradient import MeanGradient
from acclimate.stores.path_integral import PathIntegral
from acclimate.stores.recorder import Recorder
from acclimate.stores.store import TENSORS, Store, write_store
from acclimate.training.loop import run_loop
from acclimate.training.training import Training
from acclimate.verbs.record import record

TUNINGS: dict[str, dict[str, Any] | None] = {
    "full": None,
    "lora": {"rank": 16, "alpha": 32},
    "lora q,v": {"rank": 16, "alpha": 32, "target_modules": ["q_proj", "v_proj"]},
}
KINDS = {"ewc": "fisher", "hlr": "path-integral", "dba": "mean-gradient"}
BARS = {"ewc": 1.08, "hlr": 1.08, "dba": 1.08, "recording": 1.3}
RANKS = (16, 32, 64, 128)


def settings(arguments: argparse.Namespace, tuning: str, dtype: str, method: Any = "sft", **changes: Any) -> RunConfig:
    source = {"heldout": 8, "max_documents": 4000}
    data: dict[str, Any] = {
        "name": "bench",
        "output_dir": tempfile.mkdtemp(),
        "model": {"path": arguments.model, "dtype": dtype, "device": "cpu"},
        "method": method,
        "sources": {"domain": {"path": arguments.domain} | source, "general": {"path": arguments.general} | source},
        "budget": {"steps": 1000, "batch_tokens": 2048},
        "data": {"sequence_length": 512},
        "training": {"micro_batch_size": 2},
    } | changes
    return parse_config(data | ({"lora": TUNINGS[tuning]} if TUNINGS[tuning] else {}))


def built(config: RunConfig) -> Training:
    job = resolve(config)
    config = job.config
    corpora, model = load_corpora(config, load_tokenizer(config.model)), load_model(config, job.device)
    training, _, _ = build_training(job, compose(config), model, corpora, Console(quiet=True))
    training.callbacks = ()
    return training


def random_store(arguments: argparse.Namespace, tuning: str, kind: str, folder: Path) -> None:
    """A store that fits the run, of random values."""
    job = resolve(settings(arguments, tuning, "float32"))
    config, model = job.config, load_model(job.config, job.device)
    end = {name: p.detach() for name, p in model.trainable().items()}
    names = [f"{name}.weight" for name in model.lora_scaling] or list(end)
    shapes = {n: tuple(_dense(model.network, n).shape) for n in names}
    statistic = {name: torch.rand(shape) for name, shape in shapes.items()}
    if kind == "mean-gradient":
        statistic = {name: tensor.bfloat16() for name, tensor in statistic.items()}
    manifest = {
        "kind": kind,
        "base": {"path": "m", "digest": model_digest(config.model, model.network)},
        "lora": TUNINGS[tuning],
        "lora_scaling": model.lora_scaling,
        "facts": {"norms": dict.fromkeys(names, 1.0)},
    }
    write_store(folder, statistic, end if kind == "path-integral" else {}, shapes, manifest)


def _dense(network: Any, name: str) -> torch.Tensor:
    module = network.get_submodule(name.rpartition(".")[0])
    weight: torch.Tensor = getattr(module, "base_layer", module).weight
    return weight


def contender(arguments: argparse.Namespace) -> Callable[[], dict[str, Any]]:
    name, method = arguments.contender, "sft"
    if name in KINDS:
        store = Path(tempfile.mkdtemp()) / "store"
        random_store(arguments, arguments.tuning, KINDS[name], store)
        method = {"name": name, "store": str(store)}
    training = built(settings(arguments, arguments.tuning, arguments.dtype, method))
    if name == "recording":
        recorder = PathIntegral()
        takes = recorder.plan(training.model).takes or {}
        training.gradients = Chain([recorder, *training.gradients.transforms], training.weights.masters)
        for parameter, taker in takes.items():
            hand_over(training.model.network.get_parameter(parameter), taker)
        training.callbacks = (recorder,)

    def step() -> dict[str, Any]:
        before = training.data.progress()["trained_tokens/domain"]
        training.total_steps = training.step + 1
        run_loop(training)
        return {"tokens": training.data.progress()["trained_tokens/domain"] - before}

    return step


def steps(arguments: argparse.Namespace) -> None:
    print(header("What ewc, hlr and dba add to a step, and what recording adds", ["torch", "transformers", "peft"]))
    print(
        f"SmolLM2-135M-Instruct, about 2,048 trained tokens a step (micro-batches of 2 x 512 packed positions), "
        f"{arguments.rounds} rounds, two processes at a time, {arguments.threads} threads each. CPU seconds a step, "
        "which other work on the machine disturbs less than the clock; LoRA of rank 16.\n\n"
        "| | sft [CPU s] | with it [CPU s] | ratio | range | ratio by the clock | bar |\n|---|---|---|---|---|---|---|"
    )
    for tuning in arguments.tunings:
        for dtype in arguments.dtypes:
            for name in arguments.contenders:
                fixed = ["--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
                fixed += ["--tuning", tuning, "--dtype", dtype]
                both = {each: [each, *fixed] for each in ("sft", name)}
                samples = race(__file__, both, arguments.rounds, arguments.threads)
                for a, b in zip(samples["sft"], samples[name], strict=True):
                    assert a["tokens"] == b["tokens"], "the two did not see the same rows"
                ratio, between = ratios(samples, name, "sft", "cpu")
                own, other = spread(samples["sft"], "cpu"), spread(samples[name], "cpu")
                clock, _ = ratios(samples, name, "sft", "wall")
                cells = (
                    f"{name}, {tuning} {dtype}",
                    own,
                    other,
                    f"**{ratio:.3f}**",
                    between,
                    f"{clock:.2f}",
                    BARS[name],
                )
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


def taken(
    arguments: argparse.Namespace, recorder: Recorder, tuning: str, tokens: int, seed: int = 0, **changes: Any
) -> Store:
    config = settings(arguments, tuning, "float32", seed=seed, optimizer={"learning_rate": 2e-4}, **changes)
    return record(config, recorder, Path(tempfile.mkdtemp()) / "store", tokens)


def stores(arguments: argparse.Namespace) -> None:
    print(header("Stores: bytes, error by rank, stability by tokens", ["torch", "transformers", "peft"], raced=False))
    path = taken(arguments, PathIntegral(), "lora q,v", 4096)
    every = taken(arguments, Fisher(), "full", 2048, budget={"steps": 1, "batch_tokens": 2048})
    sizes = {s.kind: (s.folder / TENSORS).stat().st_size for s in (path, every)}
    part = sizes["path-integral"] / sizes["fisher"]
    print(
        f"hlr's store with LoRA of rank 16 on q and v: {sizes['path-integral'] / 2**20:.1f} MiB, importance and "
        f"adapter in float32. A Fisher over all weights: {sizes['fisher'] / 2**20:.1f} MiB. Part: "
        f"**{100 * part:.1f} %** (bar: 15 %).\n",
        flush=True,
    )
    rank_errors(arguments)
    stability(arguments)


def rank_errors(arguments: argparse.Namespace) -> None:
    store = taken(arguments, MeanGradient(dtype="float32"), "full", arguments.gradient_tokens)
    facts, made = store.facts, store.manifest
    print(
        f"Mean gradient over {made['tokens']:,} tokens of general text in {made['steps']} steps: norm "
        f"{facts['norm']:.4f}, split-half cosine {facts['split_half_cosine']:.3f}; {made['seconds']:.0f} s.\n\n"
        "| rank, bfloat16 | MiB | relative Frobenius error | cosine |\n|---|---|---|---|"
    )
    exact = dict(store.tensors)
    longest = {name: shortened(tensor, max(RANKS), torch.bfloat16) for name, tensor in exact.items()}
    for rank in (*RANKS, None):
        sums, size = torch.zeros(3, dtype=torch.float64), 0
        for name, tensor in exact.items():
            short = {"": tensor.bfloat16()} if rank is None else longest[name]
            if rank is not None and LEFT in short:  # the first triplets of a longer list are the shorter one
                short = {LEFT: short[LEFT][:, :rank], RIGHT: short[RIGHT][:rank]}
            size += sum(t.numel() * t.element_size() for t in short.values())
            other = Matrices({name + suffix: t for suffix, t in short.items()})[name].double().flatten()
            own = tensor.double().flatten()
            sums += torch.stack([own.dot(own), other.dot(other), own.dot(other)])
        own2, other2, both = sums.tolist()
        error, cosine = max(own2 + other2 - 2 * both, 0) ** 0.5 / own2**0.5, both / (own2 * other2) ** 0.5
        print(f"| {rank or 'dense'} | {size / 2**20:.1f} | {error:.4f} | {cosine:.5f} |", flush=True)


def stability(arguments: argparse.Namespace) -> None:
    print(
        "\nSpearman's rank correlation of the importance between two recordings of disjoint halves of the general "
        "text, over all weights of q and v (LoRA of rank 16); for hlr both start from the same adapter.\n\n"
        "| tokens of each half | ewc, true labels | hlr |\n|---|---|---|"
    )
    lines = Path(arguments.general).read_text().splitlines()
    halves = []
    for first in (0, 1):
        half = Path(tempfile.mkdtemp()) / "general.jsonl"
        half.write_text("\n".join(lines[first::2]))
        halves.append(argparse.Namespace(**{**vars(arguments), "general": str(half)}))
    for tokens in arguments.tokens:
        found = []
        for make in (Fisher, PathIntegral):
            pair = [taken(half, make(), "lora q,v", tokens).tensors for half in halves]
            found.append(correlation(*pair))
        print(f"| {tokens:,} | {found[0]:.3f} | {found[1]:.3f} |", flush=True)


def correlation(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    a, b = (torch.cat([tensors[name].flatten() for name in one]) for tensors in (one, other))
    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Places in ascending order; equal values share the mean of theirs (many importances are clamped to 0)."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[inverse]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["steps", "stores", "worker"])
    if sys.argv[1:2] == ["worker"]:
        parser.add_argument("contender", choices=["sft", "recording", *KINDS])
        parser.add_argument("--tuning", default="full")
        parser.add_argument("--dtype", default="float32")
    for name in ("model", "domain", "general"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tunings", nargs="+", default=[*TUNINGS], choices=[*TUNINGS])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--contenders", nargs="+", default=["ewc", "hlr", "dba", "recording"])
    parser.add_argument("--gradient-tokens", type=int, default=32768)
    parser.add_argument("--tokens", nargs="+", type=int, default=[2048, 8192, 32768])
    arguments = parser.parse_args()
    if arguments.what == "worker":
        serve(contender(arguments))
    else:
        {"steps": steps, "stores": stores}[arguments.what](arguments)


if __name__ == "__main__":
    main()
