"""The processes that ``srun`` starts, as one run: Slurm's variables in the words of torchrun."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from acclimate.types.errors import UsageError

NEEDED = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID")
ONE_NODE = ("1", "")


def adopt(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Sets WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, where ``srun`` started several tasks.

    What is set already stays: torchrun inside of a job, and an address or port of one's own.

    Returns:
        A sentence for one process of a job with several tasks, which was started without ``srun``.

    Raises:
        UsageError: Slurm's variables speak of several tasks and do not say which this is.

    Reference: the variables are those of srun's manual, section OUTPUT ENVIRONMENT VARIABLES [second-hand].
    """
    if environment.get("WORLD_SIZE") or "SLURM_JOB_ID" not in environment:
        return None
    tasks = environment.get("SLURM_STEP_NUM_TASKS") or ""
    if not tasks:
        asked = environment.get("SLURM_NTASKS") or "1"
        if asked == "1":
            return None
        return (
            f"Slurm has given this job {asked} tasks, and acclimate was started without srun: one process works. "
            "srun acclimate ... starts one a task."
        )
    if tasks == "1":
        return None
    if absent := [name for name in NEEDED if not environment.get(name, "").isdecimal()]:
        raise UsageError(
            f"SLURM_STEP_NUM_TASKS is {tasks}, so this is one of {tasks} processes, but {absent[0]} is not set as srun "
            "sets it; start with srun, torchrun or --nproc, or unset SLURM_STEP_NUM_TASKS for one process."
        )
    first = first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "")
    one_node = environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", "")) in ONE_NODE
    environment["WORLD_SIZE"] = tasks
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment.setdefault("MASTER_ADDR", "127.0.0.1" if one_node or not first else first)
    environment.setdefault("MASTER_PORT", str(port(int(environment["SLURM_JOB_ID"]), environment)))
    return None


def port(job: int, environment: MutableMapping[str, str]) -> int:
    """The same on every task, and another for each job and step: above the reserved ports, below the ephemeral ones."""
    step = environment.get("SLURM_STEP_ID", "0")
    return 12_000 + (job * 17 + int(step if step.isdecimal() else 0)) % 20_000


def first_host(nodes: str) -> str:
    """Of a list as Slurm writes it.

    >>> first_host("gpu[003-006,9]"), first_host("a1,a2"), first_host("rack[2,4]-n1,b"), first_host("")
    ('gpu003', 'a1', 'rack2-n1', '')
    """
    found = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else ""
