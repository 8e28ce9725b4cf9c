"""The launch files of ``examples/cluster``: their text is the page's, and what they call exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from torch.distributed.run import get_args_parser

from acclimate.cli.main import app
from acclimate.config.explain import section_paths
from acclimate.config.schema import RunConfig
from acclimate.parallel.slurm import adopt
from acclimate.training.stop import SIGNALS

ROOT = Path(__file__).parents[1]
FILES = ROOT / "examples" / "cluster"
PAGE = (ROOT / "docs" / "howto" / "cluster.md").read_text()
SCRIPTS = {"torchrun.sh": "bash", "slurm.sbatch": "bash", "skypilot.yaml": "yaml", "kubernetes.yaml": "yaml"}


def check_acclimate(words: list[str]) -> None:
    """``train CONFIG OPTIONS`` of our command line, every key of ``--set`` one of the schema."""
    command: Any = typer.main.get_command(app)
    verb = command.commands[words[0]]
    found = verb.make_context(words[0], list(words[1:]), resilient_parsing=False).params
    assert found["resume"]
    for override in found["set_"] or ():
        section, _, key = override.split("=")[0].rpartition(".")
        assert key in section_paths(RunConfig)[section].model_fields


def check_torchrun(words: list[str]) -> Any:
    """What follows ``torchrun``, by torch's own parser, and what it starts."""
    given = get_args_parser().parse_args(words)
    assert given.module
    assert given.training_script == "acclimate"
    check_acclimate(given.training_script_args)
    return given


def torchruns(script: str, tmp_path: Path, *arguments: str, **environment: str) -> tuple[list[str], str]:
    """The words that a script's torchrun is called with, and the shutdown timeout that it sees."""
    (tmp_path / "torchrun").write_text('#!/bin/bash\necho "${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-}"\nprintf "%s\\n" "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    shared = tmp_path / "shared"
    (shared / "project").mkdir(parents=True)
    text = script.replace("cd /shared", f"cd {shared}")
    assert text != script
    done = subprocess.run(
        ["bash", "-c", text, "script", *arguments], check=True, capture_output=True, text=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment,
    )  # fmt: skip
    seconds, *words = done.stdout.splitlines()
    return words, seconds


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_page_shows_the_file(name: str) -> None:
    text = (FILES / name).read_text()
    assert text in re.findall(rf"```{SCRIPTS[name]}\n(.*?)```", PAGE, re.S)
    assert sorted(path.name for path in FILES.iterdir()) == sorted(SCRIPTS)


def test_every_shell_block_of_the_page_parses() -> None:
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_torchrun(tmp_path: Path) -> None:
    words, seconds = torchruns((FILES / "torchrun.sh").read_text(), tmp_path, "1", NODES="4")
    given = check_torchrun(words)
    assert (given.nnodes, given.nproc_per_node, str(given.node_rank)) == ("4", "8", "1")
    assert "parallel.replicate=4" in words
    assert int(seconds) > 30


def test_slurm() -> None:
    """Tasks are what GPUs are, the signal is one that a run heeds, and its exit code queues the job again."""
    text = (FILES / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", text, re.M))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    number = next(n for n in SIGNALS if n.name == f"SIG{options['signal'].split('@')[0]}")
    assert f'"$code" = {128 + number}' in text
    (line,) = re.findall(r"^srun (.*?) \|\| code", text, re.M)
    words = shlex.split(line)
    assert words[1] == "acclimate"
    check_acclimate(words[2:])
    tasks = str(int(options["nodes"]) * int(options["ntasks-per-node"]))
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": tasks, "SLURM_PROCID": "9", "SLURM_LOCALID": "1"}
    adopt(job | {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_NUM_NODES": options["nodes"]})


def test_torchrun_inside_of_slurm() -> None:
    (line,) = re.findall(r"```bash\nsrun --ntasks-per-node=1 bash -c '(.*?)'\n```", PAGE, re.S)
    words = shlex.split(
        line.replace("\\\n", " ").replace('"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)', '"n1')
    )
    check_torchrun(words[1:])


def test_skypilot(tmp_path: Path) -> None:
    task = yaml.safe_load((FILES / "skypilot.yaml").read_text())
    given = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "8", "SKYPILOT_NODE_RANK": "1"}
    words, _ = torchruns(task["run"], tmp_path, **given, SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2")
    found = check_torchrun(words)
    assert (found.nnodes, found.nproc_per_node, found.master_addr) == ("2", "8", "10.0.0.1")
    assert task["num_nodes"] == 2
    assert "/shared" in task["volumes"]


def test_kubernetes() -> None:
    job = yaml.safe_load((FILES / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    replicas = job["spec"]["pytorchReplicaSpecs"]
    for replica in replicas.values():
        pod = replica["template"]["spec"]
        (container,) = pod["containers"]
        assert container["name"] == "pytorch"
        assert str(container["resources"]["limits"]["nvidia.com/gpu"]) == job["spec"]["nprocPerNode"]
        assert container["command"][0] == "torchrun"
        check_torchrun(container["command"][1:])
        (seconds,) = (int(e["value"]) for e in container["env"] if e["name"] == "TORCH_ELASTIC_SHUTDOWN_TIMEOUT")
        assert 30 < seconds < pod["terminationGracePeriodSeconds"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert replicas["Master"]["replicas"] == 1
