"""What this project claims of a GPU, measured on the GPU that is there, on one dated page.

    python -m benchmarks.gpu.kit [--only PART ...] [--out PAGE] [--rehearse]

Each part is a process of its own with a limit; together they end within 25 minutes. A part that fails or takes too long
says so on the page, and the others go on. Without a GPU it says what it would do. --rehearse runs every part on the CPU
in a size that only shows that its lines run: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch
from benchmarks.gpu.machine import GIB, machine

HERE = Path(__file__).resolve().parents[1]
MINUTES = 25


@dataclass(frozen=True)
class Part:
    """A module of this folder, whose ``run`` gives Markdown."""

    name: str
    title: str
    limit: int  # seconds


PARTS = (
    Part("exact", "Does it run, and does it say the same", 210),
    Part("layer", "Attention: under a mask, and without one", 210),
    Part("head", "The head: chunks, products, memory", 360),
    Part("steps", "Whole steps, and memory beside the estimate", 540),
    Part("two", "Two GPUs", 180),
)


def plan(parts: Sequence[Part]) -> str:
    """What would be done."""
    lines = [
        f"There is no GPU here. On one, `make gpu` writes benchmarks/DATE-gpu-NAME.md within {MINUTES} minutes:",
        *(f"  {part.name:6} at most {part.limit:3} s  {part.title}" for part in parts),
        "",
    ]
    for part in parts:
        about = (importlib.import_module(f"benchmarks.gpu.{part.name}").__doc__ or "").strip()
        lines += [f"{part.name}: {about}", ""]
    return "\n".join(lines)


def header(rehearsed: bool) -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, text=True, capture_output=True, check=False
    ).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    if rehearsed:
        return f"# Rehearsal of the GPU kit\n\nOn a CPU, in sizes that mean nothing. {versions}.\n"
    about = torch.cuda.get_device_properties(0)
    return (
        f"# The GPU kit on {torch.cuda.device_count()} x {about.name}\n\n{datetime.now(timezone.utc):%Y-%m-%d}, commit "
        f"{commit or 'unknown'}, `python -m benchmarks.gpu.kit`. {about.total_memory / GIB:.0f} GiB a GPU, compute "
        f"capability {about.major}.{about.minor}, CUDA {torch.version.cuda}, Python {platform.python_version()}, "
        f"{versions}. Medians; smallest and largest in brackets.\n"
    )


def ran(part: Part, rehearsed: bool) -> str:
    """Its section of the page, whatever becomes of it."""
    command = [sys.executable, "-m", "benchmarks.gpu.kit", "--part", part.name, *["--rehearse"] * rehearsed]
    module = importlib.import_module(f"benchmarks.gpu.{part.name}")
    head = f"## {part.title}\n\n{(module.__doc__ or '').strip()}\n\n"
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, text=True, stdout=subprocess.PIPE, timeout=part.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{head}**Not measured:** it took more than {part.limit} seconds.\n"
    if done.returncode:
        return f"{head}**Not measured:** it ended with {done.returncode}; what it said is above, in the terminal.\n"
    return f"{head}{done.stdout.strip()}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART")
    parser.add_argument("--out", type=Path, metavar="PAGE")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part is not None:
        print(importlib.import_module(f"benchmarks.gpu.{asked.part}").run(machine(asked.rehearse)))
        return
    parts = [part for part in PARTS if part.name in asked.only]
    if not asked.rehearse and not torch.cuda.is_available():
        print(plan(parts))
        return
    name = "rehearsal" if asked.rehearse else torch.cuda.get_device_name(0).replace(" ", "-")
    page = asked.out or HERE / f"{datetime.now(timezone.utc):%Y-%m-%d}-gpu-{name}.md"
    sections = [header(asked.rehearse)]
    for part in parts:
        print(f"{part.name}: {part.title}, at most {part.limit} s", file=sys.stderr, flush=True)
        sections.append(ran(part, asked.rehearse))
        page.write_text("\n".join(sections), encoding="utf-8")  # what was measured stays, if the next one is killed
    print(f"Wrote {page}.")


if __name__ == "__main__":
    main()
