"""What srun sets becomes what torchrun sets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from acclimate.cli import main
from acclimate.config.load import save_config
from acclimate.parallel.slurm import adopt, port
from acclimate.types.errors import UsageError
from tests.fixtures.nursery import Warm
from tests.fixtures.runs import config, same_weights
from tests.fixtures.sentences import quoted

TASK = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[07-08]",
}  # fmt: skip


def test_a_task_of_srun_is_a_rank() -> None:
    environment = dict(TASK)
    assert adopt(environment) is None
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR")
    assert [environment[name] for name in names] == ["8", "5", "1", "gpu07"]
    other = TASK | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    adopt(other)
    assert other["MASTER_PORT"] == environment["MASTER_PORT"]
    assert 12_000 <= int(other["MASTER_PORT"]) < 32_000
    step = TASK | {"SLURM_STEP_ID": "1"}
    adopt(step)
    assert step["MASTER_PORT"] != environment["MASTER_PORT"]


def test_what_is_set_stays() -> None:
    torchrun = TASK | {"WORLD_SIZE": "2", "RANK": "1"}
    own = TASK | {"MASTER_ADDR": "head", "MASTER_PORT": "5000"}
    for environment in (torchrun, own):
        adopt(environment)
    assert torchrun == TASK | {"WORLD_SIZE": "2", "RANK": "1"}
    assert (own["MASTER_ADDR"], own["MASTER_PORT"], own["WORLD_SIZE"]) == ("head", "5000", "8")
    alone: dict[str, str] = {}
    one = TASK | {"SLURM_STEP_NUM_TASKS": "1"}
    assert adopt(alone) is None
    assert adopt(one) is None
    assert "WORLD_SIZE" not in alone | one
    here = TASK | {"SLURM_STEP_NUM_NODES": "1"}
    adopt(here)
    assert here["MASTER_ADDR"] == "127.0.0.1"


def test_a_job_without_srun_is_told() -> None:
    batch = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
    said = adopt(batch)
    assert said is not None
    assert "8 tasks" in said
    assert "without srun" in said
    assert "WORLD_SIZE" not in batch
    assert adopt(batch | {"SLURM_NTASKS": "1"}) is None


def test_half_of_srun_s_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    half = {name: value for name, value in TASK.items() if name != "SLURM_LOCALID"}
    with pytest.raises(UsageError, match=quoted("… is 8, … one of 8 processes, but SLURM_LOCALID is not set …")):
        adopt(dict(half))
    for name, value in half.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(sys, "argv", ["acclimate", "train", "none.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
    assert "SLURM_LOCALID" in capsys.readouterr().err


def free(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) != 0


def test_two_tasks_train_as_two_processes_of_nproc(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Nothing but Slurm's variables tells them of each other; gloo joins them, and the weights are bitwise the same."""
    job = next(number for number in range(os.getpid(), 2**22) if free(port(number, {})))
    step = TASK | {"SLURM_JOB_ID": str(job), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    ranks = [step | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}

    def trained(name: str, tasks: list[dict[str, str]], *options: str) -> tuple[Path, list[str]]:
        short = {"budget": {"steps": 3, "batch_tokens": 128}, "evaluation": {"generations": 0}}
        run = config(pico_folder, corpora, tmp_path, name=name, **short)
        save_config(run, path := tmp_path / f"{name}.yaml")
        command = [sys.executable, "-m", "acclimate", "train", str(path), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes = [Warm(command, env=outside | task, **pipes) for task in tasks]
        said = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(tasks), said
        return run.run_dir, [out for out, _ in said]

    by_srun, (first, second) = trained("srun", ranks)
    by_nproc, _ = trained("nproc", [{}], "--nproc", "2")
    assert "report.html" in first
    assert second == ""
    for run in (by_srun, by_nproc):
        assert json.loads((run / "provenance.json").read_text())["processes"] == 2
    assert same_weights(by_srun, by_nproc)
