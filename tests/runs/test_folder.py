"""Folders of an older acclimate open; those of a newer one are refused with a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acclimate import runs
from acclimate.config.load import parse_config, save_config
from acclimate.reports import collect, write_report
from acclimate.reports.sections.memorisation import memorised
from acclimate.runs.beginning import differences_from, with_saved_choices
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.layout import Layout, append_line, read_json, write_json, write_lines
from acclimate.runs.scores import last_line, read_lines, read_scores
from acclimate.training.callbacks.log import MetricsLog
from acclimate.types.errors import RunError

OLD = Path(__file__).parent / "folder-0.1"
"""Of ``acclimate train`` and ``eval --panel`` of 0.1.0 on the pico model, less the model, checkpoints and the page."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_folder_without_versions_opens(tmp_path: Path) -> None:
    run = runs.open(OLD)
    assert (run.method, run.seed, run.sets[0].role) == ("mol", 0, "domain")
    assert [step for step, _ in run.series("loss")] == [1, 2, 3, 4]
    assert len(run.generations) == 2
    assert run.data["steps"] == 4
    assert run.measures["general", "kl_base_tuned"].n == len(read_scores(Layout(OLD).scores("general"))["nats"]) == 6
    page = write_report([OLD], tmp_path / "r.html").read_text()  # digests of eval/ and panels/ are held against it
    assert "exam" in page
    assert [check.source for *_, check in memorised(collect([OLD])).rows] == ["domain"]


@pytest.mark.parametrize(
    "name",
    [
        "summary.json",
        "provenance.json",
        "data.json",
        "generations.json",
        "memorisation/check.json",
        "panels/exam/panel.json",
        "eval/measured.json",
    ],
)
def test_a_newer_file_says_so(old: Path, name: str) -> None:
    document = json.loads((old / name).read_text())
    (old / name).write_text(json.dumps({"version": 2, "records": document}))
    with pytest.raises(RunError) as caught:
        write_report([old], old / "r.html")
    assert all(part in str(caught.value) for part in (f"'{old / name}'", "version 2", "up to version 1", "install"))


def test_a_newer_file_of_lines_says_so(old: Path) -> None:
    for path, read in ((Layout(old).metrics, runs.open), (Layout(old).scores("domain"), read_scores)):
        text = path.read_text()
        path.write_text('{"version": 2}\n' + text)
        with pytest.raises(RunError, match=f"'{path}' is of version 2"):
            read(old if read is runs.open else path)
        path.write_text('{"version": true}\n' + text)
        with pytest.raises(RunError, match="is damaged: its version is True"):
            read(old if read is runs.open else path)
        path.write_text('{"version": 1}\n' + text)
        read(old if read is runs.open else path)


def test_what_is_written_bears_a_version_and_is_read_without(tmp_path: Path) -> None:
    run = Layout(tmp_path)
    write_summary(run.summary, [{"value": 1}])
    write_json(run.data, {"steps": 2})
    write_lines(run.metrics, [{"step": 1}])
    append_line(run.metrics, {"step": 2})
    append_line(run.scores("new").parent.parent / "new.jsonl", {"a": 1})
    assert json.loads(run.summary.read_text()) == {"version": 1, "records": [{"value": 1}]}
    assert json.loads(run.data.read_text()) == {"version": 1, "steps": 2}
    assert (tmp_path / "new.jsonl").read_text() == '{"version": 1}\n{"a": 1}\n'
    assert read_summary(run.summary) == [{"value": 1}]
    assert read_json(run.data) == {"steps": 2}
    assert read_lines(run.metrics) == [{"step": 1}, {"step": 2}]
    assert last_line(run.metrics) == {"step": 2}


def test_lines_that_are_rewritten_become_of_this_version(old: Path) -> None:
    before = read_lines(Layout(old).metrics)
    MetricsLog(Layout(old).metrics).on_start(cast(Any, SimpleNamespace(step=3)))
    assert Layout(old).metrics.read_text().startswith('{"version": 1}\n{"step": 1,')
    assert read_lines(Layout(old).metrics) == before[:3]


@pytest.mark.parametrize(("name", "text", "part"), [
    ("summary.json", '{"version": 1}', "record 0 is not a measurement"), ("provenance.json", "[]", "no JSON object"),
    ("data.json", "{", "is not complete JSON"),
])  # fmt: skip
def test_a_damaged_file_is_named(old: Path, name: str, text: str, part: str) -> None:
    (old / name).write_text(text)
    with pytest.raises(RunError, match=part) as caught:
        collect([old])
    assert f"'{old / name}'" in str(caught.value)


def test_checkpoints_in_order(tmp_path: Path) -> None:
    run = Layout(tmp_path)
    for step in (100_000_000, 20, 3):
        run.checkpoint(step).mkdir(parents=True)
    (run.checkpoints / "step-new").mkdir()
    assert [path.name for path in run.step_checkpoints] == ["step-00000003", "step-00000020", "step-100000000"]


def test_the_page_has_every_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "run-folder.md").read_text()
    run = Layout(Path())
    places = [getattr(run, name) for name, member in vars(Layout).items() if isinstance(member, property)]
    paths = [place for place in places if isinstance(place, Path)]
    paths += [run.scores("SET"), run.reread("SOURCE"), run.panel("NAME").document, run.panel("NAME").items("SET")]
    assert len(paths) > 15
    assert [path for path in paths if f"`{path}" not in page] == []


def test_a_run_from_before_goes_on_with_the_shares_and_documents_that_it_began_with(tmp_path: Path) -> None:
    """0.1 wrote `share: null`, which is equal parts, and `heldout: 0.05`; what `auto` is by now changes neither."""
    plain: dict[str, Any] = {
        "name": "old", "output_dir": str(tmp_path), "model": {"path": "a"}, "budget": {"steps": 1},
        "sources": {name: {"path": name} for name in ("domain", "general", "web")},
    }  # fmt: skip
    now = parse_config(plain)
    old = {name: section | {"share": None, "heldout": 0.05} for name, section in plain["sources"].items()}
    (tmp_path / "old").mkdir()
    save_config(parse_config(plain | {"sources": old}), tmp_path / "old" / "config.yaml")
    assert differences_from(now) == []
    went_on = with_saved_choices(now).sources
    assert {(section.share, section.heldout) for section in went_on.values()} == {(None, 0.05)}
    other = {name: section | {"share": 0.5} for name, section in plain["sources"].items()}
    assert len(differences_from(parse_config(plain | {"sources": other}))) == 3
