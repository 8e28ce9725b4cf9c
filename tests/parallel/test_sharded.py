"""Weights that are read in parts are those of a model that is loaded whole, bitwise, and take a part of the memory."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from acclimate.parallel.world import SOLO
from tests.fixtures.families import pico_of
from tests.fixtures.mixtures import mixture
from tests.fixtures.nursery import Warm
from tests.fixtures.pico import pico_tokenizer, save_pico
from tests.parallel.sharded_worker import CASES, setting, trained

ROOT = Path(__file__).parents[2]


def two(program: str, *arguments: Path) -> None:
    """Two ranks of one of the tests' programs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    workers = [
        Warm(
            [sys.executable, "-m", program, *map(str, arguments)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=ROOT,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_pico(folder / "tied")
    save_pico(folder / "tuned", seed=1)
    save_pico(folder / "untied", tie=False)
    for name, network in {
        "qwen3_moe": mixture("qwen3_moe"), "gpt_oss": mixture("gpt_oss"), "lfm2": pico_of("Lfm2"),
    }.items():  # fmt: skip
        network.save_pretrained(folder / name)
        pico_tokenizer().save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def found(models: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sharded")
    two("tests.parallel.sharded_worker", models, corpora, output)
    return output


@pytest.mark.parametrize("case", CASES)
def test_weights_in_parts_are_those_of_a_whole_model(case: str, found: Path) -> None:
    """Bitwise, after three steps on two ranks, with the references that they were compared with."""
    for rank in range(2):
        said: dict[str, Any] = json.loads((found / f"{case} {rank}.json").read_text())
        assert said == {"differs": [], "said": [], "sharded": True, "blank": "lora" not in case}


@pytest.mark.parametrize("case", [case for case in CASES if "lora" not in case or "bfloat16" not in case])
def test_two_ranks_are_one_process(case: str, found: Path, models: Path, corpora: Path, tmp_path: Path) -> None:
    alone = trained(setting(models, corpora, tmp_path, case), SOLO).weights.state_dict()
    spread = load_file(found / f"{case}.safetensors")
    assert spread.keys() == alone.keys()
    worst = max(float((spread[name] - weight).abs().max()) for name, weight in alone.items())
    print(case, worst, all(torch.equal(spread[n], w) for n, w in alone.items()))
