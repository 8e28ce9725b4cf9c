"""One table of runs, panels and comparisons."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from acclimate import runs
from acclimate.paired.ratio import ratio_change
from acclimate.reports import collect
from acclimate.runs.cells import ItemScores, append
from acclimate.runs.tidy_table import COLUMNS, Row
from acclimate.types.errors import RunError, UsageError
from tests.compare.tables import row, texts
from tests.reports.runs import add_panel, write_run
from tests.runs.test_folder import OLD


def one(rows: tuple[Row, ...], **where: object) -> Row:
    (found,) = [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]
    return found


def test_numbers_are_those_of_the_report(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, method, seed, steps=6) for name, method, seed in
               (("a", "mol", 0), ("b", "mol", 1), ("c", "sft", 0))]  # fmt: skip
    add_panel(folders[0])
    rows = runs.table(folders).rows
    for folder, run in zip(folders, collect(folders).folders, strict=True):
        for (name, metric), measure in run.measures.items():
            found = one(rows, run=folder.name, set=name, metric=metric, step=6)
            assert (found.value, found.low, found.high, found.n) == (
                measure.value,
                measure.low,
                measure.high,
                measure.n,
            )
        assert one(rows, run=folder.name, set="domain", metric="bits_per_byte_change").seed == run.seed
        for step, value in run.series("loss"):
            assert one(rows, run=folder.name, metric="loss", step=step).value == value
    assert len([r for r in rows if r.run == "base" and (r.set, r.metric) == ("chat", "bits_per_byte")]) == 2  # a seed
    panel = one(rows, run="a", set="exam/history", metric="accuracy_change")
    assert (panel.value, panel.role, panel.unit, panel.n) == (-0.25, "general", "share of items", 4)
    loss = one(rows, run="c", step=2, metric="loss/ce")
    assert (loss.set, loss.role, loss.unit) == ("domain", "domain", "nats/token")
    assert one(rows, run="c", step=2, set="domain", metric="eval/bits_per_byte").unit == "bits/byte"
    assert not any("/" in r.metric or r.metric == "loss" for r in runs.table(folders[2], steps=False).rows)


def test_a_comparison_beside_runs_and_a_panel(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    append(path, row("mol", 3, found=texts(0.2, 0.3, 0.01)))
    append(path, row("mol", kind="trial", found=texts(0.1, 0.3), settings={"optimizer.learning_rate": 0.001}))
    append(path, row("mol", 3, kind="panel", items={"exam/a": ItemScores([1, 0, 0, 1], [1, 1, 1, 0])}))
    rows = runs.table([path, OLD, OLD / "panels" / "exam"]).rows
    text = texts(0.2, 0.3, 0.01)["domain"]
    change = ratio_change(text.column("nats") / np.log(2), text.column("base_nats") / np.log(2), text.column("bytes"))
    found = one(rows, run="mol", set="domain", metric="bits_per_byte_change")
    assert (found.value, found.low, found.seed, found.n) == (change.value, pytest.approx(change.low), 3, 40)
    assert one(rows, run="trial mol optimizer.learning_rate=0.001", set="general", metric="kl_base_tuned").n == 40
    assert one(rows, run="mol", set="exam/a", metric="accuracy").value == 0.75
    assert one(rows, run="mol", set="exam/a", metric="accuracy_change").value == 0.25
    assert one(rows, run="base", set="exam/a").value == 0.5
    assert one(rows, run="trial base", set="domain").step == 0
    assert one(rows, run="folder-0.1", set="exam/quiz", metric="accuracy").n == 4  # in the run, and ...
    assert one(rows, run="folder", set="exam/quiz", metric="accuracy").n == 4  # ... by itself, as its model is called


def test_another_base_has_another_name(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a", steps=1), write_run(tmp_path / "b", steps=1, base={"chat": 0.9})]
    rows = runs.table(folders, steps=False).rows
    found = {(row.run, row.value) for row in rows if row.set == "chat" and row.run not in ("a", "b")}
    assert found == {("base", 0.71), ("base of b", 0.9)}
    assert [row.run for row in rows if row.set == "domain" and row.step == 0] == ["base"]


def test_to_pandas_and_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    table = runs.table(OLD)
    arrow, frame = table.to_arrow(), table.to_pandas()
    assert arrow.column_names == list(frame.columns) == list(COLUMNS)
    assert arrow.num_rows == len(frame) == len(table.rows)
    assert arrow.to_pylist()[0] == dict(zip(COLUMNS, vars(table.rows[0]).values(), strict=True))
    assert str(frame.dtypes["n"]) == "Int64"
    assert frame[frame["n"].isna()]["low"].isna().all()
    assert list(frame.query("metric == 'kl_base_tuned' and set == 'chat'")["run"]) == ["folder-0.1"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'acclimate\[pandas\]'"):
        table.to_pandas()


def test_what_is_none_of_these(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is nothing at"):
        runs.table(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"has no config\.yaml"):
        runs.table(tmp_path)
    with pytest.raises(UsageError, match="at least one run"):
        runs.table([])
