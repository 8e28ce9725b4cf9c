"""What is counted before training is what the run counts while it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.verbs.run import train
from acclimate.verbs.search.forwards import Forwards
from tests.fixtures.runs import config

QUIET = {"evaluation": {"generations": 0}}
CASES: dict[str, dict[str, Any]] = {
    "mol": {"budget": {"steps": 4, "batch_tokens": 96}},
    "mol with LoRA": {"lora": {"rank": 2}, "budget": {"steps": 3, "batch_tokens": 128}},
    "epochs": {"method": "mol", "budget": {"steps": None, "epochs": 0.4, "batch_tokens": 128}},
    "a first pass": {"method": "talr"},
}


@pytest.mark.parametrize("case", CASES)
def test_forwards_are_counted_exactly(case: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    run = config(pico_folder, corpora, tmp_path, **QUIET, **CASES[case])
    counted = Forwards(run, load_corpora(run, load_tokenizer(run.model)))
    result = train(run)
    record = json.loads((result.run_dir / "provenance.json").read_text())
    assert counted.of(counted.steps) == record["forward_tokens"] > 0
