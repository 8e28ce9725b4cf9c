"""Devices, dtypes, attention, memory, disk, caches and network, as a run would find them. Linux and macOS."""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shutil
from pathlib import Path

import psutil
import torch
from huggingface_hub import constants, get_token
from transformers.utils import is_flash_attn_2_available, is_torch_flex_attn_available

from acclimate.disk.files import writable
from acclimate.kernels.varlen import why_no_varlen
from acclimate.model.load import DTYPES, fastest, product_seconds
from acclimate.verbs.doctor.fact import Fact, Section, gib
from acclimate.verbs.limits import available_memory, core_limit, memory_limit

POLICY = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Only whether they are set: a proxy's address may hold a password."""
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")
"""Libraries that can take the place of glibc's ``malloc``."""
MATRIX_UNITS = ("amx_bf16", "avx512_bf16", "bf16")
WIDTH = 1024
"""Of the products that are timed: a run times those of its own model's width."""


def devices() -> Section:
    """The processor and every GPU that torch can use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = core_limit()
    limited = f", limited to {quota:g} by the control group" if quota is not None and quota < cores else ""
    found = {
        "cpu": Fact(_cpu(), _cpu()),
        "cores": Fact({"usable": cores, "quota": quota}, f"{cores} usable of {os.cpu_count()}{limited}"),
        "threads": Fact(torch.get_num_threads(), f"{torch.get_num_threads()} used by torch"),
    }
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        name, bf16 = torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)[0] >= 8
        value = {"name": name, "free": free, "total": total, "bfloat16": bf16}
        shown = f"{name}, {gib(free)} free of {gib(total)}, {'with' if bf16 else 'without'} bfloat16"
        found[f"cuda:{i}"] = Fact(value, shown)
    if not torch.cuda.is_available():
        unused = Path("/proc/driver/nvidia/version").is_file()
        advice = "There is an NVIDIA driver, but this torch cannot use it; install a CUDA build of torch that fits it."
        found["cuda"] = Fact(None, "none", advice if unused else None)
    return found


def dtypes(device: torch.device) -> Section:
    """What ``model.dtype: auto`` would be, and the times that decide it."""
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported()
        return {"auto": Fact("bfloat16" if bf16 else "float32", "bfloat16" if bf16 else "float32: no bfloat16 here")}
    seconds = product_seconds(WIDTH)
    names = {dtype: name for name, dtype in DTYPES.items()}
    times = {names[dtype]: found for dtype, found in seconds.items()}
    ratio = times["float32"] / times["bfloat16"]
    why = ", ".join(f"{name} {found * 1e3:.1f} ms" for name, found in times.items())
    units = [flag for flag in MATRIX_UNITS if flag in _cpu_flags()]
    speed = f"{ratio:.1f} times as fast as float32; the processor names {', '.join(units) or 'no matrix unit for it'}"
    return {
        "auto": Fact(names[fastest(seconds)], f"{names[fastest(seconds)]} (one layer of width {WIDTH}: {why})"),
        "bfloat16": Fact({"speed": round(ratio, 2), "units": units}, speed),
    }


def attention() -> Section:
    """The values of ``model.attention`` that would load."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    missing = why_no_varlen(device, torch.bfloat16)
    found = {
        "varlen": missing is None,
        "sdpa": True,
        "eager": True,
        "flash_attention_2": bool(is_flash_attn_2_available()),
        "flex_attention": bool(is_torch_flex_attn_available()),
    }
    shown = {name: "usable" if usable else "not installed" for name, usable in found.items()}
    if missing is not None:
        shown["varlen"] = f"not here: {missing}"
    return {name: Fact(usable, shown[name]) for name, usable in found.items()}


def memory() -> Section:
    """Main memory, and what a control group allows of it."""
    machine, limit = psutil.virtual_memory(), memory_limit()
    shown = f"{gib(limit[1])} used of {gib(limit[0])}" if limit else "none"
    return {
        "machine": Fact(machine.total, gib(machine.total)),
        "control group": Fact(limit and {"limit": limit[0], "used": limit[1]}, shown),
        "available": Fact(available_memory(), gib(available_memory())),
        "allocator": _allocator_fact(),
    }


def allocator() -> str:
    """What ``malloc`` is in this process: one of :data:`ALLOCATORS`, or ``glibc``, or ``system`` away from Linux."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        return "system"
    loaded = maps.read_text()
    return next((name for name in ALLOCATORS if f"/lib{name}" in loaded), "glibc")


def _allocator_fact() -> Fact:
    """With advice where a run would train on a CPU under glibc, whose heap gets holes: docs/howto/performance.md."""
    used = allocator()
    if used != "glibc" or torch.cuda.is_available():
        return Fact(used, used)
    library = ctypes.util.find_library("tcmalloc_minimal") or ctypes.util.find_library("tcmalloc")
    how = f"put LD_PRELOAD={library} before the command" if library else "install tcmalloc (libtcmalloc-minimal4)"
    return Fact(used, used, f"Training on a CPU takes less time and memory with tcmalloc than with glibc: {how}.")


def disk(output_dir: str, cache_dir: str) -> Section:
    """Free space where runs and tokens are written."""
    found = {}
    for key, path in (("output_dir", output_dir), ("data.cache_dir", cache_dir)):
        folder = Path(path).expanduser().absolute()
        place = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
        free = shutil.disk_usage(place).free
        value, shown = {"path": tilde(path), "free": free}, f"{tilde(path)}, {gib(free)} free"
        open_ = writable(folder)
        advice = None if open_ else f"{key}: '{tilde(path)}' cannot be written to; choose another folder."
        found[key] = Fact(value, shown, advice, stops=not open_)
    return found


def caches(cache_dir: str) -> Section:
    """Folders that can be deleted, at the price of another download or tokenisation."""
    found = {}
    for name, path in (("models", constants.HF_HUB_CACHE), ("tokens", cache_dir)):
        files = [entry for entry in Path(path).expanduser().rglob("*") if entry.is_file() and not entry.is_symlink()]
        size = sum(entry.stat().st_size for entry in files)
        found[name] = Fact({"path": tilde(path), "size": size}, f"{tilde(path)}, {gib(size)}")
    return found


def network() -> Section:
    """Which rules are set, never their values."""
    found = {name: name in os.environ or name.lower() in os.environ for name in POLICY}
    found["hub token"] = get_token() is not None
    return {
        "hub": Fact(not constants.HF_HUB_OFFLINE, "offline" if constants.HF_HUB_OFFLINE else "used where needed"),
        "set": Fact(found, ", ".join(name for name, is_set in found.items() if is_set) or "nothing"),
    }


def distributed() -> Section:
    """Back ends of torch.distributed."""
    here = torch.distributed.is_available()
    found = {
        "gloo": here and torch.distributed.is_gloo_available(),
        "nccl": here and torch.distributed.is_nccl_available(),
    }
    return {name: Fact(usable, "available" if usable else "not in this torch") for name, usable in found.items()}


def tilde(path: str) -> str:
    """The path without the user's name.

    >>> tilde("~/x"), tilde("/data")
    ('~/x', '/data')
    """
    home = str(Path.home())
    return "~" + path[len(home) :] if path == home or path.startswith(home + os.sep) else path


def _cpu() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.M)
    return match[1] if match else platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.M)
    return set(match[1].split()) if match else set()


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""
