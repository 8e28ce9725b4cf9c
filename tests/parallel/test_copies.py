"""Four ranks on two pretended machines: copies (HSDP), checkpoints in parts, and a folder that one does not see."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from acclimate.config.load import parse_config
from acclimate.parallel.saved import read_folder, verify
from acclimate.runs.layout import Layout
from acclimate.training.loop import run_loop
from acclimate.types.errors import ConfigError
from tests.fixtures.gradients import built
from tests.fixtures.ranks import run_ranks
from tests.fixtures.runs import settings
from tests.fixtures.sentences import says
from tests.parallel.copies_worker import setting


@pytest.fixture(scope="module")
def four(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("four")
    run_ranks(4, "tests.parallel.copies_worker", pico_folder, corpora, output, local=2)
    return output


@pytest.fixture(scope="module")
def facts(four: Path) -> list[dict[str, Any]]:
    return [json.loads((four / f"facts-{rank}.json").read_text()) for rank in range(4)]


@pytest.fixture(scope="module")
def one(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of one process after the same steps."""
    training = built(setting(pico_folder, corpora, tmp_path_factory.mktemp("one"), "one"), torch.float32)
    began = {name: tensor.clone() for name, tensor in training.weights.state_dict().items()}
    run_loop(training)
    weights = training.weights.state_dict()
    assert all((weights[name] - began[name]).abs().max() > 1e-3 for name in weights)
    return weights


@pytest.mark.parametrize("name", ["copies", "line"])
def test_copies_take_the_steps_of_one_process(name: str, four: Path, one: dict[str, torch.Tensor]) -> None:
    """Not bitwise: sums over rows are added in another order."""
    found = load_file(four / f"{name}.safetensors")
    assert found.keys() == one.keys()
    for key, weight in one.items():
        torch.testing.assert_close(found[key], weight, rtol=0, atol=1e-6)


def test_one_copy_writes_and_every_layout_reads(four: Path) -> None:
    for name, files in (("copies", 2), ("line", 4)):
        folder = Layout(four / name).step_checkpoints[-1]
        verify(folder)
        assert len(list(folder.glob("tensors-*"))) == files
    for name, other, files in (("copies", "line", 4), ("line", "copies", 2)):
        again = four / f"{name} by {other}"
        assert len(list(again.glob("tensors-*"))) == files
        first, second = read_folder(Layout(four / name).step_checkpoints[-1])[0], read_folder(again)[0]
        assert set(first) == set(second)
        assert any(key.startswith("optimizer/") for key in first)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_rank_reads_its_rows_and_verifies_its_share(facts: list[dict[str, Any]]) -> None:
    for fact in facts:
        parts = fact["parts"]
        assert parts["same"]
        assert parts["whole"]
        assert parts["shape"] == [4099, 512]
        assert 0.2 * parts["size"] < parts["hashed"] <= 1.2 / 4 * parts["size"]
        assert 0.2 * parts["size"] < parts["touched"] <= 1.2 / 4 * parts["size"]
    assert sum(fact["parts"]["hashed"] for fact in facts) > 0.99 * facts[0]["parts"]["size"]


def test_resuming_reads_the_rows_that_a_rank_holds(facts: list[dict[str, Any]], four: Path) -> None:
    """All state of a pico run, of which random states and what is too small to spread count whole."""
    for reader, written, part in (("line", "copies", 4), ("copies", "line", 2)):
        read = [fact[f"{reader} reads {written}"] for fact in facts]
        tensors = read_folder(Layout(four / written).step_checkpoints[-1])[0]
        unspread = sum(tensors[key].nbytes for key in tensors if key.startswith("random/"))
        for bytes_read, size in read:
            assert bytes_read - unspread / 4 <= 1.2 / part * size


def test_a_checkpoint_in_the_background_is_the_same_to_the_byte(four: Path) -> None:
    one, two = four / "behind True", four / "behind False"
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert len(names) == 4
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_what_goes_wrong_behind_the_steps_is_raised_on_all(facts: list[dict[str, Any]], four: Path) -> None:
    said = [fact["full"] for fact in facts]
    assert says(said[1], "RunError: The checkpoint '…/full' could not be written (…No space left on device…); …")
    assert [said[rank] for rank in (0, 2, 3)] == ["PeerError: Rank 1 stopped with an error."] * 3
    assert not (four / "full").exists()
    assert not (four / "full later").exists()
    assert not list(four.glob(".full*"))
    verify(four / "room again")


def test_each_machine_prepares_once(four: Path) -> None:
    """Rank 0, then the first rank of the other machine, then both others."""
    order = (four / "order").read_text().split()
    assert order[:2] == ["0", "2"]
    assert sorted(order[2:]) == ["1", "3"]


def test_a_folder_that_one_rank_does_not_see(facts: list[dict[str, Any]], four: Path) -> None:
    said, host = [fact["shared"] for fact in facts], socket.gethostname()
    assert says(
        said[0], f"RunError: output_dir: '{four}/shared' is not one folder for all processes: … rank 3 on {host}. …"
    )
    assert said[1:] == ["PeerError: Rank 0 stopped with an error."] * 3
    assert all(fact["left"] == [] for fact in facts)


def test_copies_that_cannot_be(facts: list[dict[str, Any]], pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    assert says(facts[0]["replicate 3"], "parallel.replicate: 3 copies … 4 processes: …; accepted: 1 or 2.")
    assert says(facts[0]["replicate 4"], "parallel.replicate: 4 copies … strategy: ddp; accepted: 1 or 2.")
    data = settings(pico_folder, corpora, tmp_path, parallel={"replicate": 2})
    with pytest.raises(ConfigError, match="replicate has no effect with strategy: ddp"):
        parse_config(data)
