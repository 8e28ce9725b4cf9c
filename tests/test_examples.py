"""Programs of ``examples/``, run as they stand on a small model."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

import acclimate as ac
from tests.fixtures.runs import write_corpora
from tests.test_tutorials import blocks

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_plain_loop(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_corpora(tmp_path / "text", documents=400)
    monkeypatch.setenv("HOME", str(tmp_path))  # the cache
    output = tmp_path / "adapted"
    arguments = [str(pico_folder), str(text / "domain.jsonl"), str(text / "general.jsonl"), str(output)]
    monkeypatch.setattr(sys, "argv", ["plain_loop.py", *arguments])
    found = runpy.run_path(str(EXAMPLES / "plain_loop.py"))
    out = capsys.readouterr().out
    assert out.count("'loss/domain/cross_entropy'") == len(found["packed"]) > 1
    assert "'loss/general/reverse_kl': 0.0" in out  # of the first step, exactly
    assert "general  bits_per_byte [bits/byte]" in out
    pair = ac.open_pair(output, base=pico_folder)
    saved, trained = pair.model.network.state_dict(), found["student"].network.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in trained.items())
    assert any(not torch.equal(weight, pair.base.model.network.state_dict()[name]) for name, weight in saved.items())


def test_trl(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_corpora(tmp_path / "text", documents=200)
    monkeypatch.setenv("HOME", str(tmp_path))  # the cache
    output = tmp_path / "adapted"
    arguments = [str(pico_folder), str(text / "domain.jsonl"), str(text / "general.jsonl"), str(output)]
    monkeypatch.setattr(sys, "argv", ["trl.py", *arguments])
    found = runpy.run_path(str(EXAMPLES / "trl.py"))
    trainer = found["trainer"]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == len(found["rows"]) > 1
    assert logged[0]["loss/general/reverse_kl"] == 0
    assert "ForgettingBudget 'anchor': " in capsys.readouterr().out
    program, judging = blocks("your-trainer", "python")
    assert (EXAMPLES / "trl.py").read_text().endswith(f'"""\n\n{program}')
    exec(judging, found)
    assert capsys.readouterr().out.splitlines()[-1] == found["verdict"].outcome
    saved = ac.open_pair(output, base=pico_folder).model.network.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in trainer.model.state_dict().items())
