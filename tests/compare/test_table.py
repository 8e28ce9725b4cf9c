"""The table: appended, committed, continued, merged, torn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acclimate.runs.cells import Row, append, read_table
from acclimate.types.errors import RunError
from tests.compare.tables import row, texts
from tests.fixtures.nursery import Warm

ROOT = Path(__file__).parents[2]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "t.jsonl"
    rows = [row("sft", found=texts(0.2, 0.3), settings={"a.b": {"c": [1, "x"]}}), row("mol", outcome="diverged")]
    assert read_table(path) == []
    for each in rows:
        append(path, each)
    assert read_table(path) == rows
    assert len(path.read_text().splitlines()) == 2


def test_a_torn_last_line_goes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    append(path, row("sft"))
    whole = path.read_bytes()
    path.write_bytes(whole + '{"key": "é'.encode()[:-1])
    with pytest.raises(RunError, match="cannot be read"):
        read_table(path)
    path.write_bytes(whole + b'{"key": "e')
    assert read_table(path) == [row("sft")]
    append(path, row("mol"))
    assert read_table(path) == [row("sft"), row("mol")]
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # an editor took the last newline
    assert len(read_table(path)) == 2
    append(path, row("l2"))
    assert [each.method for each in read_table(path)] == ["sft", "mol", "l2"]


def test_equal_rows_count_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for each in (row("sft"), row("sft", made={"on": "another machine"}), row("sft", kind="panel")):
        append(path, each)
    assert [(each.kind, each.made) for each in read_table(path)] == [("run", {}), ("panel", {})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", r"key: Field required"),
        ("<<<<<<< HEAD", r"a merge conflict; every row is a line of its own: keep both sides"),
        ("[]", r"Input should be"),
        ('{"key": 1}', r"key: Input should be a valid string"),
        (
            '{"key":"k","kind":"run","method":"m","settings":{},"seed":0,"outcome":"finished","colour":1}',
            r"colour: Unexpected keyword argument",
        ),
    ],
)
def test_a_line_that_is_no_row(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    append(path, row("sft"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RunError, match=rf"^{path}:2: .*{reason}"):
        read_table(path)


def test_two_processes_append(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    workers = [Warm([sys.executable, "-m", __name__, str(path), name], cwd=ROOT) for name in "ab"]
    assert [worker.wait() for worker in workers] == [0, 0]
    found: list[Row] = read_table(path)
    assert {(each.method, each.seed) for each in found} == {(m, s) for m in "ab" for s in range(20)}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        append(tmp_path / "file" / "t.jsonl", row("sft"))


if __name__ == "__main__":  # one of the two processes that append
    for number in range(20):
        append(Path(sys.argv[1]), row(sys.argv[2], number, found=texts(0.1, 0.1)))
