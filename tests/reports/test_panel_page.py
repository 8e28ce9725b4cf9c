"""A panel on any two models as a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from acclimate.reports.panel_page import panel_page, write_panel_page
from acclimate.runs.panel import read_panel
from acclimate.types.errors import RunError
from tests.reports.runs import add_panel, write_run
from tests.test_wrong_inputs import run_cli


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "run")
    add_panel(run)
    return run / "panels" / "exam"


def test_the_page_says_which_set_got_worse(exam: Path) -> None:
    page = panel_page([read_panel(exam)])
    assert (page.kind, page.word) == ("forgot", "Worse")
    assert page.answer.startswith("history (−25.0\u00a0points), against its own base")
    text = write_panel_page([exam], exam / "panel.html").read_text()
    assert text.index("history (−25.0") < text.index("<h2>Sets")
    assert "panel.csv" in text
    assert "<script" not in text
    grid = page.blocks[0].grid
    assert grid
    (history,) = [row for row in grid.rows if row[:2] == ["history", "accuracy"]]
    assert history[2:6] == ["4", "50.0\u00a0%", "50.0\u00a0%", "25.0\u00a0%"]  # items, chance, base, model


def test_two_models_stand_on_one_page_and_other_panels_do_not(exam: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(exam, other)
    page = panel_page([read_panel(exam), read_panel(other)])
    grid = page.blocks[0].grid
    assert grid
    assert grid.head[:2] == ["set", "model"]
    assert {row[1] for row in grid.rows} == {str(exam), str(other)}
    document = json.loads((other / "panel.json").read_text())
    document["panel"]["digest"] = "another"
    (other / "panel.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match="were not asked the same"):
        panel_page([read_panel(exam), read_panel(other)])


def test_from_the_command_line(
    exam: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["report", str(exam), "--title", "Ours on exams"], monkeypatch, capsys)
    assert code == 0
    assert "panel.html" in out
    assert '<h1 dir="auto">Ours on exams</h1>' in (exam / "panel.html").read_text()
    code, _, err = run_cli(["report", str(exam), str(tmp_path / "run")], monkeypatch, capsys)
    assert code
    assert "is a panel and" in err
    code, _, err = run_cli(["report", str(exam), "--no-text"], monkeypatch, capsys)
    assert code
    assert "--no-text: has no effect" in err
