"""What results and progress look like in a notebook."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

import acclimate as ac
from acclimate.gates import parse_policy
from acclimate.training.callbacks.notebook import in_notebook
from acclimate.verbs.result import RunResult
from tests.fixtures.runs import config
from tests.gates.runs import scored_run
from tests.reports.runs import write_run


def test_run_folders_and_verdicts_are_tables(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run(run, "mol", steps=6)
    assert "<th>domain</th>" in ac.runs.open(run)._repr_html_()
    table = ac.runs.table(run)
    assert f"The first 30 of {len(table.rows):,} numbers" in table._repr_html_()
    assert table._repr_html_().count("<tr>") == 31
    assert "bits/byte" in RunResult(run, [])._repr_html_()
    scored_run(tmp_path / "scored")
    verdict = ac.gate(
        tmp_path / "scored", parse_policy({"roles": {"general": {"max_drop": {"bits_per_byte": "90 %"}}}})
    )
    assert "PASS: 1 of 1 checks passed." in verdict._repr_html_()
    assert "<th>pass</th><td>general</td>" in verdict._repr_html_()


class Shown:
    """In place of IPython's display."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def display(self, page: Any, display_id: bool) -> Shown:
        assert display_id
        self.update(page)
        return self

    def update(self, page: str) -> None:
        self.pages.append(page)


def test_a_notebook_shows_plan_and_progress(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(
        pico_folder,
        corpora,
        tmp_path,
        training={"micro_batch_size": 2, "eval_steps": 3},
        evaluation={"validation_documents": 1},
    )
    assert not in_notebook()
    shown = Shown()
    module: Any = types.ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (), {})()
    module.get_ipython = lambda: shell
    parts: Any = types.ModuleType("IPython.display")
    parts.HTML, parts.display = str, shown.display
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", parts)
    assert in_notebook()
    assert "optimizer steps" in ac.validate(run)._repr_html_()
    result = ac.train(run)
    assert 'value="6" max="6"' in shown.pages[-1]
    assert "step 6 of 6, 0 s left" in shown.pages[-1]
    assert "<th>3</th>" in shown.pages[-1]
    assert "domain/cross_entropy" in shown.pages[-1]
    assert "bits/B" in result._repr_html_() or "bits/byte" in result._repr_html_()
