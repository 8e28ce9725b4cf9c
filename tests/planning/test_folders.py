"""Run folders and comparisons as readings, and what makes them no table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.runs.cells import Row, append
from acclimate.types.errors import RunError, UsageError
from acclimate.verbs.planning.reading.comparisons import read_comparison
from acclimate.verbs.planning.reading.folders import read_folders
from acclimate.verbs.planning.reading.paths import read
from acclimate.verbs.planning.reading.readings import chosen
from acclimate.verbs.planning.reading.settings import check_alike
from tests.compare.tables import comparison_file, row, texts
from tests.fixtures.sentences import refused
from tests.reports.runs import write_run


def finished(folder: Path, kl: float, share: float = 0.5, **changes: Any) -> Path:
    """A run of mol that trained 1,000 tokens of the domain and as many of other text as its share leaves."""
    path = write_run(folder, "mol", kl_general=kl, kl_chat=kl, config=changes.pop("config", None), **changes)
    settings = yaml.safe_load((path / "config.yaml").read_text())
    settings["sources"] = {
        name: {"path": f"data/{name}.jsonl", "route": "domain" if name == "domain" else "general", "share": part}
        for name, part in (("domain", share), ("general", (1 - share) / 2), ("chat", (1 - share) / 2))
    }
    (path / "config.yaml").write_text(yaml.safe_dump(settings))
    line = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    trained = {"domain": 1000, "general": 500 * (1 - share) / share, "chat": 500 * (1 - share) / share}
    line |= {f"trained_tokens/{name}": n for name, n in trained.items()}
    with (path / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    return path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_folder_is_a_reading(tmp_path: Path) -> None:
    found = read_folders([finished(tmp_path / "a", 0.1), finished(tmp_path / "b", 0.2, share=0.8)])
    one, other = found.readings
    assert (one.run, one.method, one.learning_rate, one.weight, one.tokens) == ("a", "mol", 5e-4, 1.0, 1000)
    assert (one.share, round(other.share, 6)) == (0.5, 0.8)
    assert one.drift == pytest.approx(0.1, rel=0.1)
    assert other.drift == pytest.approx(0.2, rel=0.1)
    assert one.gain == pytest.approx(0.23, abs=0.02)  # 1.05 to 0.82 bits per byte
    assert found.configs.keys() == {"a", "b"}


def test_what_is_not_finished_or_was_steered_is_left_out_and_said(tmp_path: Path) -> None:
    a = finished(tmp_path / "a", 0.1)
    b, c = finished(tmp_path / "b", 0.1), finished(tmp_path / "c", 0.1)
    (b / "summary.json").unlink()
    (c / "retain.json").write_text("{}")
    (tmp_path / "d").mkdir()
    found = read_folders([a, b, c, tmp_path / "d"])
    assert [one.run for one in found.readings] == ["a"]
    assert "Left out: b, which is not finished (acclimate train --resume goes on with it)." in found.notes
    assert "Left out: c, whose strength was moved to meet a budget, so its drift tells the budget." in found.notes
    assert "Left out: d, which is no run folder: it has no config.yaml." in found.notes
    with refused("Nothing can be planned from these folders. Left out: b, …", RunError):
        read_folders([b])


def test_mixed_bases_tokenizers_and_texts_are_refused(tmp_path: Path) -> None:
    a, b = finished(tmp_path / "a", 0.1), finished(tmp_path / "b", 0.2)
    whole = json.loads((b / "provenance.json").read_text())
    for changes, says in (
        ({"model": whole["model"] | {"digest": "sha256:ffff00001111"}}, "another base (4c1b7a90, ffff0000)"),
        (
            {"model": whole["model"] | {"reading": "sha256:0123456789"}},
            "another tokenizer or configuration of the base",
        ),
        ({"held_out": {"general": "x"}}, "another held-out text"),
    ):
        edit(b / "provenance.json", **(whole | changes))
        with refused(f"Runs 'a' and 'b' have {says}…", UsageError):
            read_folders([a, b])


def test_runs_that_differ_in_more_than_a_law_is_over(tmp_path: Path) -> None:
    a = finished(tmp_path / "a", 0.1)
    b = finished(tmp_path / "b", 0.2, share=0.8, config={"data": {"sequence_length": 1024}})
    says = "Runs 'a' and 'b' differ in data.sequence_length (512, 1024), and a law is over share, learning rate…"
    with refused(says, UsageError):
        read([a, b])
    found = read_folders([a, finished(tmp_path / "c", 0.2, share=0.8, config={"optimizer": {"learning_rate": 1e-4}})])
    check_alike(found.configs)  # share and learning rate are what a law is over


def test_runs_of_sft_that_are_no_control_are_left_out(tmp_path: Path) -> None:
    shares = (0.25, 0.5, 0.8)
    runs = [finished(tmp_path / f"m{n}", 0.1 * (n + 1), share=share) for n, share in enumerate(shares)]
    plain = {"method": "sft"}
    runs.append(finished(tmp_path / "sft", 0.4, share=0.5, config=plain))
    runs.append(finished(tmp_path / "longer", 0.4, share=0.5, config=plain | {"data": {"sequence_length": 1024}}))
    found = read(runs)
    assert [one.run for one in found.control] == ["sft"]
    assert [(one.run, one.share) for one in found.readings][-1] == ("sft", 1.0)
    assert "Left out: 1 runs of sft that differ in more than their method." in found.notes


def table(path: Path, rows: list[Row]) -> Path:
    for one in rows:
        append(path, one)
    return path


def test_a_table_alone_knows_what_was_tuned(tmp_path: Path) -> None:
    rows = [
        row(
            "mol",
            found=texts(0.2, drift),
            key=f"{number:016x}",
            settings={"optimizer.learning_rate": rate},
            tokens={"domain": 1000.0, "general": 1000.0},
        )
        for number, (rate, drift) in enumerate([(1e-4, 0.05), (2e-4, 0.1), (4e-4, 0.2)])
    ]
    diverged = row("mol", key="f" * 16, outcome="diverged", settings={"optimizer.learning_rate": 1e-2})
    steered = row("mol", key="e" * 16, found=texts(0.2, 0.1), made={"retain": {}}, tokens={"domain": 1.0})
    other = row("mol", key="d" * 16, found=texts(0.2, 0.1), kind="trial", tokens={"domain": 1000.0})
    found = read_comparison(table(tmp_path / "a.jsonl", [*rows, diverged, steered, other]))
    assert [one.learning_rate for one in found.readings] == [1e-4, 2e-4, 4e-4]
    assert [one.share for one in found.readings] == [0.5] * 3
    assert [round(one.drift, 2) for one in found.readings] == [0.05, 0.1, 0.2]
    assert [note.split(",")[0] for note in found.notes] == [
        "Left out: 1 rows whose strength was moved to meet a budget",
        "Left out: 1 runs that diverged",
        "Left out: 1 trials",
    ]


def test_rows_of_two_bases_or_texts_are_refused(tmp_path: Path) -> None:
    one = row("mol", found=texts(0.2, 0.1), key="a" * 16, tokens={"domain": 1.0})
    other = row("mol", found=texts(0.2, 0.1), key="b" * 16, seed=1, tokens={"domain": 1.0}, digests={"base": "c"})
    with refused("Runs 'mol, seed 0' and 'mol, seed 1' have another base (b, c)…", UsageError):
        read_comparison(table(tmp_path / "a.jsonl", [one, other]))
    with refused("There is no table '…", RunError):
        read_comparison(tmp_path / "b.jsonl")


def test_a_comparison_file_knows_method_and_rate_of_its_rows(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    from acclimate.verbs.compare import load_comparison
    from acclimate.verbs.compare.cell import run_cell

    sections = {
        "held": {"set": {"method": "mol", "optimizer.learning_rate": 1e-4}},
        "less": {"set": {"method": {"name": "mol", "kl_weight": 2.0}, "sources.domain.share": 0.8}},
        "plain": {"set": {"method": "sft"}},
    }
    comparison = load_comparison(comparison_file(tmp_path, pico_folder, corpora, methods=sections))
    tokens = {"held": {"domain": 100.0, "general": 100.0}, "less": {"domain": 100.0, "chat": 25.0}}
    rows = [
        row(
            name, found=texts(0.2, 0.1), key=run_cell(comparison, name, {}, 0).key,
            tokens=tokens.get(name, {"domain": 100.0}),
        )
        for name in sections
    ]  # fmt: skip
    table(comparison.table_path, [*rows, row("held", seed=3, found=texts(0.2, 0.1), key="0" * 16)])
    found = read_comparison(tmp_path / "compare.yaml")
    assert [(one.column, one.method, one.learning_rate, one.weight) for one in found.readings] == [
        ("held", "mol", 1e-4, 1.0),
        ("less", "mol", 3e-3, 2.0),
        ("plain", "sft", 3e-3, 1.0),
    ]
    assert [one.share for one in found.readings] == [0.5, 0.8, 1.0]
    assert "1 rows of" in found.notes[0]
    mol = chosen(found)
    check_alike({name: found.configs[name] for name in found.configs}, [one.run for one in mol.control])
    assert [one.run for one in chosen(found, ["less"]).readings] == ["less, seed 0", "plain, seed 0"]
    assert all(math.isfinite(one.gain) for one in mol.readings)
