"""One of two ranks: anonymous memory while a model of some hundred MB is made ready to train, in parts or whole.

WORLD_SIZE=2 RANK=r python -m tests.parallel.memory_worker MODELS CORPORA OUTPUT MODEL parts|whole
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from acclimate.parallel.world import join
from tests.fixtures.ranks import leave_together
from tests.fixtures.runs import config
from tests.parallel.sharded_worker import prepared

M_MMAP_THRESHOLD = -3
"""Of glibc."""


def anonymous() -> int:
    """Bytes in memory that no file holds."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """Anonymous memory above what there is at the beginning: the most, and what is left at the end."""
    before, marks, done = anonymous(), [0, 0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            marks[0] = max(marks[0], anonymous() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield marks
    finally:
        done.set()
        thread.join()
        marks[1] = anonymous() - before


def main() -> None:
    models, corpora, output = map(Path, sys.argv[1:4])
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**16)  # or what is freed stays, and hides what is taken after it
    torch.set_num_threads(1)
    world = join("cpu")
    for name in ("small", sys.argv[4]):  # what libraries take once is not measured
        given = config(
            models / name, corpora, output, name=name, parallel={"strategy": "fsdp"},
            model={"attention": "eager", "dtype": "bfloat16" if name.endswith("bf16") else "float32"},
            budget={"steps": 1, "batch_tokens": 64}, data={"sequence_length": 64},
        )  # fmt: skip
        gc.collect()
        with watched() as marks:
            training = prepared(given, world, parts=sys.argv[5] == "parts")
            gc.collect()
        training.data.close()
        world.agree(None)
    (output / f"{sys.argv[4]} {sys.argv[5]} {world.rank}.json").write_text(json.dumps(marks))
    leave_together(world)


if __name__ == "__main__":
    main()
