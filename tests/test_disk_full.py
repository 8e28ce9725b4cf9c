"""A disk that is full at any write: one sentence, nothing lost or torn, and the run goes on when there is room."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.cli import main
from acclimate.disk.files import write_text
from acclimate.runs.folder import read_summary
from acclimate.runs.scores import read_lines
from acclimate.types.errors import RunError
from acclimate.verbs import export as export_module
from acclimate.verbs import run as run_module
from acclimate.verbs.run import train
from tests.fixtures.runs import config, settings
from tests.fixtures.sentences import says
from tests.test_wrong_inputs import run_cli

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def fill(patch: pytest.MonkeyPatch, name: str) -> list[Path]:
    """Writes of the file ``name`` go to a device that has no room; returns what was opened so."""
    met: list[Path] = []
    original = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wxa") and (path.name == name or path.name.startswith(f".{name}.")):
            met.append(path)
            options.pop("newline", None)
            return original(FULL, "wb" if "b" in mode else "w", *arguments, **options)
        return original(path, mode, *arguments, **options)

    patch.setattr(Path, "open", opened)
    return met


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """For writers that are not Python: the kernel itself refuses (as 'File too large')."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def cramped(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        with no_file_larger_than(20_000):
            return function(*arguments, **options)

    return call


def no_partial_left(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if "partial" in path.name or path.name.startswith(".")]


def write(tmp_path: Path, pico: Path, corpora: Path, **changes: Any) -> Path:
    path = tmp_path / "c.yaml"
    budget = {"steps": 4, "batch_tokens": 128}
    data = settings(pico, corpora, tmp_path / "runs", budget=budget, training={"save_steps": 2}, **changes)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


SENTENCE = (
    "Error: '{path}' cannot be written (No space left on device); what was saved before is unharmed. Make room or give "
    "another place, then run the command again, `acclimate train` with --resume.\n"
)


@pytest.fixture(scope="module")
def trained(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and its report, which each test leaves as complete as it was."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["acclimate", "train", str(write(folder, pico_folder, corpora))])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return folder / "runs" / "run"


@pytest.fixture(scope="module")
def undisturbed(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The summary of the run of every test here, when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    budget = {"steps": 4, "batch_tokens": 128}
    return train(config(pico_folder, corpora, folder, budget=budget, training={"save_steps": 2})).summary


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml", "data.json", "provenance.json", "metrics.jsonl", "eval/general.jsonl", "generations.json",
        "summary.json", "model/README.md", "report.html",
    ],
)  # fmt: skip
def test_every_file_of_a_run(
    name: str, pico_folder: Path, corpora: Path, tmp_path: Path, undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, run_dir = write(tmp_path, pico_folder, corpora), tmp_path / "runs" / "run"
    with monkeypatch.context() as patch:
        met = fill(patch, Path(name).name)
        code, _, err = run_cli(["train", str(path)], patch, capsys)
    assert met
    assert (code, err) == (1, SENTENCE.format(path=run_dir / name))
    assert not (run_dir / name).exists()
    assert no_partial_left(run_dir)
    for json_file in run_dir.glob("*.json"):
        json.loads(json_file.read_text())
    code, _, err = run_cli(["train", str(path), "--resume"], monkeypatch, capsys)
    assert code == 0, err
    assert read_summary(run_dir / "summary.json") == undisturbed
    assert (run_dir / name).stat().st_size > 0
    steps = [line["step"] for line in read_lines(run_dir / "metrics.jsonl")]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["summary.json", "general.jsonl", "report.html", "README.md", "generations.json"])
def test_what_was_measured_before_stays(
    name: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        fill(patch, name)
        code, _, err = run_cli(["eval", str(trained)], patch, capsys)
    assert code == 1
    assert "cannot be written (No space left on device)" in err
    assert {path for path in trained.rglob("*") if path.is_file()} == set(before)
    (full,) = [path for path in before if path.name == name]
    assert full.read_bytes() == before[full]


def test_the_token_cache(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    cache = tmp_path / "runs" / "cache"
    path = write(tmp_path, pico_folder, corpora, data={"cache_dir": str(cache)})
    with monkeypatch.context() as patch:
        met = fill(patch, "ids.bin")
        code, _, err = run_cli(["validate", str(path)], patch, capsys)
    assert met
    assert code == 3
    assert says(err, f"Error: {path}:29: data.cache_dir: '{cache}' cannot be written (No space left on device); …\n")
    assert not list((cache / "tokens").iterdir())
    assert run_cli(["validate", str(path)], monkeypatch, capsys)[0] == 0


@pytest.mark.parametrize("lora", [None, {"rank": 64}])
def test_the_model_and_its_export(
    lora: dict[str, Any] | None, pico_folder: Path, corpora: Path, tmp_path: Path, undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, run_dir = write(tmp_path, pico_folder, corpora, lora=lora), tmp_path / "runs" / "run"
    sentence = r"cannot be written \(.*File too large.*\); what was saved before is unharmed\."
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_model", cramped(run_module.save_model))
        code, _, err = run_cli(["train", str(path)], patch, capsys)
    assert code == 1
    assert re.search(f"'{run_dir}/model' {sentence}", err), err
    assert not (run_dir / "model").exists()
    assert [entry.name for entry in (run_dir / "checkpoints").iterdir() if entry.name.startswith("step")]
    assert no_partial_left(run_dir)
    code, _, err = run_cli(["train", str(path), "--resume"], monkeypatch, capsys)
    assert code == 0, err
    if lora is None:
        assert read_summary(run_dir / "summary.json") == undisturbed
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "save_model", cramped(export_module.save_model))
        code, _, err = run_cli(["export", str(run_dir), "--output", str(tmp_path / "out")], patch, capsys)
    assert code == 1
    assert re.search(f"'{tmp_path}/out' {sentence}", err), err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()


def test_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patch:
        fill(patch, "new.yaml")
        assert run_cli(["init", str(tmp_path / "new.yaml")], patch, capsys)[0] == 1
    assert not list(tmp_path.iterdir())


def test_a_disk_that_says_so_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems give out room they do not have until fsync."""
    path = tmp_path / "x.json"
    write_text(path, "old")

    def fsync(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunError, match=r"x\.json' cannot be written \(No space left on device\)"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "summary.json").symlink_to(tmp_path / "outside")
    write_text(tmp_path / "summary.json", "new")
    assert (tmp_path / "outside").read_text() == "mine"
    assert (tmp_path / "summary.json").read_text() == "new"
