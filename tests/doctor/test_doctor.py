"""The diagnosis: what it says of a good machine, of a bad one, and what it never says."""

from __future__ import annotations

import ctypes.util
import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from acclimate.model import load
from acclimate.verbs.doctor import diagnose, machine, versions
from tests.fixtures.runs import config, settings
from tests.test_wrong_inputs import run_cli

SECTIONS = [
    "versions", "extras", "devices", "dtypes", "attention", "memory", "disk", "caches", "network", "distributed",
]  # fmt: skip


def test_a_good_machine(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    found = diagnose(config(pico_folder, corpora, tmp_path))
    assert list(found.sections) == [*SECTIONS, "run"]
    assert found.problems == []
    values = found.as_json()
    assert values["versions"]["torch"]["version"] == metadata.version("torch")
    assert values["versions"]["tokenizers"]["accepted"]
    assert values["devices"]["threads"] == torch.get_num_threads()
    assert values["run"]["steps"] == 6
    assert values["run"]["dtype"] == "float32"
    assert 0 < values["run"]["memory"]["needed"] < values["run"]["memory"]["free"]


def test_auto_is_what_a_run_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and ``resolve_dtype`` decide by the same measured times."""
    for fast, slow in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        monkeypatch.setattr(load, "_product_seconds", lambda width, dtype, slow=slow: 4.0 if dtype == slow else 1.0)
        name = str(fast).removeprefix("torch.")
        assert machine.dtypes(torch.device("cpu"))["auto"].value == name
        assert load.resolve_dtype(torch.device("cpu"), 64) == fast
        assert machine.dtypes(torch.device("cpu"))["bfloat16"].value["speed"] == (4 if name == "bfloat16" else 0.25)


@pytest.mark.parametrize(
    ("loaded", "found", "advice"),
    [
        (
            "/usr/lib/libc.so.6",
            "libtcmalloc_minimal.so.4",
            "put LD_PRELOAD=libtcmalloc_minimal.so.4 before the command.",
        ),
        ("/usr/lib/libc.so.6", None, "install tcmalloc (libtcmalloc-minimal4)."),
        ("/usr/lib/libc.so.6\n/usr/lib/libtcmalloc_minimal.so.4.5.10", None, None),
        ("/usr/lib/libjemalloc.so.2", None, None),
    ],
)
def test_allocator(
    loaded: str, found: str | None, advice: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Advice under glibc alone, and only where no GPU does the work."""
    (tmp_path / "maps").write_text(loaded)
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / "maps" if path == "/proc/self/maps" else Path(path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fact = machine.memory()["allocator"]
    assert not fact.stops
    if advice is None:
        assert fact.advice is None
        assert fact.value in machine.ALLOCATORS
    else:
        assert fact.advice.endswith(advice)
        assert fact.value == "glibc"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.memory()["allocator"].advice is None


def test_secrets_stay_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    for flags in ([], ["--json"]):
        code, out, err = run_cli(["doctor", *flags], monkeypatch, capsys)
        assert code == 0
        assert "secret" not in out + err
        assert str(Path.home()) + os.sep not in out
        assert "HTTPS_PROXY" in out
    assert json.loads(out)["network"]["set"]["hub token"] is True
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    assert machine.network()["set"].value["HTTPS_PROXY"] is False


@pytest.mark.parametrize(
    ("versions_of", "sentence"),
    [
        ({"torch": "1.13"}, "torch 1.13 is outside {torch}; pip install 'torch{torch}'."),
        ({"gguf": None}, "gguf is not installed; pip install 'gguf{gguf}'."),
        ({"tokenizers": "0.1"}, "tokenizers 0.1 is outside {tokenizers}; pip install 'tokenizers{tokenizers}'."),
    ],
)
def test_versions_out_of_range(
    versions_of: dict[str, str | None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = {
        name: fact.value["accepted"] for name, fact in versions.versions().items() if isinstance(fact.value, dict)
    }
    original = metadata.version

    def version(name: str) -> str:
        if name not in versions_of:
            return original(name)
        if (found := versions_of[name]) is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    assert diagnose().problems == [sentence.format(**ranges)]


def test_python_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    assert [p for p in diagnose().problems if p.startswith("python 3.9.1 is outside")]


def test_an_extra_that_is_missing_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = metadata.version

    def version(name: str) -> str:
        if name == "tensorboard":
            raise metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(metadata, "version", version)
    found = diagnose()
    assert found.sections["extras"]["tensorboard"].shown == "without tensorboard: pip install 'acclimate[tensorboard]'"
    assert found.problems == []


def write(tmp_path: Path, data: dict[str, Any]) -> str:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return str(tmp_path / "c.yaml")


@pytest.mark.parametrize("case", ["memory", "cache_dir", "data"])
def test_what_would_stop_a_run(
    case: str, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write(tmp_path, settings(pico_folder, corpora, tmp_path))
    sentence, override = "The run needs about 0.5 GiB of memory and 0.2 GiB are free on cpu; lower training.micro_", []
    if case == "memory":
        free = psutil.virtual_memory()._replace(available=2**28)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    elif case == "cache_dir":
        (tmp_path / "file").write_text("")
        sentence = f"data.cache_dir: '{tmp_path}/file' cannot be written to; choose another folder."
        override = ["--set", f"data.cache_dir={tmp_path}/file"]
    else:
        sentence = "sources.domain.path: 'no.jsonl' matches no file or folder"
        override = ["--set", "sources.domain.path=no.jsonl"]
    code, out, _ = run_cli(["doctor", path, *override], monkeypatch, capsys)
    assert code == 1
    assert f"Problem: {sentence}" in out
    assert "Nothing here would stop a run." not in out
    code, out, _ = run_cli(["doctor", path, "--json", *override], monkeypatch, capsys)
    assert code == 1
    assert any(problem.startswith(sentence) for problem in json.loads(out)["problems"])
