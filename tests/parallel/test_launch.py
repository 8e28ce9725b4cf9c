"""Whole runs in two processes: --nproc, resuming at another world size, signals, and a process that dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from acclimate.config.load import RunConfig, save_config
from acclimate.parallel.launch import _wait
from acclimate.parallel.saved import read_folder
from acclimate.runs.layout import Layout
from acclimate.runs.scores import read_lines
from acclimate.training.checkpoint import load_checkpoint, save_checkpoint
from acclimate.verbs.run import train
from tests.fixtures.gradients import built
from tests.fixtures.nursery import FRESH, Warm
from tests.fixtures.runs import config, weights
from tests.fixtures.sentences import says

TRAINING = {"micro_batch_size": 2, "save_steps": 2, "eval_steps": 2, "keep_last": 9}
VARIANTS = {"full": {}, "lora": {"lora": {"rank": 4, "dropout": 0.1}, "method": ["mol", "l2"]}}


def start(settings: RunConfig, *options: str) -> Warm:
    path = Path(settings.output_dir) / f"{settings.name}.yaml"
    save_config(settings, path)
    command = [sys.executable, "-m", "acclimate", "train", str(path), *options]
    return Warm(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(settings: RunConfig, *options: str) -> None:
    process = start(settings, *options)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors


def losses(run_dir: Path) -> list[float]:
    return [line["loss"] for line in read_lines(run_dir / "metrics.jsonl")]


def back_to(run_dir: Path, step: int) -> None:
    """The run folder as it was when that step's checkpoint had just been written."""
    shutil.rmtree(run_dir / "model")
    (run_dir / "summary.json").unlink()
    for checkpoint in Layout(run_dir).step_checkpoints:
        if checkpoint.name > f"step-{step:08d}":
            shutil.rmtree(checkpoint)


@pytest.mark.parametrize(("strategy", "variant"), [("ddp", "full"), ("fsdp", "full"), ("fsdp", "lora")])
def test_two_processes(
    strategy: str, variant: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to one process; resumed by two bitwise equal; resumed by one from the same state bitwise.

    Once the ranks hash by seeds of their own, as those of a launcher without a nursery do.
    """
    changes: dict[str, Any] = {"training": TRAINING, "parallel": {"strategy": strategy}} | VARIANTS[variant]
    settings = config(pico_folder, corpora, tmp_path, name="two", **changes)
    with monkeypatch.context() as patch:
        if (strategy, variant) == ("fsdp", "lora"):
            patch.setenv(FRESH, "1")
        run(settings, "--nproc", "2")
    straight, straight_losses = weights(settings.run_dir), losses(settings.run_dir)
    assert sorted(path.name for path in settings.run_dir.iterdir() if not path.name.startswith(".")) == [
        "checkpoints", "config.yaml", "data.json", "eval", "generations.json", "metrics.jsonl", "model",
        "provenance.json", "report.html", "summary.json",
    ]  # fmt: skip
    record = json.loads((settings.run_dir / "provenance.json").read_text())
    assert record["processes"] == 2
    assert record["moved"]["relative"] > 0
    files = [path.name for path in Layout(settings.run_dir).step_checkpoints[0].glob("tensors-*")]
    assert len(files) == (2 if strategy == "fsdp" else 1)
    if variant == "full":  # dropout differs between ranks
        alone = train(config(pico_folder, corpora, tmp_path, name="one", **changes))
        one = weights(alone.run_dir)
        assert straight.keys() == one.keys()
        assert all((straight[name] - one[name]).abs().max() < 1e-5 for name in one)
        assert losses(alone.run_dir) == pytest.approx(straight_losses, abs=1e-6)
        said = json.loads((alone.run_dir / "provenance.json").read_text())["moved"]
        assert record["moved"] == pytest.approx(said, rel=1e-5)

    back_to(settings.run_dir, 4)
    run(settings, "--nproc", "2", "--resume")
    resumed = weights(settings.run_dir)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert losses(settings.run_dir) == straight_losses

    training = built(settings, torch.float32)
    before = Layout(settings.run_dir).step_checkpoints[0]
    load_checkpoint(training, before)
    save_checkpoint(training, tmp_path / "again")
    saved, loaded = read_folder(before)[0], read_folder(tmp_path / "again")[0]
    assert {key for key in saved if "random" not in key} == {key for key in loaded if "random" not in key}
    assert all(torch.equal(saved[key], loaded[key]) for key in saved if not key.startswith("random/1"))
    if variant == "full":
        back_to(settings.run_dir, 4)
        train(settings, resume=True)
        assert losses(settings.run_dir) == pytest.approx(straight_losses, abs=1e-6)
        back_to(alone.run_dir, 4)
        run(config(pico_folder, corpora, tmp_path, name="one", **changes), "--nproc", "2", "--resume")
        assert losses(alone.run_dir) == pytest.approx(straight_losses, abs=1e-6)


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_methods_of_tokens_and_weights_in_two_processes(
    lora: dict[str, int] | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    """An adapter as expert, a first pass, labels chosen by the base, and a choice between weights that are spread."""
    expert = train(config(pico_folder, corpora, tmp_path, name="expert", method="sft", lora={"rank": 4})).run_dir
    changes: dict[str, Any] = {
        "method": [
            {"name": "dae", "expert": str(expert), "distillation_weight": 0.5}, "talr",
            {"name": "stm", "percentile": 80}, {"name": "wise", "alpha": [0.25, 0.75]},
        ],
        "evaluation": {"validation_documents": 2}, "parallel": {"strategy": "fsdp"}, "lora": lora,
    }  # fmt: skip
    spread = config(pico_folder, corpora, tmp_path, name="two", **changes)
    run(spread, "--nproc", "2")
    alone = train(config(pico_folder, corpora, tmp_path, name="one", **changes)).run_dir
    one, two = weights(alone), weights(spread.run_dir)
    assert all((one[name] - two[name]).abs().max() < 1e-5 for name in one)
    assert losses(alone) == pytest.approx(losses(spread.run_dir), abs=1e-6)
    chosen = [json.loads((folder / "interpolation.json").read_text()) for folder in (alone, spread.run_dir)]
    assert chosen[0]["alpha"] == chosen[1]["alpha"]
    values = [[record["value"] for record in choice["records"]] for choice in chosen]
    assert values[0] == pytest.approx(values[1], abs=1e-5)


def test_a_forgetting_budget_in_two_processes(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Both ranks move the strength alike, as one process does, and choose the same weights."""
    changes: dict[str, Any] = {
        "retain": {"kl": 0.002}, "optimizer": {"learning_rate": 0.02}, "evaluation": {"validation_documents": 2},
        "training": {"micro_batch_size": 2, "eval_steps": 2},
    }  # fmt: skip
    spread = config(pico_folder, corpora, tmp_path, name="two", **changes)
    run(spread, "--nproc", "2")
    alone = train(config(pico_folder, corpora, tmp_path, name="one", **changes)).run_dir
    found = [json.loads(Layout(folder).retain.read_text()) for folder in (alone, spread.run_dir)]
    moves = [[line["dial/strength"] for line in read_lines(Layout(d).metrics)] for d in (alone, spread.run_dir)]
    assert len(set(moves[0])) > 2
    assert moves[0] == pytest.approx(moves[1], rel=1e-4)
    assert [(one["outcome"], one["step"]) for one in found] == [(found[0]["outcome"], found[0]["step"])] * 2
    assert found[0]["alpha"] == pytest.approx(found[1]["alpha"], abs=1e-3)
    one, two = weights(alone), weights(spread.run_dir)
    assert all((one[name] - two[name]).abs().max() < 1e-3 for name in one)


def test_an_error_of_all_is_printed_once(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = {"domain": {"path": str(tmp_path / "nowhere")}}
    process = start(config(pico_folder, corpora, tmp_path, sources=sources), "--nproc", "2")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert says(errors, f"Error: sources.domain.path: '{tmp_path / 'nowhere'}' matches no …\n")
    assert errors.count("Error") == 1


def training_process(settings: RunConfig, *options: str) -> tuple[Warm, list[psutil.Process]]:
    """A run that has taken some steps, and the processes that train it."""
    process = start(settings, *options)
    metrics = settings.run_dir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process, psutil.Process(process.pid).children()


LONG: dict[str, Any] = {"budget": {"steps": 4000, "batch_tokens": 128}, "training": TRAINING | {"save_steps": 3}}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
@pytest.mark.parametrize("options", [(), ("--nproc", "2")], ids=["one", "two"])
def test_signals(
    number: int, code: int, options: tuple[str, ...], pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(pico_folder, corpora, tmp_path, **LONG)
    process, ranks = training_process(settings, *options)
    assert len(ranks) == (2 if options else 0)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, output + errors
    steps = len(losses(settings.run_dir))
    assert says(errors, f"Stopped after step {steps} of 4000, … checkpoint … --resume …\n")
    assert Layout(settings.run_dir).step_checkpoints[-1].name == f"step-{steps:08d}"
    assert not any(rank.is_running() for rank in ranks)


@pytest.mark.parametrize("victim", ["a rank", "the launcher"])
def test_no_process_outlives_one_that_is_killed(victim: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, **LONG)
    process, ranks = training_process(settings, "--nproc", "2")
    os.kill(ranks[1].pid if victim == "a rank" else process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert psutil.wait_procs(ranks, timeout=30)[1] == []
    assert Layout(settings.run_dir).step_checkpoints
    if victim == "a rank":
        assert process.returncode == 128 + signal.SIGKILL
        assert says(errors, "Error: process 1 was killed by SIGKILL, …; --resume …\n")


@pytest.mark.parametrize(("codes", "expected"), [((4, 1), 4), ((1, 3), 3), ((1, -9), 137), ((0, 0), 0)])
def test_the_exit_code_is_the_causes_and_not_the_others(codes: tuple[int, int], expected: int) -> None:
    ended = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"exit({code})"]
        )
        for code in codes
    ]
    for process in ended:
        process.wait()
    assert _wait(ended) == expected
