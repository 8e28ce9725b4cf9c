"""A resumed run is bitwise the uninterrupted one."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from acclimate.config.load import load_config, save_config
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout
from acclimate.training.probe import Probe
from acclimate.training.stop import StopRequest
from acclimate.types.central import Callback
from acclimate.types.errors import DataError, RunError, Stopped, UsageError
from acclimate.verbs import run as run_module
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.nursery import Warm
from tests.fixtures.runs import CHOICE, config, killed_after, metric_lines, same_weights, weights
from tests.fixtures.sentences import says

CASES = {
    "full": {},
    "bfloat16 masters": {"model": {"dtype": "bfloat16"}},
    "lora with dropout": {"lora": {"rank": 4, "dropout": 0.1}},
    "l2 and wsd": {"method": ["mol", "l2"], "schedule": {"type": "wsd", "decay_ratio": 0.5}},
    "epochs": {"budget": {"steps": None, "epochs": 1.5, "batch_tokens": 256}},
    "methods of tokens": {"method": ["mol", "talr", {"name": "stm", "percentile": 80}, {"name": "wise", "alpha": 0.5}]},
    "streamed": {"budget": {"steps": 8, "batch_tokens": 512}},
}


@pytest.fixture(scope="module")
def undisturbed(
    pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], Path]:
    """The folder of a run that nothing stops, by its section ``training``; read only."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), dict[str, Path]()

    def run(training: dict[str, Any]) -> Path:
        if (key := json.dumps(training)) not in found:
            settings = config(pico_folder, corpora, folder, name=f"straight-{len(found)}", training=training)
            found[key] = train(settings).run_dir
        return found[key]

    return run


@pytest.mark.parametrize("case", CASES)
def test_resume_twice_is_bitwise(case: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"training": {"micro_batch_size": 2, "save_steps": 2, "eval_steps": 2}} | CASES[case]
    before = set(threading.enumerate())
    if case == "streamed":  # two of three sources
        changes["sources"] = {
            name: {"path": str(corpora / f"{name}.jsonl"), "heldout": 4, "streaming": True, "shuffle_buffer": 9}
            for name in ("domain", "general")
        }
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", **changes))
    broken = config(pico_folder, corpora, tmp_path, name="broken", **changes)
    for stop in (3, 5):  # after a checkpoint of step 2, then of step 4: the steps in between are done again
        killed_after(stop, broken, resume=stop != 3)
        assert [path.name for path in Layout(broken.run_dir).step_checkpoints][-1] == f"step-{stop - 1:08d}"
        assert not (broken.run_dir / "summary.json").exists()
    resumed = train(broken, resume=True)
    assert same_weights(straight.run_dir, resumed.run_dir)
    assert metric_lines(straight.run_dir) == metric_lines(resumed.run_dir)
    assert straight.summary == resumed.summary
    assert {thread for thread in threading.enumerate() if thread.name.startswith("acclimate")} <= before
    if case in ("epochs", "streamed"):
        assert max(v for k, v in metric_lines(straight.run_dir)[-1].items() if k.startswith("epochs/")) > 1


def test_a_finished_run_is_left_alone(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, budget={"steps": 2, "batch_tokens": 128})
    first = train(settings)
    stamp = (first.run_dir / "summary.json").stat().st_mtime_ns
    again = train(settings, resume=True)
    assert again.summary == first.summary
    assert (first.run_dir / "summary.json").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match=r"The run '.*run' exists. .*--resume.* another name"):
        train(settings)
    other = config(
        pico_folder, corpora, tmp_path, budget={"steps": 2, "batch_tokens": 128}, optimizer={"learning_rate": 1e-4}
    )
    with pytest.raises(UsageError, match=r"it differs at optimizer.learning_rate: 0.003 then, 0.0001 now"):
        train(other, resume=True)


def test_a_moved_and_renamed_run_goes_on(
    pico_folder: Path, corpora: Path, tmp_path: Path, undisturbed: Callable[[dict[str, Any]], Path]
) -> None:
    training = {"micro_batch_size": 2, "save_steps": 2}
    straight = undisturbed(training)
    killed_after(5, config(pico_folder, corpora, tmp_path, name="before", training=training))
    (tmp_path / "archive").mkdir()
    (tmp_path / "before").rename(tmp_path / "archive" / "after")
    overrides = [f"output_dir={tmp_path / 'archive'}", "name=after"]
    moved = train(load_config(tmp_path / "archive" / "after" / "config.yaml", overrides), resume=True)
    assert same_weights(straight, moved.run_dir)
    assert metric_lines(straight) == metric_lines(moved.run_dir)


def test_a_folder_that_is_no_run_is_not_touched(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds something that is no run; choose another name"):
        train(config(pico_folder, corpora, tmp_path))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def damage(checkpoint: Path, how: str) -> None:
    """As a full disk, a torn copy or a failing drive leaves a checkpoint."""
    payload = checkpoint / "tensors-00000.safetensors"
    if how == "a bit flipped":
        content = bytearray(payload.read_bytes())
        content[-5] ^= 1
        payload.write_bytes(content)
    elif how == "cut short":
        payload.write_bytes(payload.read_bytes()[:100])
    elif how == "a file gone":
        payload.unlink()
    else:
        (checkpoint / "manifest.json").write_text("{")


@pytest.mark.parametrize("how", ["a bit flipped", "cut short", "a file gone", "manifest torn"])
def test_a_damaged_checkpoint_is_skipped_with_a_sentence(
    how: str, pico_folder: Path, corpora: Path, tmp_path: Path, undisturbed: Callable[[dict[str, Any]], Path]
) -> None:
    training = {"micro_batch_size": 2, "save_steps": 2}
    straight = undisturbed(training)
    settings = config(pico_folder, corpora, tmp_path, training=training)
    killed_after(5, settings)
    newer = Layout(settings.run_dir).step_checkpoints[1]
    damage(newer, how)
    console = Console(record=True, width=1000)
    resumed = train(settings, resume=True, console=console)
    said = console.export_text()
    assert re.search(
        r"Note: The checkpoint '.*step-00000004' is (damaged|incomplete).* The one before it is used", said
    )
    assert "Continuing after step 2 of 6." in said
    assert same_weights(straight, resumed.run_dir)
    for checkpoint in Layout(settings.run_dir).step_checkpoints:
        damage(checkpoint, how)
    shutil.rmtree(settings.run_dir / "model")
    (settings.run_dir / "summary.json").unlink()
    with pytest.raises(RunError, match=r"^No checkpoint of '.*run' is intact: .* step 0\b"):
        train(settings, resume=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("save_steps", [100, None])
def test_a_stopped_run_keeps_its_last_step(
    number: signal.Signals,
    save_steps: int | None,
    pico_folder: Path,
    corpora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Callable[[dict[str, Any]], Path],
) -> None:
    training = {"micro_batch_size": 2, "save_steps": save_steps, "eval_steps": 2}
    straight = undisturbed(training)

    class StopAt(Callback):
        def on_step_end(self, state: Any, metrics: dict[str, float]) -> None:
            if state.step == 3:
                signal.raise_signal(number)

    settings = config(pico_folder, corpora, tmp_path, training=training)
    original = run_module.run_loop

    def loop(training: Any) -> None:
        training.callbacks = [StopAt(), *training.callbacks]
        original(training)

    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "run_loop", loop)
        with pytest.raises(Stopped) as stopped:
            train(settings)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert stopped.value.signal == number
    # asked in a callback of step 3, after that step's ranks had agreed: the next one is the last
    assert says(stopped.value, "Stopped after step 4 of 6, … checkpoint … --resume …")
    assert [path.name for path in Layout(settings.run_dir).step_checkpoints] == ["step-00000004"]
    resumed = train(settings, resume=True)
    assert same_weights(straight, resumed.run_dir)
    assert metric_lines(straight) == metric_lines(resumed.run_dir)


def test_a_second_ctrl_c_stops_at_once() -> None:
    request = StopRequest()
    with request.listening(Console(quiet=True)):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("moment", ["load_corpora", "run_loop", "_measure"])
@pytest.mark.parametrize("resume", [False, True])
def test_two_processes_do_not_train_one_run(
    moment: str, resume: bool, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(pico_folder, corpora, tmp_path)
    original = getattr(run_module, moment)

    def meanwhile(*arguments: Any) -> Any:
        refused = (
            r"^The run '.*run' (is being trained by another process; wait for it|exists. Continue it with --resume)"
        )
        for _ in range(2):  # a refused one leaves the folder, and with it the lock, as they are
            with pytest.raises((RunError, UsageError), match=refused):
                train(settings, resume=resume)
        return original(*arguments)

    monkeypatch.setattr(run_module, moment, meanwhile)
    assert train(settings).summary


def test_a_failed_start_leaves_no_folder(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError):
        train(config(pico_folder, corpora, tmp_path, sources={"domain": {"path": str(tmp_path / "empty.jsonl")}}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_measuring_again_gives_the_same_numbers(
    dtype: str, lora: dict[str, int] | None, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    result = train(config(pico_folder, corpora, tmp_path, model={"dtype": dtype}, lora=lora))
    assert evaluate_run(result.run_dir).summary == result.summary


def test_a_finished_run_whose_model_is_gone(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    for save_steps in (3, None):
        training = {"micro_batch_size": 2, "save_steps": save_steps}
        result = train(config(pico_folder, corpora, tmp_path, name=f"run-{save_steps}", training=training))
        before = weights(result.run_dir)
        shutil.rmtree(result.run_dir / "model")
        again = config(pico_folder, corpora, tmp_path, name=f"run-{save_steps}", training=training)
        if save_steps is None:
            with pytest.raises(RunError, match=r"is finished, but its model/ is gone .* no checkpoint"):
                train(again, resume=True)
        else:
            assert train(again, resume=True).summary == result.summary
            assert all(torch.equal(before[name], tensor) for name, tensor in weights(result.run_dir).items())


def test_best_weights_survive_a_kill_between_two_renames(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The older ones are set aside at that moment, and nothing is in their place."""
    training = {"micro_batch_size": 2, "save_steps": 1, "eval_steps": 1, "final": "best"}
    settings = config(pico_folder, corpora, tmp_path, training=training, **CHOICE)
    killed_after(4, settings)
    best = settings.run_dir / "checkpoints" / "best"
    best.rename(best.with_name(".best.stale"))
    console = Console(record=True, width=1000)
    assert train(settings, resume=True, console=console).summary
    assert "chosen anew" not in console.export_text()
    assert best.is_dir()
    assert not best.with_name(".best.stale").exists()


def test_lost_best_weights_are_chosen_anew(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training = {"micro_batch_size": 2, "save_steps": 1, "eval_steps": 1, "final": "best"}
    hot = {"optimizer": {"learning_rate": 0.3}, "schedule": {"type": "constant"}, **CHOICE}
    settings = config(pico_folder, corpora, tmp_path, training=training, **hot)
    killed_after(4, settings)
    shutil.rmtree(settings.run_dir / "checkpoints" / "best")
    console = Console(record=True, width=1000)
    assert train(settings, resume=True, console=console).summary
    assert "The best weights are chosen anew from here on." in console.export_text()
    assert json.loads((settings.run_dir / "checkpoints" / "best" / "state.json").read_text())["step"] > 3


def test_keep_last_and_best(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training = {"micro_batch_size": 2, "save_steps": 1, "eval_steps": 1, "keep_last": 2, "final": "best"}
    hot = {"optimizer": {"learning_rate": 0.3}, "schedule": {"type": "constant"}, **CHOICE}
    result = train(config(pico_folder, corpora, tmp_path, training=training, **hot))
    assert [path.name for path in Layout(result.run_dir).step_checkpoints] == ["step-00000005", "step-00000006"]
    net = [line["eval/net_change"] for line in metric_lines(result.run_dir)]
    best = json.loads((result.run_dir / "checkpoints" / "best" / "state.json").read_text())
    assert best["eval/net_change"] == min(net)
    assert best["step"] == net.index(min(net)) + 1 < 6  # such a learning rate ends worse than its best
    kept = load_file(result.run_dir / "checkpoints" / "best" / "tensors-00000.safetensors")
    assert all(torch.equal(kept[f"weights/{name}"], tensor) for name, tensor in weights(result.run_dir).items())
    # what chose is not what is reported
    reported = read_summary(result.run_dir / "summary.json")
    assert {r["n"] for r in reported if r["set"] == "domain"} == {2}


def test_the_best_weights_kept_what_they_knew(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain alone would choose the last step, at which other text has lost more than the domain gained since."""
    domain, general, chat = [2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2], [1.0] * 4 + [1.2, 1.4, 1.6], [1.0] * 3 + [0.5] * 4
    found = iter(zip(domain, general, chat, strict=True))
    monkeypatch.setattr(
        Probe,
        "_found",
        lambda *_: {
            name: {"bits_per_byte": bits} for name, bits in zip(("domain", "general", "chat"), next(found), strict=True)
        },
    )
    training = {"micro_batch_size": 2, "eval_steps": 1, "save_steps": 1, "keep_last": 6, "final": "best"}
    console = Console(record=True, width=1000)
    result = train(config(pico_folder, corpora, tmp_path, training=training, **CHOICE), console=console)
    net = [line["eval/net_change"] for line in metric_lines(result.run_dir)]
    assert net == pytest.approx([-10, -20, -25, -30 + 10, -35 + 20, -40 + 30])
    told = "The model is that of step 3 of 6, the best: domain -25.0 %, general +0.0 %, chat -50.0 % bits per byte. "
    assert (
        told + "The last one's: domain -40.0 %, general +60.0 %, chat -50.0 % bits per byte." in console.export_text()
    )
    kept = load_file(result.run_dir / "checkpoints" / "step-00000003" / "tensors-00000.safetensors")
    assert all(torch.equal(kept[f"weights/{name}"], tensor) for name, tensor in weights(result.run_dir).items())


def test_best_without_evaluation_is_refused(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"training: final: best needs eval_steps"):
        config(pico_folder, corpora, tmp_path, training={"final": "best"})


def test_kill_minus_nine_and_resume(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """A real process, really killed while it trains, ends in the weights of the undisturbed run."""
    training = {"micro_batch_size": 2, "save_steps": 5}
    budget = {"steps": 60, "batch_tokens": 128}
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", training=training, budget=budget))
    killed = config(pico_folder, corpora, tmp_path, name="killed", training=training, budget=budget)
    save_config(killed, tmp_path / "c.yaml")
    command = [sys.executable, "-m", "acclimate", "train", str(tmp_path / "c.yaml")]
    process = Warm(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(Layout(killed.run_dir).step_checkpoints) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(Layout(killed.run_dir).step_checkpoints) > 0
    assert not (killed.run_dir / "summary.json").exists()  # it was killed before its end
    resumed = train(killed, resume=True)
    assert same_weights(straight.run_dir, resumed.run_dir)
    assert [line["step"] for line in metric_lines(resumed.run_dir)] == list(range(1, 61))
