"""What results and progress look like in a notebook."""

from __future__ import annotations

import ast
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import acclimate as ac
from acclimate.gates import parse_policy
from acclimate.training.callbacks.notebook import in_notebook
from acclimate.verbs.result import RunResult
from tests.gates.runs import scored_run
from tests.reports.runs import write_run

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


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


def run_cells(cells: list[str], names: dict[str, Any]) -> list[str]:
    """What each cell's last expression looks like."""
    shown = []
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook.ipynb", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "notebook.ipynb", "eval"), names) if last is not None else None
        shown.append("" if value is None else value._repr_html_())
    return shown


def test_the_notebook_runs_and_shows_itself(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not in_notebook()
    shown = Shown()
    module: Any = types.ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (), {})()
    module.get_ipython, module.version_info = lambda: shell, (9, 0)  # matplotlib asks for the version
    parts: Any = types.ModuleType("IPython.display")
    parts.HTML, parts.display = str, shown.display
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", parts)
    monkeypatch.setenv("HOME", str(tmp_path))  # the cache
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {
        "MODEL": str(pico_folder),
        "DOMAIN": str(corpora / "domain.jsonl"),
        "GENERAL": str(corpora / "general.jsonl"),
    }
    first, *rest = ["".join(cell["source"]) for cell in cells]
    assert {node.id for node in ast.walk(ast.parse(first)) if isinstance(node, ast.Name)} == names.keys()

    plan, result, verdict, table = run_cells(rest, names)
    assert "optimizer steps" in plan
    steps = json.loads((tmp_path / "runs" / "notebook" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert f"step {steps} of {steps}, 0 s left" in shown.pages[-1]
    assert "<th>2</th>" in shown.pages[-1]  # measured after two steps
    assert "domain/cross_entropy" in shown.pages[-1]
    assert result.count("<img alt=") >= 3
    assert "of 2 checks passed" in verdict or "inconclusive" in verdict
    assert "<th>notebook</th>" in table
