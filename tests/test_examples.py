"""Programs of ``examples/``, run as they stand on a small model."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import acclimate as ac
from tests.fixtures.runs import write_corpora
from tests.test_tutorials import blocks

EXAMPLES = Path(__file__).parents[1] / "examples"


def done(program: str, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, documents: int) -> dict[str, Any]:
    """The names that a program leaves, which wrote its model to ``adapted`` in the folder."""
    text = write_corpora(folder / "text", documents=documents)
    monkeypatch.setenv("HOME", str(folder))  # the cache
    paths = (model, text / "domain.jsonl", text / "general.jsonl", folder / "adapted")
    monkeypatch.setattr(sys, "argv", [program, *map(str, paths)])
    return runpy.run_path(str(EXAMPLES / program))


def test_the_plain_loop(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = done("plain_loop.py", pico_folder, tmp_path, monkeypatch, documents=400)
    out = capsys.readouterr().out
    assert out.count("'loss/domain/cross_entropy'") == len(found["packed"]) > 1
    assert "'loss/general/reverse_kl': 0.0" in out  # of the first step, exactly
    assert "general  bits_per_byte [bits/byte]" in out
    pair = ac.open_pair(tmp_path / "adapted", base=pico_folder)
    saved, trained = pair.model.network.state_dict(), found["student"].network.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in trained.items())
    assert any(not torch.equal(weight, pair.base.model.network.state_dict()[name]) for name, weight in saved.items())


def test_trl(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = done("trl.py", pico_folder, tmp_path, monkeypatch, documents=200)
    trainer = found["trainer"]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == len(found["rows"]) > 1
    assert logged[0]["loss/general/reverse_kl"] == 0
    assert "ForgettingBudget 'anchor': " in capsys.readouterr().out
    program, judging = blocks("your-trainer", "python")
    assert (EXAMPLES / "trl.py").read_text().endswith(f'"""\n\n{program}')
    exec(judging, found)
    assert capsys.readouterr().out.splitlines()[-1] == found["verdict"].outcome
    saved = ac.open_pair(tmp_path / "adapted", base=pico_folder).model.network.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in trainer.model.state_dict().items())
