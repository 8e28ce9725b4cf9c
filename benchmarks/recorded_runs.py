"""Ten small runs, each resumed from its middle, and whether another version of the code makes them again bit for bit.

    python -m benchmarks.recorded_runs record FOLDER      # inputs, stores and ten runs of this version
    python -m benchmarks.recorded_runs check FOLDER       # the ten again by this version; says what differs
    python -m benchmarks.recorded_runs time FOLDER --against SRC    # step time beside the version whose src/ is SRC

Everything goes through ``python -m acclimate``, so versions of any inner shape can be held against each other. Compared
are the weights (digests), every score of every held-out document, the rows of summary.json and of metrics.jsonl but for
times. What a later version adds, a key or a row, is no difference; what it changes or leaves out is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import yaml

LORA = {"rank": 4}
STORES = {"fisher": "fisher", "path_integral": "path-integral", "mean_gradient": "mean-gradient"}
TIMES = ("tokens_per_second", "seconds")


def runs(inputs: Path) -> dict[str, dict[str, Any]]:
    """Name -> what differs from :func:`settings`."""
    store = {name: str(inputs / "stores" / name) for name in STORES}
    choice = {"evaluation": {"validation_documents": 2, "generations": 2, "max_new_tokens": 4}}
    return {
        "mol": {},
        "sft-lora": {"method": "sft", "lora": LORA | {"dropout": 0.1}},
        "mol-js-lora": {"method": {"name": "mol", "direction": "js"}, "lora": LORA},
        "mol-l2-sequence": {
            "method": ["mol", {"name": "l2", "weight": 0.1}],
            "objective": {"normalise": "all", "average": "sequence"},
        },
        "dae": {"method": {"name": "dae", "expert": str(inputs / "expert")}},
        "ewc": {"method": {"name": "ewc", "store": store["fisher"]}},
        "hlr": {"method": {"name": "hlr", "store": store["path_integral"]}},
        "dba": {"method": {"name": "dba", "store": store["mean_gradient"]}},
        "wise-best": {
            "method": {"name": "wise", "alpha": [0.25, 0.5, 1.0]},
            "training": {"micro_batch_size": 2, "save_steps": 2, "eval_steps": 2, "final": "best"},
        }
        | choice,
        "stm-talr-bf16": {
            "method": [{"name": "stm", "percentile": 80.0}, "talr"],
            "model": {"path": str(inputs / "model"), "dtype": "bfloat16", "device": "cpu"},
        },
    }


def settings(inputs: Path, output: Path, name: str) -> dict[str, Any]:
    corpora = inputs / "corpora"
    return {
        "name": name,
        "output_dir": str(output),
        "model": {"path": str(inputs / "model"), "dtype": "float32", "device": "cpu"},
        "method": "mol",
        "sources": {
            "domain": {"path": str(corpora / "domain.jsonl"), "share": 0.5, "heldout": 6},
            "general": {"path": str(corpora / "general.jsonl"), "share": 0.25, "heldout": 6},
            "chat": {"path": str(corpora / "chat.jsonl"), "share": 0.25, "heldout": 6, "route": "general"},
        },
        "budget": {"steps": 6, "batch_tokens": 128},
        "optimizer": {"learning_rate": 3e-3},
        "data": {"sequence_length": 96, "cache_dir": str(output / "cache")},
        "training": {"micro_batch_size": 2, "save_steps": 2},
        "evaluation": {"generations": 2, "max_new_tokens": 4},
    } | runs(inputs).get(name, {})


def acclimate(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "acclimate", *map(str, arguments)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def written(folder: Path, inputs: Path, output: Path, name: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings(inputs, output, name)))
    return path


def make_inputs(folder: Path) -> None:
    """A pico model, an expert, corpora, and the stores that three of the methods want."""
    from tests.fixtures.pico import save_pico
    from tests.fixtures.runs import write_corpora

    save_pico(folder / "model")
    save_pico(folder / "expert", seed=1)
    write_corpora(folder / "corpora")
    (folder / "stores").mkdir()
    path = written(folder, folder, folder / "work", "plain")
    for name, kind in STORES.items():
        acclimate("stats", kind, path, "--output", folder / "stores" / name, "--tokens", "600")


def made(inputs: Path, output: Path, name: str) -> dict[str, Any]:
    """One run, and what it wrote after it lost its last third and was resumed."""
    output.mkdir(parents=True, exist_ok=True)
    path = written(output, inputs, output, name)
    acclimate("train", path)
    run = output / name
    whole = weights(run)
    shutil.rmtree(run / "model")
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    acclimate("train", path, "--resume")
    if weights(run) != whole:
        raise SystemExit(f"{name}: resumed weights are not those of the whole run")
    return result(run)


def weights(run: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (run / "model").glob("*.safetensors")}


def result(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text())
    return {
        "weights": weights(run),
        "scores": {path.stem: lines(path) for path in sorted((run / "eval").glob("*.jsonl"))},
        "summary": summary if isinstance(summary, list) else summary["records"],
        "metrics": [
            {key: value for key, value in row.items() if not key.endswith(TIMES)}
            for row in lines(run / "metrics.jsonl")
        ],
    }


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in found if "version" not in row]


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What of ``before`` is not so any more; keys and rows that are new do not count."""
    if isinstance(before, dict) and isinstance(now, dict):
        gone = [f"{where}/{key} is gone" for key in before if key not in now]
        return gone + [d for key in before if key in now for d in differences(before[key], now[key], f"{where}/{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) <= len(now):
        return [
            d for at, (a, b) in enumerate(zip(before, now, strict=False)) for d in differences(a, b, f"{where}/{at}")
        ]
    return [] if before == now else [f"{where}: {before!r} before, {now!r} now"]


def rate(inputs: Path, output: Path, source: Path) -> float:
    """Median trained tokens per second of 300 steps of mol, by the version whose src/ is ``source``."""
    shutil.rmtree(output / "timed", ignore_errors=True)
    plain = settings(inputs, output, "timed") | {"budget": {"steps": 300, "batch_tokens": 128}, "training": {}}
    path = output / "timed.yaml"
    path.write_text(yaml.safe_dump(plain))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "acclimate", "train", str(path)]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return median(row["tokens_per_second"] for row in lines(output / "timed" / "metrics.jsonl")[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["record", "check", "time"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--against", type=Path, help="src/ of the other version")
    parser.add_argument("--rounds", type=int, default=6)
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    inputs, recorded = folder / "inputs", folder / "recorded"
    if chosen.action == "record":
        inputs.mkdir(parents=True)
        make_inputs(inputs)
        recorded.mkdir()
        for name in runs(inputs):
            (recorded / f"{name}.json").write_text(json.dumps(made(inputs, folder / "runs", name)))
            print(f"{name}: recorded", flush=True)
        return
    if chosen.action == "time":
        output = folder / "timed"
        output.mkdir(exist_ok=True)
        ours = Path(__file__).resolve().parents[1] / "src"
        ratios = []
        for turn in range(chosen.rounds):
            order = (ours, chosen.against.resolve())[:: 1 if turn % 2 else -1]
            found = {source: rate(inputs, output, source) for source in order}
            ratios.append(found[chosen.against.resolve()] / found[ours])
        print(f"step time, this version over the other: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
        return
    again = folder / "again"
    shutil.rmtree(again, ignore_errors=True)
    bad = 0
    for name in chosen.only or runs(inputs):
        found = differences(json.loads((recorded / f"{name}.json").read_text()), made(inputs, again, name))
        bad += bool(found)
        print(f"{name}: {'the same to the last bit' if not found else '; '.join(found[:5])}", flush=True)
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
