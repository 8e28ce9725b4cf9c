"""One of two ranks: trains on rows that the model writes, then one rank fails while writing.

WORLD_SIZE=2 RANK=r python -m tests.parallel.live_worker MODEL CORPORA OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from acclimate.parallel.world import join
from acclimate.training.loop import run_loop
from acclimate.types.errors import AcclimateError, DataError
from tests.fixtures.live import live_training
from tests.fixtures.ranks import leave_together


def main() -> None:
    model, corpora, output = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    world = join("cpu")
    training, write = live_training(model, corpora, output, world)
    run_loop(training)
    (output / f"written-{world.rank}.json").write_text(json.dumps(write.written))
    if world.is_main:
        save_file(training.weights.state_dict(), output / "weights.safetensors")
        (output / "progress.json").write_text(json.dumps(training.data.progress()))
    training, write = live_training(model, corpora, output, world)
    if world.rank == 1:
        write.model = None  # type: ignore[assignment]

        def failing(number: int) -> None:
            raise DataError(f"rank 1 cannot write document {number}.")

        write._document = failing  # type: ignore[method-assign, assignment]
    try:
        run_loop(training)
    except AcclimateError as error:
        (output / f"fails-{world.rank}").write_text(f"{type(error).__name__}: {error}")
    leave_together(world)


if __name__ == "__main__":
    main()
