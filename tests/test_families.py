"""Twelve families through the sweep that makes docs/reference/families.md, and the page as its results give it."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.families import PAGE, family, kept
from benchmarks.tiny.bars import shortfalls
from benchmarks.tiny.checkpoint import write_inputs
from benchmarks.tiny.page import page
from benchmarks.tiny.population import APART, VARIANTS, families
from benchmarks.tiny.rows import newest, read_rows
from benchmarks.tiny.trial import MODES
from transformers import BltConfig

from acclimate.model.load import width_of

TWELVE = {
    "llama": "packed",
    "gemma2": "packed",  # soft-capped scores
    "qwen3_moe": "packed",
    "gpt_oss": "alone",
    "qwen3_5": "alone",
    "lfm2": "alone",
    "granitemoehybrid": "alone",
    "mamba2": "alone",
    "deepseek_v3": "packed",
    "gemma3": "packed",
    "qwen3_vl": "packed",
    "llama4": "packed",
}
"""One of each kind of layers, and whether its documents share rows."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    write_inputs(folder / "inputs")
    return folder


ADAPTED = {"llama", "qwen3_moe", "gpt_oss", "qwen3_5", "granitemoehybrid", "mamba2", "gemma3", "llama4"}
"""Where LoRA, which takes longer, reaches other kinds of matrices; the results of the sweep are of all."""


@pytest.mark.parametrize("name", TWELVE)
def test_a_family_trains_resumes_and_is_exported_whole(name: str, inputs: Path) -> None:
    rows = family(name, inputs, MODES if name in ADAPTED else ("full",))
    assert [shortfalls(row) for row in rows] == [{}] * len(rows)
    assert {row["rows"] for row in rows} == {TWELVE[name]}
    assert all(row["reach"]["adapted"] for row in rows if row["mode"] == "lora")


def test_a_family_whose_configuration_has_neither_width_nor_layers(inputs: Path) -> None:
    """Blt has layers of three kinds: the dtype, the cost and the cache of its answers cannot ask for one number."""
    (full,) = family("blt", inputs, ("full",))
    assert shortfalls(full) == {}
    assert width_of(BltConfig(encoder_config={"hidden_size": 64}, decoder_config={"hidden_size": 96})) >= 96


def test_the_page_is_what_the_results_give() -> None:
    assert PAGE.read_text() == page(read_rows(kept()))


def test_results_are_of_every_family_of_a_sweep() -> None:
    """Each once, in both modes; transformers of another version lists others."""
    rows = read_rows(kept())
    assert len(newest(rows)) == len(rows)
    names = {row["family"] for row in rows}
    assert all({(name, mode) for mode in MODES} <= newest(rows).keys() for name in names)
    assert not names & {kind for kinds in APART.values() for kind in kinds.split()}
    assert names >= {*TWELVE, *VARIANTS}
    assert names & families().keys()
