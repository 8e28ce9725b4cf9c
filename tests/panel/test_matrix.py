"""Models side by side: the numbers are those of the panels, and only equal panels stand together."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from acclimate.verbs.panel.matrix import Cell, Matrix, Row, matrix, matrix_markdown, matrix_tables
from tests.fixtures.panels import answers, texts, write_panel
from tests.fixtures.sentences import says
from tests.test_wrong_inputs import run_cli


def three(folder: Path) -> list[Path]:
    random = np.random.default_rng(0)
    found = []
    for name, drop in (("sft", 0.1), ("mol", 0.0), ("mol", 0.02)):
        sets = {
            "exam": ("choice", answers(random, 40, flipped=0.2, drop=drop)),
            "quiz": ("choice", answers(random, 60, flipped=0.2, drop=drop)),
            "news": ("text", texts(random, 30, rise=drop)),
        }
        found.append(write_panel(folder / f"run{len(found)}" / "panels" / "p", sets, name=name))
    return found


def edit(folder: Path, **changes: object) -> None:
    document = json.loads((folder / "panel.json").read_text())
    (folder / "panel.json").write_text(json.dumps(document | changes))


def test_numbers_stand_in_their_columns(tmp_path: Path) -> None:
    folders = three(tmp_path)
    records = json.loads((folders[0] / "panel.json").read_text())["records"]
    for record in records:
        if record["set"] == "quiz" and record["metric"] == "accuracy_change":
            record["p_holm"] = 0.01
    edit(folders[0], records=records)
    found = matrix(folders)
    assert found.columns == ("base", "sft", str(folders[1]), str(folders[2]))
    rows = {(row.name, row.metric): row.cells for row in found.rows}
    values = [
        {(r["set"], r["metric"], r["run"]): r["value"] for r in json.loads((f / "panel.json").read_text())["records"]}
        for f in folders
    ]
    for name, metric in (("exam", "accuracy"), ("quiz", "accuracy"), ("news", "bits_per_byte")):
        expected = [values[0][name, metric, "base"], *(value[name, metric, "model"] for value in values)]
        assert [cell and cell.value for cell in rows[name, metric]] == expected
    assert [bool(cell and cell.apart) for cell in rows["quiz", "accuracy"]] == [False, True, False, False]
    assert rows["exam", "kl_base_tuned"] == (None, Cell(0.1), Cell(0.1), Cell(0.1))
    mean = [cell and cell.value for cell in rows["mean of 2 general sets", "accuracy"]]
    exam, quiz = rows["exam", "accuracy"], rows["quiz", "accuracy"]
    assert mean == pytest.approx([(a.value + b.value) / 2 for a, b in zip(exam, quiz, strict=True) if a and b])
    assert ("mean of 1 general sets", "bits_per_byte") not in rows


def test_each_base_is_shown_once(tmp_path: Path) -> None:
    folders = three(tmp_path)
    edit(folders[2], base={"path": "other", "digest": "sha256:other"}, name="third")
    assert matrix(folders).columns == ("base", "other", "sft", "mol", "third")


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = three(tmp_path)
    edit(folders[0], name="[red]|")
    arguments = ["matrix", *map(str, folders), "--markdown", str(tmp_path / "m.md")]
    code, out, err = run_cli(arguments, monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "[red]|" in out
    assert (tmp_path / "m.md").read_text() == matrix_markdown(matrix(folders))
    assert r"| set | metric | base | \[red\]\| |" in (tmp_path / "m.md").read_text()


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"panel": {"digest": "sha256:q"}}, "template, sequence_length or overlap differ"),
        ({"panel": {"digest": "sha256:q"}, "sets": {}}, "the items of exam and quiz and news differ"),
    ],
)
def test_other_panels_do_not_stand_beside_it(
    changes: dict[str, object], how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    one, other, _ = three(tmp_path)
    edit(other, **changes)
    code, _, err = run_cli(["matrix", str(one), str(other)], monkeypatch, capsys)
    assert says(err, f"Error: '{one}' and '{other}' were not asked the same: {how}. …\n")
    assert code == 1


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (("base", "mol"), [("base", "mol")]),
        (("base", "sft", "mol", "l2"), [("base", "sft", "mol"), ("l2",)]),
        (("base", "runs/comparison/mol", "my-medical-run-2"), [("1", "2", "3")]),
    ],
)
def test_nothing_is_broken_at_80_columns(columns: tuple[str, ...], labels: list[tuple[str, ...]]) -> None:
    """Names that are too long are numbered and named below; numbers that are too many go into a second table."""
    cells = (Cell(0.2), Cell(0.2123, apart=True), Cell(1.0), Cell(3.0))[: len(columns)]
    rows = (Row("commonsenseqa", "accuracy_per_character", cells), Row("mean of 2 general sets", "accuracy", cells))
    terminal = Console(width=80)
    with terminal.capture() as shown:
        terminal.print(matrix_tables(Matrix(columns, rows), 80))
    lines = [line.split() for line in shown.get().splitlines()]
    assert [tuple(line[2:]) for line in lines if line[:2] == ["set", "metric"]] == labels
    values = [line[2:] for line in lines if line[:2] == ["commonsenseqa", "accuracy_per_character"]]
    assert list(chain(*values)) == [str(cell) for cell in cells]
    named = {line[0]: line[1] for line in lines if len(line) == 2 and line[0].isdigit()}
    assert named == ({} if "1" not in labels[0] else dict(zip(labels[0], columns, strict=True)))
