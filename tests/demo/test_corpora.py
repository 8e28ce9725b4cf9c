from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acclimate.demo import answers, assets, corpora, model, prepare
from acclimate.types.errors import AcclimateError, ModelError
from tests.demo.test_ontology import SAMPLE
from tests.demo.wheels import asset_of, make_wheel
from tests.fixtures.pico import save_pico


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def boolq(count: int, start: int = 0) -> bytes:
    numbers = range(start, start + count)
    rows = [{"passage": f"Title {n} -- Text {n} " + "is long " * 20, "question": f"is it {n}"} for n in numbers]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def small_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three assets, made here; the GGUF file is a dummy whose conversion yields a pico model."""
    contents: dict[str, dict[str, bytes]] = {
        "model": {"m/pico.gguf": b"GGUF"},
        "ontology": {"o/hp.obo": SAMPLE.encode()},
        "passages": {"p/test.jsonl": boolq(400), "p/dev.jsonl": boolq(400, start=200)},
    }
    made = {}
    for name, members in contents.items():
        wheel = make_wheel(tmp_path / "wheels", members, package=f"tiny-{name}")
        made[name] = asset_of(wheel, tuple(members), package=f"tiny-{name}", name=name)
    monkeypatch.setattr(assets, "ASSETS", made)
    for name, asset in made.items():
        monkeypatch.setattr(assets, name.upper(), asset)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(model, "_save", lambda gguf, folder: save_pico(folder))
    monkeypatch.setattr(
        answers,
        "answer",
        lambda path, prompts, *rest: [("Fine.", True) for _ in prompts],
    )


@pytest.mark.usefixtures("small_assets")
def test_the_second_call_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    data = prepare(tmp_path / "cache", quick=True, say=said.append)
    assert len(rows_of(data.chat)) == corpora.CHAT_PROMPTS_QUICK
    assert 450 < len(rows_of(data.general)) < 600  # 200 of 800 are in both files, about one in eight is asked about
    assert len(rows_of(data.domain)) == 3
    assert (data.model / "model.safetensors").is_file()
    announced = [line.partition("Licence of ")[2] for line in said if "Downloading" in line]
    assert announced == ["model.", "ontology.", "passages."]
    assert all("Downloading" in line for line in said[:3])
    assert all(path.is_relative_to(tmp_path / "cache" / "demo") for path in (data.model, data.domain, data.chat))

    def unreachable(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError(f"called with {arguments}")

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    monkeypatch.setattr(subprocess, "run", unreachable)
    monkeypatch.setattr(subprocess, "Popen", unreachable)
    monkeypatch.setattr(model, "_save", unreachable)
    monkeypatch.setattr(answers, "answer", unreachable)
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it now fails
    said.clear()
    assert prepare(tmp_path / "cache", quick=True, say=said.append) == data
    assert said == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before


@pytest.mark.usefixtures("small_assets")
def test_quick_shares_everything_but_the_chat_rows(tmp_path: Path) -> None:
    quick = prepare(tmp_path, quick=True)
    full = prepare(tmp_path, quick=False)
    assert (quick.model, quick.domain, quick.general) == (full.model, full.domain, full.general)
    assert len(rows_of(full.chat)) == corpora.CHAT_PROMPTS
    first = [row["messages"][0] for row in rows_of(full.chat)][: corpora.CHAT_PROMPTS_QUICK]
    assert [row["messages"][0] for row in rows_of(quick.chat)] == first


@pytest.mark.usefixtures("small_assets")
def test_a_changed_source_is_written_again(tmp_path: Path) -> None:
    data = prepare(tmp_path, quick=True)
    data.domain.write_text("")
    (data.model / "model.safetensors").unlink()
    assert prepare(tmp_path, quick=True) == data
    assert len(rows_of(data.domain)) == 3
    assert (data.model / "model.safetensors").is_file()


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "DISK_BYTES", 10**18)
    with pytest.raises(AcclimateError, match="GB are free"):
        prepare(tmp_path / "cache", quick=True)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    gguf = tmp_path / "in" / "broken.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=re.escape(str(gguf))):
        model.convert_gguf(gguf, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
