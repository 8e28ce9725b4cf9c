"""Which model families of the installed transformers acclimate trains: docs/reference/families.md, made by one command.

    python -m benchmarks.families run [FOLDER] [--only llama gemma3 ...] [--retry failed] [--workers 2]
    python -m benchmarks.families table [FOLDER]   # of what was run: benchmarks/DATE-families.jsonl, families.md

Of every decoder and multimodal family a random checkpoint of two to four layers is built, tuned in full and with LoRA
for three steps, stopped and resumed, exported, and loaded again by plain transformers and PEFT. ``FOLDER/rows.jsonl``
gets a line a family and mode at once, so that a sweep that was stopped goes on where it was. Every family has a process
and a limit of time of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.tiny.bars import shortfalls
from benchmarks.tiny.page import page
from benchmarks.tiny.rows import Row, newest, read_rows, write_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "families.md"


def kept() -> Path:
    """The committed results: the last dated file."""
    return max((ROOT / "benchmarks").glob("*-families.jsonl"))


def family(name: str, folder: Path, modes: tuple[str, ...]) -> list[Row]:
    """Both rows of a family; its checkpoint and runs are removed behind it."""
    from benchmarks.tiny.checkpoint import build
    from benchmarks.tiny.trial import Plain, attempt, tried

    inputs, work = folder / "inputs", folder / "work" / name
    try:
        said = attempt(build, name, inputs, work / "model")
        plain: list[Any] = []
        said = said or attempt(lambda: plain.append(Plain.of(work / "model")))
        if said:
            return [{"family": name, "mode": mode, "not_built": said["traceback"]} for mode in modes]
        rows = [tried(name, mode, work / "model", inputs, work, plain[0]) for mode in modes]
        named: list[Row] = json.loads(json.dumps(rows).replace(f"{work}/", ""))  # of this machine's folders none
        return named
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(folder: Path, only: list[str], retry: str | None, workers: int, seconds: int) -> None:
    with suppress(ImportError):  # what a trial imports costs more than the trial: once, before processes are forked
        import bitsandbytes  # noqa: F401
        import torch._dynamo
        from peft.tuners.lora import bnb  # noqa: F401
    import torch
    from benchmarks.tiny import trial
    from benchmarks.tiny.checkpoint import families, write_inputs
    from benchmarks.tiny.processes import each

    torch.set_num_threads(1)
    if not (folder / "inputs" / "tokenizer").is_dir():
        write_inputs(folder / "inputs")
    results = folder / "rows.jsonl"
    done = newest(read_rows(results)) if results.exists() else {}
    again = {key for key, row in done.items() if retry == "all" or (retry == "failed" and shortfalls(row))}
    known = families()
    if strange := set(only) - known.keys():
        raise SystemExit(f"--only: {', '.join(sorted(strange))}: no such family; there are {', '.join(known)}")
    wanted = [name for name in (only or known) if any((name, m) not in done or (name, m) in again for m in trial.MODES)]
    about = {
        "date": str(date.today()),
        **{name: version(name) for name in ("acclimate", "transformers", "peft", "torch")},
    }
    task: Callable[[str], list[Row]] = partial(family, folder=folder, modes=trial.MODES)
    for number, (name, found) in enumerate(each(wanted, task, workers, seconds, folder / "logs"), 1):
        ended = [{"family": name, "mode": mode, "ended": found} for mode in trial.MODES]
        rows = ended if isinstance(found, str) else found
        with results.open("a") as file:
            file.writelines(json.dumps(row | about) + "\n" for row in rows)
        said = "; ".join(
            f"{row['mode']} {', '.join(shortfalls(row)) or 'ok'} ({row.get('seconds', 0)} s)" for row in rows
        )
        print(f"{number}/{len(wanted)} {name}: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "table"])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "families")
    parser.add_argument("--only", nargs="+", default=[], metavar="FAMILY")
    parser.add_argument("--retry", choices=["failed", "all"], help="rows that are there already: these again")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=120, help="limit of time of a family")
    chosen = parser.parse_args()
    if chosen.verb == "run":
        sweep(chosen.folder.resolve(), chosen.only, chosen.retry, chosen.workers, chosen.seconds)
        return
    rows = list(newest(read_rows(chosen.folder / "rows.jsonl")).values())
    for old in (ROOT / "benchmarks").glob("*-families.jsonl"):
        old.unlink()
    write_rows(ROOT / "benchmarks" / f"{max(row['date'] for row in rows)}-families.jsonl", rows)
    PAGE.write_text(page(read_rows(kept())))


if __name__ == "__main__":
    main()
