"""A checkpoint that is written while the next steps run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from acclimate.config.load import save_config
from acclimate.parallel import saved
from acclimate.parallel.background import FolderWriter
from acclimate.parallel.saved import read_folder
from acclimate.parallel.world import SOLO
from acclimate.runs.layout import Layout
from acclimate.types.errors import RunError
from acclimate.verbs.run import train
from tests.fixtures.nursery import Warm
from tests.fixtures.runs import config, killed_after, metric_lines, same_weights
from tests.fixtures.sentences import quoted

TRAINING = {"micro_batch_size": 2, "save_steps": 2, "keep_last": 9}


def test_kill_9_while_a_checkpoint_is_written(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Steps were taken meanwhile; the half of a checkpoint is never seen, and the run goes on from the one before."""
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", training=TRAINING))
    settings = config(pico_folder, corpora, tmp_path, name="killed", training=TRAINING)
    save_config(settings, path := tmp_path / "killed.yaml")
    command = [sys.executable, "-m", "tests.training.slow_disk", "train", str(path)]
    process = Warm(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run, deadline = Layout(settings.run_dir), time.monotonic() + 60
    half = run.checkpoints / ".step-00000004.partial"
    while not (half.is_dir() and run.metrics.read_text().count('"step"') >= 6):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert half.is_dir()
    assert [folder.name for folder in run.step_checkpoints] == ["step-00000002"]
    resumed = train(settings, resume=True)
    assert not half.exists()
    assert same_weights(straight.run_dir, resumed.run_dir)
    assert metric_lines(straight.run_dir) == metric_lines(resumed.run_dir)
    assert straight.summary == resumed.summary


def test_both_ways_write_the_same(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    runs = [
        train(
            config(pico_folder, corpora, tmp_path, name=f"{behind}", training=TRAINING | {"save_in_background": behind})
        ).run_dir
        for behind in (True, False)
    ]
    one, two = ([path.name for path in Layout(run).step_checkpoints] for run in runs)
    assert one == two == [f"step-{step:08d}" for step in (2, 4, 6)]
    for name in one:
        first, second = (Layout(run).checkpoints / name / "tensors-00000.safetensors" for run in runs)
        assert first.read_bytes() == second.read_bytes()


def test_the_copy_is_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step changes while the thread waits is not in the folder, the second time neither."""
    going, original = threading.Event(), saved.save_file

    def waiting(*given: Any) -> None:
        going.wait(10)
        original(*given)

    monkeypatch.setattr(saved, "save_file", waiting)
    writer, weight, listed = FolderWriter(SOLO, behind=True), torch.zeros(4), [1]
    for number in range(2):
        going.clear()
        writer.write(tmp_path / f"{number}", {"w": weight}, {"listed": listed})
        weight += 1
        listed.append(number)
        assert not (tmp_path / f"{number}").exists()
        going.set()
        writer.wait()
        tensors, document = read_folder(tmp_path / f"{number}")
        assert torch.equal(tensors["w"], torch.full((4,), float(number)))
        assert len(document["listed"]) == 1 + number


def test_a_disk_that_fills_behind_the_steps(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next checkpoint raises the sentence; the last one written is whole."""
    settings, original = config(pico_folder, corpora, tmp_path, training=TRAINING), saved.save_file

    def full(tensors: Any, path: Path) -> None:
        if "step-00000004" in path.parent.name:
            raise OSError(28, "No space left on device")
        original(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(saved, "save_file", full)
        with pytest.raises(RunError, match=quoted("The checkpoint '…step-00000004' could not be written (…); …")):
            train(settings)
    run = Layout(settings.run_dir)
    assert [folder.name for folder in run.step_checkpoints] == ["step-00000002"]
    assert metric_lines(settings.run_dir)[-1]["step"] == 6
    assert train(settings, resume=True).summary


def test_an_end_waits_for_the_checkpoint(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that another error brings."""
    original = saved.save_file

    def slow(*given: Any) -> None:
        time.sleep(0.5)
        original(*given)

    monkeypatch.setattr(saved, "save_file", slow)
    settings = config(pico_folder, corpora, tmp_path, training=TRAINING)
    killed_after(2, settings)
    assert [folder.name for folder in Layout(settings.run_dir).step_checkpoints] == ["step-00000002"]
    assert not [thread for thread in threading.enumerate() if thread.name == "acclimate-save"]
