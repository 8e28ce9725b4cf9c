"""What a killed process leaves half written is gone after the next start; what a living one writes is not."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from acclimate.data.prepare.store import key_of, stored
from acclimate.disk import files
from acclimate.disk.files import leftovers, sweep, write_text
from acclimate.model import export
from acclimate.runs.layout import Layout
from acclimate.types.errors import DataError, RunError
from acclimate.verbs import run as run_module
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.runs import config, killed_after, weights, write_corpora

STUCK = re.compile(r"\.(step-00000002|\.best\.stale)\.[0-9a-f]{32}\.removed")
WRITER = """
import os, signal, sys
from pathlib import Path
from acclimate.disk import files
os.fsync = lambda handle: (print("writing", flush=True), sys.stdin.read(1), {how})
files.write_text(Path(sys.argv[1]), "new")
"""


def writer(path: Path, how: str = "None") -> subprocess.Popen[str]:
    """Another process that stands still while it writes ``path``, until it is told to go on."""
    command = [sys.executable, "-c", WRITER.format(how=how), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_only_what_nobody_writes_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "summary.json"
    write_text(path, "old")
    process = writer(path)
    (partial,) = leftovers(tmp_path)
    sweep(leftovers(tmp_path))
    assert partial.exists()  # its writer lives
    process.communicate("x")
    assert path.read_text() == "new"
    assert leftovers(tmp_path) == []
    process = writer(path, "os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate("x")
    assert process.returncode == -signal.SIGKILL
    assert len(leftovers(tmp_path)) == 1
    sweep(leftovers(tmp_path))
    assert leftovers(tmp_path) == []
    assert [p.name for p in path.parent.iterdir()] == ["summary.json"]


def test_a_writer_whose_file_was_swept_first_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweeper may come between the making of a file and its lock."""
    original, swept = fcntl.flock, []

    def flock(handle: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.extend(tmp_path.glob(".*"))
            swept[0].unlink()
        original(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    write_text(tmp_path / "a.json", "{}")
    assert len(swept) == 1
    assert (tmp_path / "a.json").read_text() == "{}"
    assert leftovers(tmp_path) == []


def test_names_of_a_users_own_files_are_not_swept(tmp_path: Path) -> None:
    names = [".notes.partial", ".env", "x.partial", ".a.0123.partial", ".model.removed"]
    for name in names:
        (tmp_path / name).write_text("mine")
    assert leftovers(tmp_path) == []


def test_the_cache_is_swept_when_it_is_written(tmp_path: Path) -> None:
    def fill(writer: Any) -> dict[str, Any]:
        writer.append("a", np.arange(3))
        return {}

    stored(tmp_path, "tokens", key_of(1), fill)
    killed = tmp_path / "tokens" / f".{key_of(2)}.{'0' * 32}.partial"
    broken, unlocked, old = (killed.with_name(f"{killed.name[:-8]}{end}") for end in (".partial.broken", "", "1"))
    old = old.with_name(f".{key_of(3)}.{'1' * 32}")  # of a version that held no lock
    for folder in (killed, broken, unlocked, old):
        folder.mkdir()
        (folder / "a.bin").write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)

    def meanwhile(writer: Any) -> dict[str, Any]:
        living = writer.folder
        stored(tmp_path, "tokens", key_of(5), fill)  # another one sweeps
        assert living.is_dir()
        return fill(writer)

    found = stored(tmp_path, "tokens", key_of(4), meanwhile)
    assert found.arrays["a"].tolist() == [0, 1, 2]
    left = sorted(path.name for path in (tmp_path / "tokens").iterdir())
    assert left == sorted([key_of(1), key_of(4), key_of(5), unlocked.name])


def test_a_resumed_run_leaves_nothing_half_written(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, training={"micro_batch_size": 2, "save_steps": 2})
    killed_after(5, settings)
    run_dir = settings.run_dir
    (run_dir / f".data.json.{'0' * 32}.partial").write_text("{")
    (run_dir / "eval").mkdir()
    (run_dir / "eval" / f".domain.jsonl.{'1' * 32}.partial").write_text("{")
    for name in (".model.partial", "checkpoints/.step-00000006.partial", "checkpoints/.step-00000004.stale"):
        shutil.copytree(Layout(run_dir).step_checkpoints[0], run_dir / name)
    train(settings, resume=True)
    assert [path.name for path in run_dir.rglob(".*")] == []


@pytest.mark.parametrize("kind", ["rename", "rmtree"])
def test_an_old_checkpoint_that_cannot_be_removed_ends_no_training(
    kind: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system where a reader still has a file of it, or in a closed folder."""
    training = {"micro_batch_size": 2, "save_steps": 1, "keep_last": 1, "eval_steps": 1, "final": "best"}
    settings = config(
        pico_folder, corpora, tmp_path, training=training, evaluation={"validation_documents": 2, "generations": 0}
    )
    place, name = (Path, "rename") if kind == "rename" else (files.shutil, "rmtree")
    original = getattr(place, name)

    def refuses(path: Any, *arguments: Any, **options: Any) -> Any:
        stuck = Path(path).name.startswith("step-00000002") or STUCK.fullmatch(Path(path).name)
        if stuck and (kind == "rename" or not options):
            raise OSError(39, "Directory not empty")
        return original(path, *arguments, **options)

    console = Console(record=True, width=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, refuses)
        result = train(settings, console=console)
    said = console.export_text()
    assert said.count("step-00000002' could not be removed (Directory not empty); training goes on.") == 1
    assert result.summary
    seen = [path.name for path in Layout(result.run_dir).step_checkpoints]
    assert seen == (["step-00000002", "step-00000006"] if kind == "rename" else ["step-00000006"])


def test_a_model_that_cannot_be_put_in_place_is_a_sentence(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(pico_folder, corpora, tmp_path, training={"micro_batch_size": 2, "save_steps": 3})
    original = run_module.save_model

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for resume, place, name in ((False, export, "sync"), (True, export.os, "replace")):

        def save(*arguments: Any, place: Any = place, name: str = name, **options: Any) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(place, name, full)
                original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(run_module, "save_model", save)
            with pytest.raises(RunError, match=r"model' cannot be written \(No space left on device\)"):
                train(settings, resume=resume)
        assert not (settings.run_dir / "model").exists()
    assert train(settings, resume=True).summary


def test_metrics_reach_the_disk_before_a_checkpoint(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    original = os.fsync

    def fsync(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    train(config(pico_folder, corpora, tmp_path, training={"micro_batch_size": 2, "save_steps": 3}))
    states = [i for i, name in enumerate(order) if name == "state.json"]
    assert len(states) == 2
    for before, state in zip([0, states[0]], states, strict=True):
        assert "metrics.jsonl" in order[before:state]


def test_a_run_whose_text_changed_while_it_trained_keeps_its_model(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = write_corpora(tmp_path / "corpora")
    straight = train(config(pico_folder, corpora, tmp_path, name="straight"))
    settings = config(pico_folder, corpora, tmp_path)
    text = (corpora / "domain.jsonl").read_text()
    original = run_module.run_loop

    def loop(training: Any) -> None:
        original(training)
        (corpora / "domain.jsonl").write_text(text.replace("renal", "colon"))

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "run_loop", loop)
        with pytest.raises(DataError, match=r"changed.* The trained model is whole and kept in '.*run/model'"):
            train(settings)
    one, two = weights(straight.run_dir), weights(settings.run_dir)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    with pytest.raises(RunError, match=r"other contents of source 'domain'.* restore them"):
        train(settings, resume=True)
    (corpora / "domain.jsonl").write_text(text)
    assert train(settings, resume=True).summary == straight.summary
    assert evaluate_run(settings.run_dir).summary == straight.summary
    assert "finished" in json.loads((settings.run_dir / "provenance.json").read_text())
