"""Memory of a streamed and of a prepared source while they are read, and how long a training step waits for its rows.

    python benchmarks/streaming.py --model FOLDER --words FILE.jsonl [--gigabytes 3] > benchmarks/DATE-streaming.md

Writes a corpus of documents of 0.2 to 4 KB, made of sentences of FILE in random order, to a temporary folder. Every
measurement is a process of its own; its peak is that of the whole process, torch and the tokenizer included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from alternate import header

from acclimate.config.load import RunConfig, parse_config

MB = 10**6


def write_corpus(words: Path, target: Path, size: int) -> int:
    """Documents of sentences drawn at random, each with a number of its own; returns how many."""
    sentences = [s for line in words.open() for s in json.loads(line)["text"].split(". ")]
    draw, written, documents = np.random.default_rng(0), 0, 0
    with target.open("w") as file:
        while written < size:
            for count in np.exp(draw.normal(2.0, 0.8, 1000)).astype(int) + 1:
                first = int(draw.integers(len(sentences) - count))
                text = f"{documents}: " + ". ".join(sentences[first : first + count])
                written += file.write(json.dumps({"text": text}) + "\n")
                documents += 1
    return documents


def write_rows(words: Path, target: Path, rows: int) -> None:
    """Short rows, 5 to 25 words each."""
    found = [word for line in words.open() for word in json.loads(line)["text"].split()]
    draw = np.random.default_rng(0)
    with target.open("w") as file:
        for number, count in enumerate(draw.integers(5, 25, rows).tolist()):
            first = int(draw.integers(len(found) - count))
            file.write(json.dumps({"text": " ".join([*found[first : first + count], str(number)])}) + "\n")


def config(model: str, path: str, streaming: bool, cache: str) -> RunConfig:
    return parse_config(
        {
            "output_dir": cache,
            "model": {"path": model, "device": "cpu", "dtype": "float32"},
            "method": "sft",
            "sources": {"domain": {"path": path, "streaming": streaming, "heldout": 200}},
            "budget": {"steps": 10**6, "batch_tokens": 16_384},
            "data": {"sequence_length": 512, "cache_dir": cache},
        }
    )


def stream(model: str, path: str, megabytes: str) -> dict[str, Any]:
    """Reads, tokenises, packs and hands out steps until so many MB of text are trained on."""
    from acclimate.build import build_loader, build_objective, mix
    from acclimate.build.plan import compose
    from acclimate.data.corpus import load_corpora
    from acclimate.data.deal.prefetch import Prefetch
    from acclimate.model.load import load_tokenizer

    settings = config(model, path, True, tempfile.mkdtemp())
    corpora = load_corpora(settings, load_tokenizer(settings.model))
    objective = build_objective(settings, compose(settings).terms, corpora)
    loader = build_loader(settings, corpora, objective, mix(settings, corpora, objective), 0)
    data, tokens, peaks = Prefetch(loader), 0, []
    sample = corpora.sources["domain"].train
    per_token = float(sample.token_bytes.sum()) / sample.tokens
    while tokens * per_token < int(megabytes) * MB:
        tokens += sum(int((batch.labels >= 0).sum()) for batch in data.next_step())
        peaks.append((tokens * per_token / MB, peak()))
    data.close()
    quarter = next(value for at, value in peaks if at >= peaks[-1][0] / 4)
    return {"tokens": tokens, "after a quarter": quarter}


def skip(model: str, path: str, megabytes: str) -> dict[str, Any]:
    """Reads every record to the end of the file, as a resumed stream does up to its place."""
    import transformers  # noqa: F401

    from acclimate.data.read.documents import Reader

    source = config(model, path, True, tempfile.mkdtemp()).sources["domain"]
    return {"documents": sum(1 for _ in Reader("domain", source).read())}


def prepare(model: str, path: str, megabytes: str) -> dict[str, Any]:
    """First and second load of a prepared source, and the loader on it."""
    from acclimate.build import build_loader, build_objective, mix
    from acclimate.build.plan import compose
    from acclimate.data.corpus import load_corpora
    from acclimate.model.load import load_tokenizer

    settings = config(model, path, False, tempfile.mkdtemp())
    tokenizer = load_tokenizer(settings.model)
    load_corpora(settings, tokenizer)
    first, started = peak(), time.perf_counter()
    corpora = load_corpora(settings, tokenizer)
    hit, started = time.perf_counter() - started, time.perf_counter()
    objective = build_objective(settings, compose(settings).terms, corpora)
    build_loader(settings, corpora, objective, mix(settings, corpora, objective), 0)
    train = corpora.sources["domain"].train
    return {"tokens": train.tokens, "first": first, "hit": hit, "loader": time.perf_counter() - started}


def nothing(model: str, path: str, megabytes: str) -> dict[str, Any]:
    """What every one of these processes holds before its work."""
    from acclimate.model.load import load_tokenizer

    load_tokenizer(config(model, path, True, tempfile.mkdtemp()).model)
    return {}


def peak() -> float:
    """MiB of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


WORK: dict[str, Callable[[str, str, str], dict[str, Any]]] = {
    "stream": stream, "skip": skip, "prepare": prepare, "nothing": nothing,
}  # fmt: skip


def measured(work: str, model: str, path: Path, megabytes: int = 0) -> dict[str, Any]:
    command = [sys.executable, __file__, "worker", work, model, str(path), str(megabytes)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | {"HF_HUB_OFFLINE": "1"}).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def waits(model: str, path: Path, folder: Path, steps: int) -> dict[str, float]:
    """A real run on the stream, from its own metrics.jsonl."""
    data = config(model, str(path), True, str(folder)).model_dump(mode="json")
    data |= {"name": "run", "budget": {"steps": steps, "batch_tokens": 512}, "output_dir": str(folder)}
    data["data"]["sequence_length"] = 256
    data["evaluation"]["documents"] = 4
    (folder / "run.yaml").write_text(json.dumps(data))
    command = [sys.executable, "-m", "acclimate", "train", str(folder / "run.yaml")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    later = [line["data_seconds"] for line in lines[1:]]
    seconds = [512 / line["tokens_per_second"] for line in lines[1:]]
    return {"first": lines[0]["data_seconds"], "median": median(later), "sum": sum(later), "steps": sum(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=lambda path: str(Path(path).expanduser()))
    parser.add_argument("--words", required=True, type=lambda path: Path(path).expanduser())
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--streamed", type=int, default=300, help="MB of text to tokenise and pack")
    parser.add_argument("--prepared", type=int, nargs="*", default=[25, 50, 100, 200], help="MB")
    parser.add_argument("--rows", type=int, default=0, help="short rows to prepare and to map again")
    parser.add_argument("--train", help="folder of a model to train for --steps steps on the stream")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    print(header("Streamed and prepared sources: memory and waiting", ("torch", "transformers", "numpy"), raced=False))
    print("Peak RSS of the whole process in MiB. Other work ran on the machine: seconds are no measure here.\n")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        corpus = Path(name) / "corpus.jsonl"
        documents = write_corpus(arguments.words, corpus, int(arguments.gigabytes * 1000 * MB))
        print("| work | of | peak RSS |\n|---|---|---|", flush=True)
        print(f"| imports and tokenizer | – | {measured('nothing', arguments.model, corpus)['peak']:.0f} |", flush=True)
        found = measured("stream", arguments.model, corpus, arguments.streamed)
        print(
            f"| streamed: read, tokenised, packed, {found['tokens']:,} tokens | the first {arguments.streamed} MB of "
            f"{corpus.stat().st_size / 1e9:.1f} GB | **{found['peak']:.0f}** (after a quarter: "
            f"{found['after a quarter']:.0f}) |", flush=True,
        )  # fmt: skip
        found = measured("skip", arguments.model, corpus)
        assert found["documents"] == documents
        print(f"| read to the end, {documents:,} documents | all | {found['peak']:.0f} |", flush=True)
        if arguments.train:
            wait = waits(arguments.train, corpus, Path(name), arguments.steps)
        for size in arguments.prepared:
            write_corpus(arguments.words, corpus, size * MB)
            found = measured("prepare", arguments.model, corpus)
            print(
                f"| prepared: indexed, tokenised, overlap counted, {found['tokens']:,} tokens | {size} MB | "
                f"{found['first']:.0f} |", flush=True,
            )  # fmt: skip
        if arguments.rows:
            write_rows(arguments.words, corpus, arguments.rows)
            found = measured("prepare", arguments.model, corpus)
            print(f"| prepared: {found['tokens']:,} tokens | {arguments.rows:,} short rows | {found['first']:.0f} |")
    if arguments.rows:
        print(
            f"\nThe {arguments.rows:,} rows again, from the cache: `load_corpora` {found['hit']:.2f} s, building the "
            f"loader {found['loader']:.2f} s."
        )
    if arguments.train:
        print(
            f"\nTraining `{Path(arguments.train).name}` on the stream, {arguments.steps} steps of 512 tokens: the "
            f"first step waited {wait['first']:.2f} s for its rows (the first window is tokenised); each later one "
            f"{1000 * wait['median']:.2f} ms (median), in all {wait['sum']:.2f} s of {wait['steps']:.1f} s of steps."
        )


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        result = WORK[sys.argv[2]](*sys.argv[3:])
        print(json.dumps(result | {"peak": peak()}))
    else:
        main()
