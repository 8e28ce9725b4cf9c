"""A process that hangs, and a machine that is cut off: the others end in the time that the configuration gives them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acclimate.config.load import RunConfig, save_config
from acclimate.runs.layout import Layout
from tests.fixtures.nursery import Warm
from tests.fixtures.runs import config
from tests.fixtures.sentences import says

SECONDS = 4
LONG: dict[str, Any] = {
    "budget": {"steps": 4000, "batch_tokens": 128},
    "training": {"micro_batch_size": 2, "save_steps": 3},
    "parallel": {"timeout_minutes": SECONDS / 60},
}


def two_ranks(settings: RunConfig, address: str, module: list[list[str]], **environment: str) -> list[Warm]:
    """Two processes that know of each other only by the environment, as those of two machines."""
    path = Path(settings.output_dir) / f"{settings.name}.yaml"
    save_config(settings, path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": port, "LOCAL_RANK": "0"} | environment
    return [
        Warm(
            [sys.executable, "-m", *module[rank], "train", str(path)], env=os.environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


def until_training(settings: RunConfig, ranks: list[Warm]) -> None:
    metrics, deadline = settings.run_dir / "metrics.jsonl", time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 8):
        assert time.monotonic() < deadline
        assert all(rank.poll() is None for rank in ranks), [rank.communicate() for rank in ranks]
        time.sleep(0.02)


def test_a_rank_that_hangs(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, **LONG)
    ranks = two_ranks(settings, "127.0.0.1", [["acclimate"]] * 2)
    try:
        until_training(settings, ranks)
        os.kill(ranks[1].pid, signal.SIGSTOP)
        began = time.monotonic()
        _, errors = ranks[0].communicate(timeout=60)
        assert SECONDS - 1 < time.monotonic() - began < 6 * SECONDS
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[0].returncode == 1
    assert says(errors, f"Error: Rank 0 of 2, on {socket.gethostname()}, has heard nothing … --resume …\n")
    assert Layout(settings.run_dir).step_checkpoints


def test_a_rank_that_dies_without_a_launcher(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, **LONG)
    ranks = two_ranks(settings, "127.0.0.1", [["acclimate"]] * 2)
    try:
        until_training(settings, ranks)
        ranks[0].kill()
        began = time.monotonic()
        _, errors = ranks[1].communicate(timeout=60)
        assert time.monotonic() - began < SECONDS
    finally:
        ranks[1].kill()
    assert ranks[1].returncode == 1
    assert says(errors, "Error: Rank 1 of 2, on …, has lost its connection to another rank …; … --resume …\n")


def test_ranks_that_do_not_meet(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, parallel={"timeout_minutes": 0.5 / 60})
    first, second = two_ranks(settings, "127.0.0.1", [["acclimate"]] * 2, WORLD_SIZE="3")
    said = [rank.communicate(timeout=60)[1] for rank in (first, second)]
    assert [first.returncode, second.returncode] == [1, 1]
    assert says(said[0], "Error: Rank 0 on … did not meet the others of 3 processes at 127.0.0.1:… …\n")
    assert "parallel.timeout_minutes (0.00833" in said[1]


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces, joined by a cable; of each, eth0 has an address, 10.23.7.1 and 10.23.7.2."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (iproute2) here")
    names = (f"acclimate-a{os.getpid()}", f"acclimate-b{os.getpid()}")

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.23.7.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_a_machine_that_is_cut_off(machines: tuple[str, str], pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """No packet says that the other is gone: both sides end, by the clock."""
    settings = config(pico_folder, corpora, tmp_path, **LONG)
    module = [["tests.parallel.node", name] for name in machines]
    ranks = two_ranks(settings, "10.23.7.1", module, GLOO_SOCKET_IFNAME="eth0")
    try:
        until_training(settings, ranks)
        subprocess.run(["ip", "-n", machines[1], "link", "set", "eth0", "down"], check=True)
        began = time.monotonic()
        said = [rank.communicate(timeout=60)[1] for rank in ranks]
        assert time.monotonic() - began < 8 * SECONDS
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [1, 1]
    for rank, errors in enumerate(said):
        said_last = errors.splitlines()[-1]  # after torch's on names that cannot be looked up
        assert says(said_last, f"Error: Rank {rank} of 2, on …, has heard nothing of another rank … --resume …")
    assert Layout(settings.run_dir).step_checkpoints
