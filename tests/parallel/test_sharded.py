"""Weights that are read in parts are those of a model that is loaded whole, bitwise, and take a part of the memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from acclimate.parallel.world import SOLO
from acclimate.training.loop import run_loop
from tests.fixtures.families import pico_of
from tests.fixtures.mixtures import mixture
from tests.fixtures.pico import pico_tokenizer, save_pico
from tests.fixtures.ranks import run_ranks
from tests.parallel.sharded_worker import CASES, prepared, setting


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
    run_ranks(2, "tests.parallel.sharded_worker", models, corpora, output)
    return output


@pytest.mark.parametrize("case", CASES)
def test_weights_in_parts_are_those_of_a_whole_model(case: str, found: Path) -> None:
    """Bitwise, after three steps on two ranks, with the references that they were compared with."""
    for rank in range(2):
        said: dict[str, Any] = json.loads((found / f"{case} {rank}.json").read_text())
        whole = case == "with code of its own"
        notes, said["said"] = said["said"], []
        assert said == {"differs": [], "said": [], "sharded": True, "blank": not whole and "lora" not in case}
        assert [("its own code" in note, "loads all of" in note) for note in notes] == [(True, True)] * whole


@pytest.mark.parametrize("case", ["tied mol", "untied sft", "tied lora", "experts", "bfloat16", "bfloat16 lora"])
def test_two_ranks_are_one_process(case: str, found: Path, models: Path, corpora: Path, tmp_path: Path) -> None:
    """Bitwise: a step has no more than two micro-batches, whose sum has one order; of more it is equal up to that."""
    training = prepared(setting(models, corpora, tmp_path, case), SOLO, parts=False)
    state = training.data.state_dict()
    sizes = [len(training.data.next_step()) for _ in range(training.total_steps)]
    training.data.load_state_dict(state)
    assert max(sizes) == 2
    run_loop(training)
    alone, spread = training.weights.state_dict(), load_file(found / f"{case}.safetensors")
    assert spread.keys() == alone.keys()
    assert all(torch.equal(spread[name], weight) for name, weight in alone.items())


def save_large(folder: Path) -> Path:
    """A mixture of experts of about 200 MB, whose numbers nobody looks at, beside a small model."""
    shape = {"hidden_size": 256, "num_hidden_layers": 16, "head_dim": 64}
    network = mixture("qwen3_moe", **shape, num_experts=16, moe_intermediate_size=256)
    network.save_pretrained(folder / "experts")
    pico_tokenizer().save_pretrained(folder / "experts")
    save_pico(folder / "small")
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_parts_take_a_part_of_the_memory(corpora: Path, tmp_path: Path) -> None:
    """The most that is anonymous at any time from the first byte to the first step, student and reference."""
    models, output = save_large(tmp_path / "models"), tmp_path / "found"
    output.mkdir()
    most: dict[str, list[int]] = {}
    for way in ("parts", "whole"):
        run_ranks(2, "tests.parallel.memory_worker", models, corpora, output, "experts", way)
        most[way] = [json.loads((output / f"experts {way} {rank}.json").read_text())[0] for rank in range(2)]
    assert min(most["whole"]) > 300e6
    assert max(most["parts"]) < 0.6 * min(most["whole"]), most
