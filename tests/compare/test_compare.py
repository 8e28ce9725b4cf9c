"""A whole comparison on the pico model: planned, run, stopped, continued, moved to another machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from acclimate.cli import training
from acclimate.cli.main import app
from acclimate.config.load import load_config
from acclimate.disk.files import alone
from acclimate.reports.page import markdown
from acclimate.runs.cells import Row, append, read_table
from acclimate.types.errors import ConfigError, RunError
from acclimate.verbs.compare import Comparison, Outcome, compare, execute, load_comparison, outcome_of, pending, work
from acclimate.verbs.compare.cell import run_cell, trial_cells
from acclimate.verbs.compare.execute import train_cell
from acclimate.verbs.compare.pages import page_of
from acclimate.verbs.panel import panel_digest
from tests.compare.tables import comparison_file
from tests.fixtures.nursery import Warm
from tests.fixtures.sentences import says
from tests.test_wrong_inputs import run_cli


def cells_in_this_process(patch: pytest.MonkeyPatch) -> list[list[str]]:
    """It saves the imports, and a run's own page; the commands in order. tests/test_docs.py has processes and pages."""
    ran: list[list[str]] = []

    def launch(arguments: list[str], processes: int) -> int:
        ran.append([*arguments, *(["--nproc", str(processes)] if processes > 1 else [])])
        app(arguments, standalone_mode=False)
        return 0

    patch.setattr(execute, "launch", launch)
    patch.setattr(training, "report_on", lambda *_: None)
    return ran


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    return cells_in_this_process(monkeypatch)


@dataclass(frozen=True)
class Whole:
    """A comparison from its first cell to its page."""

    comparison: Comparison
    outcome: Outcome
    commands: list[list[str]]

    def rows(self, method: str) -> list[Row]:
        """Of its trials and runs."""
        return [row for row in self.outcome.rows if row.method == method and row.kind != "panel"]


@pytest.fixture(scope="module")
def whole(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """sft and mol, two trials and a run each, on a panel, too; read only."""
    folder = tmp_path_factory.mktemp("whole")
    comparison = load_comparison(comparison_file(folder, pico_folder, corpora, panels=[write_panel(folder, corpora)]))
    with pytest.MonkeyPatch.context() as patch:
        commands = cells_in_this_process(patch)
        return Whole(comparison, compare(comparison, nproc=2), commands)


def write_panel(folder: Path, corpora: Path) -> str:
    items = [{"question": f"{i}?", "choices": [f"kidney {i}", f"river {i}"], "answer": f"kidney {i}"} for i in range(9)]
    (folder / "exam.jsonl").write_text("\n".join(map(json.dumps, items)))
    sets = {
        "exam": {"kind": "choice", "path": "exam.jsonl"},
        "other": {"kind": "text", "path": str(corpora / "general.jsonl"), "max_items": 8},
    }
    (folder / "panel.yaml").write_text(yaml.safe_dump({"sets": sets}))
    return "panel.yaml"


def test_a_dry_run_says_what_is_left(
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    in_process: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = comparison_file(tmp_path, pico_folder, corpora, panels=[write_panel(tmp_path, corpora)])
    code, said, _ = run_cli(["compare", str(path), "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert said.count("left: trial") == 4
    assert in_process == []


def test_trials_runs_panels_and_pages(whole: Whole, in_process: list[list[str]]) -> None:
    comparison, outcome = whole.comparison, whole.outcome
    rows = read_table(comparison.table_path)
    assert [(row.kind, row.method) for row in rows] == [
        *[("trial", "sft")] * 2, *[("trial", "mol")] * 2,
        ("run", "sft"), ("panel", "sft"), ("run", "mol"), ("panel", "mol"),
    ]  # fmt: skip
    assert len(whole.commands) == len(rows)
    assert all(command[0] == "eval" or command[-2:] == ["--nproc", "2"] for command in whole.commands)
    # Trials were measured on other documents than runs, and equal tokens were trained on.
    assert rows[0].texts["domain"].bytes != rows[4].texts["domain"].bytes
    assert len({row.tokens["domain"] for row in rows if row.kind == "run"}) == 1
    assert rows[4].costs["forward_tokens"] < rows[6].costs["forward_tokens"]  # mol has general rows and a reference
    assert len(rows[5].items["panel/exam"].model) == 9
    assert set(rows[5].texts) == {"panel/other"}
    # What was chosen is what the runs have.
    for method in ("sft", "mol"):
        assert outcome.chosen(method)
        assert {row.key for row in rows if row.kind == "run" and row.method == method} == {
            run_cell(comparison, method, outcome.chosen(method), 0).key
        }
    # Weights are gone, scores are not.
    folders = [
        folder for kind in ("trials", "runs") for folder in (comparison.folder / kind).iterdir() if folder.is_dir()
    ]
    assert len(folders) == 6
    assert not any((folder / "model").exists() for folder in folders)
    assert all((folder / "summary.json").is_file() for folder in folders)
    page = (comparison.folder / "comparison.md").read_text()
    for heading in ("## Methods", "## By set", "## Accuracy on panels", "## Costs", "## Trials"):
        assert heading in page
    assert page.count("| chosen |") == 2
    table = (comparison.folder / "comparison.csv").read_text().splitlines()
    assert table[0] == "method,metric,seed,value,low,high"
    assert len(table) == 1 + 2 * 3 * 2
    # The same call again has nothing to do.
    compare(comparison)
    assert in_process == []


def test_two_panels_an_edited_one_and_a_run_that_is_trained_again(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    methods = {"sft-0.5": {"set": {"method": "sft"}}}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods, panels=["panel.yaml", "second.yaml"])
    write_panel(tmp_path, corpora)
    items = [json.dumps({"text": f"the kidney of patient {i}"}) for i in range(9)]
    (tmp_path / "words.jsonl").write_text("\n".join(items))
    second = {"sets": {"words": {"kind": "cloze", "path": "words.jsonl"}}}
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(second))
    comparison = load_comparison(path)
    outcome = compare(comparison)
    assert [row.digests.get("panel.name") for row in outcome.rows] == [None, "panel", "second"]
    assert [command[1] for command in in_process if command[0] == "train"] == [
        str(comparison.folder / "runs" / f"sft-0.5-0-{outcome.rows[0].key[:8]}.yaml")
    ]
    # The run's lines are gone, and so are its weights: it is trained again, with the same result.
    lines = comparison.table_path.read_text()
    comparison.table_path.write_text("")
    again = compare(comparison)
    assert [row.texts for row in again.rows] == [row.texts for row in outcome.rows]
    # Other questions under the same name.
    comparison.table_path.write_text(lines)
    (tmp_path / "words.jsonl").write_text("\n".join(items[1:]))
    panel_digest.cache_clear()
    with pytest.raises(RunError, match=r"^The panel '.*second.yaml'.* is another one than"):
        outcome_of(comparison)
    (tmp_path / "words.jsonl").unlink()  # on a machine without the files the table is still read
    panel_digest.cache_clear()
    assert len(outcome_of(comparison).rows) == 3


def test_a_panel_on_a_model_that_is_elsewhere_comes_last(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    """Weights were deleted before the panel was asked for: the other cells are done, then a sentence."""
    methods = {name: {"set": {"method": name}} for name in ("sft", "replay")}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    compare(load_comparison(path), only=["sft"])
    write_panel(tmp_path, corpora)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"panels": ["panel.yaml"]}))
    comparison = load_comparison(path)
    with pytest.raises(RunError, match=r"^The panel '.*' is not measured on sft, seed 0 yet"):
        compare(comparison)
    rows = [(row.method, row.kind) for row in read_table(comparison.table_path)]
    assert rows == [("sft", "run"), ("replay", "run"), ("replay", "panel")]
    assert (comparison.folder / "comparison.md").is_file()


def test_a_cell_that_began_with_other_settings_of_the_machine_begins_again(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"sft": {"set": {"method": "sft"}}}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    finish = execute.launch

    def fails(arguments: list[str], processes: int) -> int:
        with monkeypatch.context() as patch:
            patch.setattr("acclimate.verbs.run.run_loop", lambda training: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                finish(arguments, processes)
        return 1

    with monkeypatch.context() as patch:
        patch.setattr(execute, "launch", fails)
        with pytest.raises(RunError, match="exit code 1"):
            compare(load_comparison(path))
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    run["training"]["micro_batch_size"] = 1
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert [row.kind for row in compare(load_comparison(path)).rows] == ["run"]


def test_a_row_keeps_what_became_of_a_budget(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    """Two budgets are two methods of one table."""
    methods = {f"mol-{kl}": {"set": {"method": "mol", "retain": {"kl": kl}}} for kl in (0.01, 1.0)}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    run["evaluation"] = run.get("evaluation", {}) | {"validation_documents": 2}
    run["training"]["eval_steps"] = 1
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    compare(load_comparison(path))
    rows = read_table(load_comparison(path).table_path)
    assert [row.made["retain"]["limits"] for row in rows] == [{"mean": 0.01}, {"mean": 1.0}]


def test_a_rule_that_could_look_at_nothing_is_refused_before_any_work(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    path = comparison_file(tmp_path, pico_folder, corpora)
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    for name in ("general", "chat"):
        run["sources"][name]["heldout"] = 0
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    with pytest.raises(ConfigError, match=r"^tuning.rule: retain looks at drift .* set rule: domain\.$"):
        compare(load_comparison(path))
    assert in_process == []


def test_a_run_whose_costs_are_not_written_is_a_sentence(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    path = comparison_file(tmp_path, pico_folder, corpora, methods={"sft": {"set": {"method": "sft"}}})
    comparison = load_comparison(path)
    cell = run_cell(comparison, "sft", {}, 0)
    train_cell(cell, 1)
    record = json.loads((cell.config.run_dir / "provenance.json").read_text())
    del record["train_seconds"]
    (cell.config.run_dir / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"provenance.json' does not say .* \(train_seconds\)"):
        compare(comparison)
    shutil.rmtree(cell.config.run_dir)
    assert [row.kind for row in compare(comparison).rows] == ["run"]


def test_a_route_does_not_make_a_domain(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    methods = {"both": {"set": {"method": "sft", "sources.general.route": "domain"}}}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    with pytest.raises(ConfigError, match=r"methods.both: sources.general.route: 'domain' .* 'general'"):
        compare(load_comparison(path))
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    run["sources"]["general"]["role"] = "general"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    comparison = load_comparison(path)
    assert len(list(pending(comparison, outcome_of(comparison)))) == 1


def test_sets_without_right_and_wrong_are_left_out_and_named(tmp_path: Path, pico_folder: Path, corpora: Path) -> None:
    comparison = load_comparison(comparison_file(tmp_path, pico_folder, corpora))
    document = {"panel": {"name": "p", "digest": "d"}, "sets": {"f1": {"kind": "lm_eval"}, "yes": {"kind": "lm_eval"}}}
    (tmp_path / "panel.json").write_text(json.dumps(document | {"versions": {}}))
    (tmp_path / "f1.jsonl").write_text(json.dumps({"base_f1": 0.4, "model_f1": 0.5}))
    (tmp_path / "yes.jsonl").write_text(json.dumps({"base_correct": True, "model_correct": False}))
    row = execute.panel_row(run_cell(comparison, "sft", {}, 0), tmp_path, None)
    assert (row.items["p/yes"].base, row.items["p/yes"].model) == ([1], [0])
    assert list(row.items) == ["p/yes"]
    assert row.made["not_right_or_wrong"] == ["f1"]


def test_it_is_continued_on_another_machine(
    whole: Whole, pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    shutil.copytree(pico_folder, tmp_path / "model")
    shutil.copytree(corpora, tmp_path / "corpora")
    second = load_comparison(comparison_file(tmp_path, tmp_path / "model", tmp_path / "corpora"))
    for row in whole.rows("sft"):
        append(second.table_path, row)
    outcome = compare(second)
    assert len(in_process) == 3  # two trials and a run of mol
    assert not any("sft" in command[1] for command in in_process)
    assert [standing.method for standing in outcome.standings] == ["sft", "mol"]


def test_rows_of_other_documents_are_refused(
    whole: Whole, pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    path = comparison_file(tmp_path, pico_folder, corpora)
    for row in whole.rows("sft"):
        append(load_comparison(path).table_path, row)
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    shutil.copytree(corpora, tmp_path / "corpora")
    text = (corpora / "domain.jsonl").read_text().replace("kidney", "liver")
    (tmp_path / "corpora" / "domain.jsonl").write_text(text)
    run["sources"]["domain"]["path"] = str(tmp_path / "corpora" / "domain.jsonl")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    with pytest.raises(
        RunError, match=r"rows that do not compare: .*domain is another one for mol, seed 0, than for sft"
    ):
        compare(load_comparison(path))


def test_a_key_says_what_is_trained_and_not_where(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    def keys(folder: str, model: Path = pico_folder, **run_changes: Any) -> list[str]:
        path = comparison_file(tmp_path / folder, model, corpora)
        run = yaml.safe_load((path.parent / "run.yaml").read_text())
        for name, value in run_changes.items():
            run[name] = run[name] | value
        (path.parent / "run.yaml").write_text(yaml.safe_dump(run))
        comparison = load_comparison(path)
        cells = [cell for method in comparison.methods for cell in trial_cells(comparison, method)]
        return [cell.key for cell in [*cells, run_cell(comparison, "sft", {}, 0), run_cell(comparison, "sft", {}, 1)]]

    shutil.copytree(pico_folder, tmp_path / "elsewhere")
    first = keys("a")
    assert len(set(first)) == len(first) == 6
    assert keys("b", tmp_path / "elsewhere") == first
    assert keys("c", training={"micro_batch_size": 1, "save_steps": 1}, data={"cache_dir": "x"}) == first
    assert not set(keys("d", optimizer={"learning_rate": 1e-3})[2:]) & set(first)
    assert not set(keys("e", budget={"batch_tokens": 64})) & set(first)


def test_a_statistic_is_taken_once_and_counted(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    methods = {
        "ewc": {
            "set": {"method": "ewc"},
            "tune": {"method.weight": [0.1, 1]},
            "prepare": {"tokens": 300, "labels": "sampled"},
        },
        "sft": {"set": {"method": "sft"}, "tune": {"optimizer.learning_rate": [0.001, 0.003]}},
    }
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods, seeds=[0, 1])
    comparison = load_comparison(path)
    outcome = compare(comparison)
    (recording,) = [command for command in in_process if command[0] == "stats"]
    assert recording[1] == "fisher"
    assert recording[-4:] == ["--tokens", "300", "--labels", "sampled"]
    (store,) = (comparison.folder / "stores").glob("fisher-*/manifest.json")
    manifest = json.loads(store.read_text())
    costs = {row.method: row.costs for row in outcome.rows if row.kind == "run"}
    assert costs["ewc"]["preparation_forward_tokens"] == manifest["forward_tokens"] > 3 * 300
    assert costs["sft"]["preparation_forward_tokens"] == 0
    assert costs["ewc"]["stored_mib"] > costs["sft"]["stored_mib"]
    # The key says how the statistic is taken and not where it lies.
    shutil.copytree(tmp_path, tmp_path / "copy")
    moved = yaml.safe_load(path.read_text()) | {"output_dir": str(tmp_path / "copy" / "runs")}
    (tmp_path / "copy" / "compare.yaml").write_text(yaml.safe_dump(moved))
    copied = load_comparison(tmp_path / "copy" / "compare.yaml")
    assert not list(pending(copied, outcome_of(copied)))
    moved["methods"]["ewc"]["prepare"]["tokens"] = 301
    (tmp_path / "copy" / "compare.yaml").write_text(yaml.safe_dump(moved))
    copied = load_comparison(tmp_path / "copy" / "compare.yaml")
    assert [task.cell.method for task in pending(copied, outcome_of(copied))] == ["ewc", "ewc"]


def test_an_expert_is_trained_once_apart_from_what_is_measured_and_counted(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]]
) -> None:
    methods = {
        "dae": {
            "set": {"method": "dae"},
            "tune": {"optimizer.learning_rate": [0.001, 0.003]},
            "prepare": {"expert": {"method": "sft", "optimizer.learning_rate": 0.01}},
        },
        "sft": {"set": {"method": "sft"}, "tune": {"optimizer.learning_rate": [0.001, 0.003]}},
    }
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    comparison = load_comparison(path)
    first = next(pending(comparison, outcome_of(comparison)))
    (made,) = first.cell.preparations
    with alone(made.folder.with_suffix(".lock")):  # another process is making it: there is other work
        assert not work._take(comparison, first, (), 1, Console(quiet=True))
    assert not in_process
    outcome = compare(comparison)
    (expert,) = (comparison.folder / "stores").glob("expert-*/")
    assert len([command for command in in_process if command[1] == f"{expert}.yaml"]) == 1
    config = load_config(expert / "config.yaml")
    assert (config.method, config.optimizer.learning_rate, config.data.split) == ("sft", 0.01, "validation")
    record = json.loads((expert / "provenance.json").read_text())
    rows = [row for row in outcome.rows if row.method == "dae"]
    assert [row.kind for row in rows] == ["trial", "trial", "run"]
    assert all(row.costs["preparation_forward_tokens"] == record["forward_tokens"] > 0 for row in rows)
    key = run_cell(comparison, "dae", outcome.chosen("dae"), 0).key
    moved = yaml.safe_load(path.read_text()) | {"output_dir": str(tmp_path / "elsewhere")}
    path.write_text(yaml.safe_dump(moved))
    assert run_cell(load_comparison(path), "dae", outcome.chosen("dae"), 0).key == key
    assert outcome_of(load_comparison(path)).rows == outcome.rows
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    other = run | {"schedule": {"type": "linear"}}  # of the expert alone, since the method says its own
    for each in moved["methods"].values():
        each["set"]["schedule.type"] = "cosine"
    path.write_text(yaml.safe_dump(moved))
    again = compare(load_comparison(path), only=["dae"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(RunError, match=r"dae .*, seed 0 with another expert than 'run.yaml'"):
        outcome_of(load_comparison(path))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert outcome_of(load_comparison(path)).rows == again.rows
    moved["methods"]["dae"]["prepare"]["expert"]["optimizer.learning_rate"] = 0.02
    path.write_text(yaml.safe_dump(moved))
    assert run_cell(load_comparison(path), "dae", outcome.chosen("dae"), 0).key != key


def test_callers_share_the_work(
    pico_folder: Path, corpora: Path, tmp_path: Path, in_process: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell that another one is at is left to it, and nothing is done twice."""
    comparison = load_comparison(comparison_file(tmp_path, pico_folder, corpora))
    (first, *others) = pending(comparison, outcome_of(comparison))
    with ExitStack() as other:
        other.enter_context(alone(comparison.folder / "claims" / first.cell.key))

        def finish(seconds: float) -> None:
            """The other one finishes its cell while this one waits."""
            chosen = outcome_of(comparison).chosen("mol")
            done = {row.key for row in read_table(comparison.table_path)}
            assert done == {task.cell.key for task in others} | {run_cell(comparison, "mol", chosen, 0).key}
            append(comparison.table_path, train_cell(first.cell, 1))
            other.close()

        monkeypatch.setattr(work, "sleep", finish)
        console = Console(record=True, width=1000)
        outcome = compare(comparison, console=console)
    said = console.export_text()
    assert says(said, f"… Waiting for … {first.name}. …")
    assert len({command[1] for command in in_process}) == len(in_process) == len(outcome.rows) == 6
    assert work._take(comparison, first, (), 1, console)  # was not there to be done any more
    assert len(in_process) == 6


def test_a_diverged_trial_is_a_result(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two trials one has infinite weights: it is a row, it is never chosen, and it is not tried again."""
    wild = {"method": "sft", "optimizer.eps": 1e-30, "optimizer.weight_decay": 1e30, "schedule.type": "constant"}
    methods = {"sft": {"set": wild, "tune": {"optimizer.learning_rate": [1, 1e-30]}}}
    comparison = load_comparison(comparison_file(tmp_path, pico_folder, corpora, methods=methods))

    def launch(arguments: list[str], processes: int) -> int:
        monkeypatch.setattr(sys, "argv", ["acclimate", *arguments])
        from acclimate.cli.main import _run

        return _run()

    monkeypatch.setattr(execute, "launch", launch)
    outcome = compare(comparison)
    assert [(row.kind, row.outcome) for row in outcome.rows] == [
        ("trial", "diverged"), ("trial", "finished"), ("run", "finished")
    ]  # fmt: skip
    assert outcome.chosen("sft") == {"optimizer.learning_rate": 1e-30}
    assert "diverged" in (comparison.folder / "comparison.md").read_text()
    assert not list(pending(comparison, outcome))
    # A run that diverged after trials that did not leaves a line in both tables.
    lost = replace(
        outcome, rows=[replace(row, outcome="diverged") if row.kind == "run" else row for row in outcome.rows]
    )
    assert lost.diverged == ["sft"]
    assert "| sft |" in markdown(page_of(lost)).split("## By set")[0]


def test_a_cell_that_fails_leaves_no_row(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = load_comparison(comparison_file(tmp_path, pico_folder, corpora))
    monkeypatch.setattr(execute, "launch", lambda arguments, processes: 1)
    with pytest.raises(RunError, match=r"^sft optimizer.learning_rate=0.001, seed 0 .* exit code 1\b"):
        compare(comparison)
    assert not comparison.table_path.exists()


def test_sigterm_stops_and_the_same_command_goes_on(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    methods = {"sft": {"set": {"method": "sft"}}}
    path = comparison_file(tmp_path, pico_folder, corpora, methods=methods)
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    run["budget"]["steps"] = 4000
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    command = [sys.executable, "-m", "acclimate", "compare", str(path)]
    with (tmp_path / "out").open("w") as out:
        process = Warm(command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        logs = (tmp_path / "runs" / "compare" / "runs").glob
        while not any(log.read_text().count("\n") >= 3 for log in logs("*/metrics.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143, (tmp_path / "out").read_text()
    assert "the same command goes on from there" in (tmp_path / "out").read_text()
    comparison = load_comparison(path)
    assert read_table(comparison.table_path) == []
    (checkpoint,) = comparison.folder.glob("runs/sft-0-*/checkpoints/step-*")
    assert not any(comparison.folder.glob("runs/sft-0-*/model"))
    assert json.loads((checkpoint / "state.json").read_text())["step"] >= 3
    assert outcome_of(comparison).standings == []
