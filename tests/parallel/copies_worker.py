"""One of four ranks, two on each of two pretended machines: copies of a model, its checkpoints, and what they share.

WORLD_SIZE=4 RANK=r LOCAL_RANK=r%2 python -m tests.parallel.copies_worker MODEL CORPORA OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import Shard, distribute_tensor

from acclimate.config.load import RunConfig
from acclimate.disk import tensorfiles
from acclimate.parallel import saved
from acclimate.parallel.background import FolderWriter
from acclimate.parallel.parts import placed
from acclimate.parallel.shard import local, mesh_of, whole
from acclimate.parallel.shared import check_shared
from acclimate.parallel.world import World, join
from acclimate.runs.layout import Layout
from acclimate.training.checkpoint import load_checkpoint, save_checkpoint
from acclimate.training.loop import run_loop
from acclimate.types.errors import AcclimateError
from tests.fixtures.gradients import built
from tests.fixtures.ranks import leave_together
from tests.fixtures.runs import config

ROWS, WIDTH = 4_099, 512
"""Of a tensor of 8 MiB, whose rows four ranks cannot share evenly."""


def setting(model: Path, corpora: Path, output: Path, name: str, **parallel: Any) -> RunConfig:
    return config(
        model, corpora, output, name=name, parallel=parallel,
        training={"micro_batch_size": 2, "save_steps": 2, "keep_last": 9},
    )  # fmt: skip


class Counting:
    """As safetensors' ``safe_open``, but counts what is read of the tensors."""

    read = 0

    def __init__(self, *given: Any) -> None:
        self.file = safe_open(*given)

    def keys(self) -> Any:
        return self.file.keys()

    def get_tensor(self, key: str) -> Tensor:
        return self.counted(self.file.get_tensor(key))

    def get_slice(self, key: str) -> Any:
        part = self.file.get_slice(key)

        class Slice:
            get_shape = staticmethod(part.get_shape)

            def __getitem__(self, rows: slice) -> Tensor:
                return Counting.counted(part[rows])

        return Slice()

    @staticmethod
    def counted(tensor: Tensor) -> Tensor:
        Counting.read += tensor.nbytes
        return tensor


def mapped_bytes(folder: Path) -> int:
    """Of the folder's files, in pages that this process has touched."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


def read_parts(world: World, output: Path) -> dict[str, Any]:
    """What a rank reads of a folder that four wrote, by the calls it makes and by the pages that the system gave it."""
    mesh = mesh_of("cpu", world.size, 1)
    full = torch.arange(ROWS * WIDTH, dtype=torch.float32).view(ROWS, WIDTH)
    spread = distribute_tensor(full, mesh, [Shard(0)], src_data_rank=None)
    folder = output / "parts"
    saved.write_folder(folder, {"a": spread, "b": spread * 2, "step": torch.tensor(3.0)}, {"x": 1}, world)
    hashed: list[int] = []
    original = saved.sha256_of

    def counted(paths: Any) -> str:
        hashed.extend(path.stat().st_size for path in paths)
        return original(paths)

    saved.sha256_of = counted
    saved.verify(folder, world)
    saved.sha256_of = original
    tensors, _ = saved.read_folder(folder)
    before = mapped_bytes(folder)
    found = {key: placed(tensors, key, spread) for key in ("a", "b")}
    touched = mapped_bytes(folder) - before
    same = all(torch.equal(local(found[key]), local(spread) * times) for key, times in (("a", 1), ("b", 2)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {
        "size": size,
        "hashed": sum(hashed),
        "touched": touched,
        "same": same,
        "whole": torch.equal(tensors["a"], full),
        "shape": list(tensors.shape("a")),
    }


def main() -> None:
    model, corpora, output = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    world = join("cpu")
    facts: dict[str, Any] = {}

    # 1. Two copies, each spread over two ranks; then one, spread over four.
    for name, replicate in (("copies", 2), ("line", 1)):
        settings = setting(model, corpora, output, name, strategy="fsdp", replicate=replicate)
        training = built(settings, torch.float32, world)
        run_loop(training)
        weights = {key: whole(tensor) for key, tensor in training.weights.state_dict().items()}
        if world.is_main:
            save_file(weights, output / f"{name}.safetensors")

    # 2. What resuming reads, and that both read what the other wrote.
    for name, other in (("copies", "line"), ("line", "copies")):
        settings = setting(model, corpora, output, f"{other}-again", strategy="fsdp", replicate=1 + (other == "copies"))
        training = built(settings, torch.float32, world)
        folder = Layout(output / name).step_checkpoints[-1]
        original, Counting.read = tensorfiles.safe_open, 0
        tensorfiles.safe_open = Counting
        load_checkpoint(training, folder)
        tensorfiles.safe_open = original
        size = sum(path.stat().st_size for path in folder.glob("tensors-*"))
        facts[f"{other} reads {name}"] = [Counting.read, size]
        save_checkpoint(training, output / f"{name} by {other}")
    facts["parts"] = read_parts(world, output)

    # 3. A folder that a thread writes is the one that the ranks wait for.
    both = training.saved()
    for behind in (True, False):
        writer = FolderWriter(world, behind)
        writer.write(output / f"behind {behind}", *both)
        writer.wait()

    # 4. One rank's disk is full behind the steps: the next call raises, on all.
    writer, original_save = FolderWriter(world, behind=True), saved.save_file

    def full_disk(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    if world.rank == 1:
        saved.save_file = full_disk
    writer.write(output / "full", *both)
    try:
        writer.write(output / "full later", *both)
    except AcclimateError as error:
        facts["full"] = f"{type(error).__name__}: {error}"
    saved.save_file = original_save
    writer.write(output / "room again", *both)
    writer.wait()

    # 5. Who prepares when, and who sees what.
    order = output / "order"
    order.touch()

    def prepare() -> None:
        with order.open("a") as stream:
            stream.write(f"{world.rank}\n")

    world.main_first(prepare)
    own = output / "shared" if world.rank != 3 else output / "elsewhere"
    own.mkdir(exist_ok=True)
    check_shared(output, "output_dir", world)
    try:
        check_shared(own, "output_dir", world, within=0.2)
    except AcclimateError as error:
        facts["shared"] = f"{type(error).__name__}: {error}"
    facts["left"] = [path.name for path in own.iterdir()]

    # 6. Copies that cannot be.
    for replicate in (3, 4):
        try:
            built(setting(model, corpora, output, "refused", strategy="fsdp", replicate=replicate), world=world)
        except AcclimateError as error:
            facts[f"replicate {replicate}"] = str(error)
    (output / f"facts-{world.rank}.json").write_text(json.dumps(facts))
    leave_together(world)


if __name__ == "__main__":
    main()
