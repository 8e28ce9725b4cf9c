"""What produced a run: versions, machine, digests. No user name, host name or environment variable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import torch

import acclimate
from acclimate.config.load import RunConfig, dump_config
from acclimate.disk.digest import tuned_identity
from acclimate.runs.layout import Layout, write_json
from acclimate.types.errors import without_credentials

PATH = re.compile(r"~?(?:/[^/\s=,'\"\]}]+)*/([^/\s=,'\"\]}]+)")
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "datasets", "pyarrow")


def provenance(
    config: RunConfig,
    device: torch.device,
    models: Mapping[str, Mapping[str, str]],
    data_digests: dict[str, str],
    input_digests: dict[str, str],
) -> dict[str, Any]:
    """The record at the start of a run; :func:`finished` completes it.

    Args:
        models: :func:`~acclimate.model.load.model_identities`.
    """
    places = {"model": config.model.path, "base": config.model.of_base.path}
    return {
        "acclimate": acclimate.__version__,
        "commit": _commit(),
        "versions": versions(),
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        },
        **{role: {"path": places[role].rstrip("/").split("/")[-1], **identity} for role, identity in models.items()},
        "data": data_digests,
        "method_inputs": input_digests,
        "config_digest": "sha256:" + hashlib.sha256(dump_config(config).encode()).hexdigest(),
        "started": _now(),
    }


def with_session(record: Mapping[str, Any], step: int, processes: int) -> dict[str, Any]:
    """The record with the session that now goes on after ``step``, less those whose steps are all done again by it."""
    now = {
        "step": step,
        "started": _now(),
        "acclimate": acclimate.__version__,
        "versions": versions(),
        "device": record["platform"]["device"],
        "processes": processes,
        "command": command(sys.argv),
    }
    return {**record, "sessions": [*(s for s in sessions(record) if s["step"] < step), now]}


def command(argv: Sequence[str]) -> str | None:
    """What the user wrote, of paths the last part, or None where another program called.

    >>> command(["/usr/bin/acclimate", "train", "/home/ada/c.yaml", "--set=output_dir=/data/ada/runs"])
    'acclimate train c.yaml --set=output_dir=runs'
    """
    if PurePath(argv[0]).name not in ("acclimate", "__main__.py"):
        return None
    return " ".join(["acclimate", *(PATH.sub(r"\1", without_credentials(word)) for word in argv[1:])])


def sessions(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a record from before there were any, what it says of its last one."""
    first = {name: record.get(name) for name in ("started", "acclimate", "versions", "processes")}
    return list(record.get("sessions", [{"step": 0, **first}]))


def other_versions(record: Mapping[str, Any]) -> list[str]:
    """A sentence where the last session of a run ran other versions than these."""
    last = sessions(record)[-1]
    was = {"acclimate": last["acclimate"], **(last["versions"] or {})}
    here = {"acclimate": acclimate.__version__, **versions()}
    changed = [name for name in here if name in was and was[name] != here[name]]
    if not changed:
        return []
    then, now = (", ".join(f"{name} {found[name]}" for name in changed) for found in (was, here))
    return [f"The run was trained so far with {then}; it goes on with {now}. Its provenance.json keeps both."]


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def finished(record: dict[str, Any], evaluate_seconds: float) -> dict[str, Any]:
    """The record at the end of a run. Peak memory is that of the last process."""
    return record | {
        "finished": _now(),
        "evaluate_seconds": round(evaluate_seconds, 2),
        "peak_memory_mib": peak_memory_mib(torch.device("cpu")),
    }


def keep_weights(run_dir: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Writes the record with the digest of model/, unless it has one: what the run's numbers must be of from now on."""
    if "tuned" in record:
        return record
    run = Layout(run_dir)
    record = record | {"tuned": tuned_identity(run.model)}
    write_json(run.provenance, record)
    return record


def peak_memory_mib(device: torch.device) -> int:
    """Most memory that this process has held so far: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """Commit of the folder the run is started in, with '+' for uncommitted changes."""
    git = ["git", "-c", "core.fsmonitor=false"]  # a setting of the folder that would run a program
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
