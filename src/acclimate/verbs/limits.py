"""What a control group (a container, a batch job) leaves of the machine; version 1 and 2."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""Version 1 writes a number near 2^63 where there is no limit."""


def available_memory() -> int:
    """Bytes that a new process can have."""
    limit, free = memory_limit(), int(psutil.virtual_memory().available)
    return free if limit is None else min(free, limit[0] - limit[1])


def memory_limit(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> tuple[int, int] | None:
    """(limit, used) bytes of the group with the least left, droppable page cache not counted; None without a limit."""
    found = []
    for folder in _folders("memory", root, own):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        if limit is not None and limit < UNLIMITED:
            found.append((limit, max(0, used - _droppable(folder / "memory.stat"))))
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def core_limit(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time; None without a limit."""
    found = []
    for folder in _folders("cpu", root, own):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if (folder / "cpu.max").is_file():
            first, second = (folder / "cpu.max").read_text().split()
            quota, period = (None if first == "max" else int(first)), int(second)
        if quota is not None and period and quota > 0:
            found.append(quota / period)
    return min(found, default=None)


def _folders(controller: str, root: Path, own: Path) -> list[Path]:
    """The process's group and those around it. In a container its own group may be mounted as the root."""
    if not own.is_file():
        return []
    folders = []
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            top = root if controllers == "" else root / controller
            group = top / path.lstrip("/")
            folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(top) and folder.is_dir()]
    return folders


def _droppable(stat: Path) -> int:
    if not stat.is_file():
        return 0
    rows = dict(line.split() for line in stat.read_text().splitlines())
    return int(rows.get("total_inactive_file") or rows.get("inactive_file") or 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None
