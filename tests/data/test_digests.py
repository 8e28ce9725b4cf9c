"""A cache that is keyed by contents: a size and a time of change prove nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acclimate.data.corpus import load_corpora
from acclimate.data.prepare import digests
from acclimate.data.prepare.digests import Digests
from acclimate.data.prepare.index import read_index
from acclimate.data.read.documents import Reader
from acclimate.types.errors import DataError
from tests.data import tables
from tests.data.samples import run_config, section, write_records
from tests.fixtures.pico import pico_tokenizer

OLD, NEW = "alpha beta gamma one", "delta beta gamma one"


@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".parquet", ".txt", ""])
def test_other_text_of_the_same_size_and_time_is_read(tmp_path: Path, extension: str) -> None:
    def write(text: str) -> None:
        if extension == ".txt":
            path.write_text(text)
        else:
            shutil.rmtree(path, ignore_errors=True)
            tables.write(path, [{"text": text}, {"text": "second document here"}])

    def files() -> list[Path]:
        return sorted(path.iterdir()) if path.is_dir() else [path]

    path = tmp_path / f"data{extension}"
    config = run_config(tmp_path, {"domain": {"path": str(path), "heldout": 0}})
    tokenizer = pico_tokenizer()
    found = []
    for text in (OLD, NEW):
        write(text)
        for file in files():
            os.utime(file, ns=(10**18, 10**18))
        corpus = load_corpora(config, tokenizer).sources["domain"].train
        found.append(tokenizer.decode(corpus.document(0)[0]))
    assert OLD in found[0]
    assert NEW in found[1]


def copied_beside(source: Path, target: Path) -> None:
    """``rsync -t``: a new file with the times of the source, which then takes the old one's name."""
    shutil.copy2(source, beside := target.with_name(".a.Xk3"))
    os.replace(beside, target)


def copied_into(source: Path, target: Path) -> None:
    """``rsync -t --inplace``: the same inode is written, then gets the times of the source."""
    with target.open("r+b") as file:
        file.write(source.read_bytes())
    shutil.copystat(source, target)


WAYS: dict[str, Callable[[Path, Path], Any]] = {
    "cp -p": shutil.copy2,
    "rsync -t": copied_beside,
    "rsync -t --inplace": copied_into,
    "mv": os.replace,
    "write": lambda source, target: target.write_bytes(source.read_bytes()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_remembered_is_known_to_have_changed(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -(10**9))  # remembered at once, as if the files were old
    known, path, other = Digests(str(tmp_path / "cache")), tmp_path / "a", tmp_path / "b"
    path.write_text(OLD)
    other.write_text(NEW)
    for file in (path, other):
        os.utime(file, ns=(10**18, 10**18))
    assert known.of(str(path)) == hashlib.sha256(OLD.encode()).hexdigest()
    time.sleep(0.02)  # a tick of the file system's clock
    WAYS[way](other, path)
    os.utime(path, ns=(10**18, 10**18))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(OLD), 10**18)
    assert known.of(str(path)) == hashlib.sha256(NEW.encode()).hexdigest()


def test_a_file_is_read_once_unless_it_is_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text(OLD)
    known = Digests(str(tmp_path / "cache"))
    right = known.of(str(path))
    assert not (tmp_path / "cache").exists()  # it may change within the same tick
    monkeypatch.setattr(digests, "RACY_NS", -(10**9))
    assert known.of(str(path)) == right
    monkeypatch.setattr(digests, "hashlib", None)  # from here on no file can be read
    assert Digests(str(tmp_path / "cache")).of(str(path)) == right
    os.utime(path)
    with pytest.raises(AttributeError):
        known.of(str(path))


def test_a_cache_that_cannot_be_written_or_is_damaged_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -(10**9))
    (path := tmp_path / "a").write_text(OLD)
    (tmp_path / "file").touch()
    right = hashlib.sha256(OLD.encode()).hexdigest()
    assert Digests(str(tmp_path / "file")).of(str(path)) == right == Digests(None).of(str(path))
    assert Digests(str(tmp_path / "cache")).of(str(path)) == right
    (entry,) = (tmp_path / "cache" / "digests").iterdir()
    entry.write_text("half")
    assert Digests(str(tmp_path / "cache")).of(str(path)) == right


def test_a_file_that_changes_while_it_is_first_read_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_records(tmp_path / "a.jsonl", [{"text": OLD}, {"text": "x"}])
    original = Reader.read

    def change_then_read(self: Reader, *arguments: Any) -> Any:
        write_records(path, [{"text": NEW}, {"text": "x"}])
        return original(self, *arguments)

    monkeypatch.setattr(Reader, "read", change_then_read)
    with pytest.raises(DataError, match=r"sources\.law: its files have changed"):
        read_index("law", section(path=str(path)), str(tmp_path / "cache"))
    assert not list((tmp_path / "cache" / "index").iterdir())


def test_the_identity_of_a_stream_reads_nothing(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", [{"text": OLD}])
    _, (name, size, changed) = Reader("law", section(path=str(path))).identity()
    assert (name, size, changed) == (str(path), path.stat().st_size, path.stat().st_mtime_ns)
