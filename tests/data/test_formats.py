"""Every format: the same documents, from any place on, each with a place that can be found."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from acclimate.config.load import with_absolute_paths
from acclimate.data.read.documents import Cursor, Document, Reader
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import run_config, section, write_records
from tests.data.tables import WRITERS, write
from tests.fixtures.sentences import refused

RECORDS = [{"id": i, "text": f'Text {i},\nwith "quotes" and an é.'} for i in range(11)]
CHAT = [
    {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]} for i in range(7)
]
SKIP = "; sources.law.on_bad_row: skip …"


def reader(path: Path | str, **settings: Any) -> Reader:
    return Reader("law", section(path=str(path), **settings))


def documents(path: Path | str, **settings: Any) -> list[Document]:
    return [document for document, _ in reader(path, **settings).read()]


def texts(path: Path | str, **settings: Any) -> list[str]:
    return [document.text for document in documents(path, **settings)]


def assert_every_cursor_gives_the_tail(source: Reader) -> int:
    whole = list(source.read())
    for position, (_, cursor) in enumerate(whole):
        assert list(source.read(cursor)) == whole[position + 1 :]
    assert list(source.read(Cursor())) == whole
    return len(whole)


@pytest.mark.parametrize("extension", ["", *WRITERS])
def test_the_same_documents_in_every_format_from_every_place(extension: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"d{extension}", RECORDS)
    assert texts(path) == [record["text"] for record in RECORDS]
    assert assert_every_cursor_gives_the_tail(reader(path)) == len(RECORDS)


@pytest.mark.parametrize("extension", ["", ".jsonl.zst", ".parquet"])
def test_chats_have_one_fingerprint_in_every_format(extension: str, tmp_path: Path) -> None:
    records = [*CHAT, {"messages": [{"role": "user", "content": "x", "name": "Eve"}]}]  # columns fill up with nulls
    tools = [{"type": "function", "function": {"name": "add", "strict": True}}, {"type": "other"}]
    records = [record | {"tools": None} for record in records] + [records[0] | {"tools": tools}]
    plain = documents(write_records(tmp_path / "plain.jsonl", records))
    found = documents(write(tmp_path / f"d{extension}", records))
    assert [document.fingerprint for document in found] == [document.fingerprint for document in plain]
    assert found[0].templated
    assert found[-1].tools == tuple(tools)


def test_places_lead_to_the_row(tmp_path: Path) -> None:
    found = {}
    for extension in ("", ".jsonl.gz", ".csv", ".parquet"):
        path = write(tmp_path / f"d{extension}", RECORDS)
        found[extension] = [document.where.removeprefix(str(path)) for document in documents(path)][:3]
    assert found == {
        "": [":row 1", ":row 2", ":row 3"],
        ".jsonl.gz": [":1", ":2", ":3"],
        ".csv": [":2", ":4", ":6"],  # lines of the file: line 1 is the header, and these cells hold a line break
        ".parquet": [":row 1", ":row 2", ":row 3"],
    }


def test_compressed_text_and_several_members(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"file"))
    (tmp_path / "b.md.zst").write_bytes(zstandard.compress(b"# two"))
    assert texts(tmp_path) == ["one file", "# two"]


def test_a_folder_of_many_formats_is_one_source(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", RECORDS)
    write(tmp_path / "b.csv", RECORDS)
    (tmp_path / "c.txt").write_text("plain")
    write(tmp_path / "d", RECORDS)
    assert assert_every_cursor_gives_the_tail(reader(tmp_path)) == 3 * len(RECORDS) + 1


def test_only_what_becomes_documents_is_read_of_a_table(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b"], "date": pyarrow.array([2**62, 0], pyarrow.timestamp("us"))})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert texts(tmp_path) == ["a", "b"]  # the date, which Python cannot hold, is not looked at
    with refused(f"{tmp_path}/a.parquet:row 1: … date value out of range{SKIP}"):
        texts(tmp_path, fields={"text": "date"})
    with refused(f"{tmp_path}/a.parquet:row 2: 'date' must be a string, not a value of type datetime{SKIP}"):
        list(reader(tmp_path, fields={"text": "date"}).read(Cursor(0, 1)))


# --- datasets ---------------------------------------------------------------------------------------------------------


def test_a_saved_dataset_dict_wants_its_split(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    saved = tmp_path / "saved"
    DatasetDict(
        {"train": Dataset.from_list(RECORDS), "test": Dataset.from_list(RECORDS[:2])}
    ).save_to_disk(saved)  # fmt: skip
    assert len(texts(saved, split="train")) == 11
    assert documents(saved, split="test")[1].where == f"{saved}/test:row 2"
    with refused(f"sources.law.split is not given; '{saved}' has train or test."):
        reader(saved)
    with refused(f"sources.law.split is 'tset'; '{saved}' has train or test. Did you mean 'test'?"):
        reader(saved, split="tset")
    (saved / "dataset_dict.json").write_text("{}")
    with refused(f"{saved}/dataset_dict.json is damaged: it lists no splits."):
        reader(saved, split="train")


def test_a_damaged_saved_dataset(tmp_path: Path) -> None:
    saved = write(tmp_path / "saved", RECORDS)
    (saved / "data-00000-of-00001.arrow").write_bytes(b"no")
    with pytest.raises(DataError, match=f"^{re.escape(str(saved))} cannot be read as a saved dataset: .*[^.]\\.$"):
        texts(saved)


class Hub:
    """What the reader asks the hub for, answered from memory."""

    sha = "c0ffee"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", self.info)
        monkeypatch.setattr("datasets.load_dataset", self.load)

    def info(self, path: str, revision: str | None) -> Hub:
        self.asked.append((path, revision))
        if path == "no/such":
            raise FileNotFoundError("404 Client Error.\nRepository Not Found")
        return self

    def load(self, path: str, **settings: Any) -> Any:
        from datasets import Dataset

        self.asked.append((path, settings))
        return Dataset.from_list(RECORDS).to_iterable_dataset()


def test_a_hub_id_is_streamed_at_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    source = reader("owner/name", split="train", revision="v1", subset="en")
    assert assert_every_cursor_gives_the_tail(source) == len(RECORDS)
    assert hub.asked[:2] == [
        ("owner/name", "v1"),
        ("owner/name", {"name": "en", "split": "train", "revision": "c0ffee", "streaming": True}),
    ]
    assert next(source.read())[0].where == "owner/name (train) row 1"
    assert source.identity()[1:] == [["owner/name (train)", "en", "c0ffee"]]
    with refused("owner/name (train): sources.law.fields needs 'body' in this file; it has 'id', 'text'."):
        list(reader("owner/name", split="train", fields={"text": "body"}).read())


def test_a_hub_stream_goes_on_in_its_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """From every place, also inside of a shard; shards before it are not read. Of another version's place all are."""
    from datasets import IterableDataset

    read: list[int] = []

    def rows(shards: list[int]) -> Any:
        for shard in shards:
            read.append(shard)
            yield from ({"text": f"document {shard} {number}"} for number in range(4))

    def load(path: str, **settings: Any) -> Any:
        return IterableDataset.from_generator(rows, gen_kwargs={"shards": [0, 1, 2]})

    Hub(monkeypatch)
    monkeypatch.setattr("datasets.load_dataset", load)
    source = reader("owner/name", split="train")
    whole = [document.text for document, _ in source.read()]
    assert len(whole) == 12
    kept = []
    for position, (_, cursor) in enumerate(source.read()):
        kept.append(Cursor(**json.loads(json.dumps(asdict(source.kept(cursor))))))
        assert kept[-1].record == position + 1
    for position, cursor in enumerate(kept):
        read.clear()
        again = reader("owner/name", split="train")
        found = list(again.read(cursor))
        assert [document.text for document, _ in found] == whole[position + 1 :]
        assert [place.record for _, place in found] == list(range(position + 2, 13))
        assert min(read, default=3) >= position // 4
    other = replace(kept[8], place={"datasets": "0", "state": None})
    read.clear()
    assert [document.text for document, _ in source.read(other)] == whole[9:]
    assert min(read) == 0


def test_what_the_hub_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch)
    with refused("sources.law.path: 'no/such' is no file or folder …, … hub id …: 404 Client Error."):
        reader("no/such", split="train")

    def stop(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the line is dead")

    monkeypatch.setattr("datasets.load_dataset", stop)
    with refused("owner/name (train) cannot be read after row 0: the line is dead."):
        texts("owner/name", split="train")


def test_a_local_path_never_reaches_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    write(tmp_path / "owner" / "name", RECORDS)
    assert len(texts("owner/name")) == 11
    with refused(
        f"sources.law.path: 'owner/nmae' matches no file or folder (… {tmp_path}); … hub id, … sources.law.split."
    ):
        reader("owner/nmae")
    with refused(f"sources.law.path: './owner/nmae' matches no file or folder (looked from {tmp_path})."):
        reader("./owner/nmae", split="train")
    assert hub.asked == []


@pytest.mark.parametrize("key", ["split", "subset", "revision", "fields"])
def test_a_setting_without_effect_is_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    value = {"text": "body"} if key == "fields" else "train"
    with refused(f"sources.law.{key} has no effect on '{tmp_path}'; leave it out.", ConfigError):
        reader(tmp_path, **{key: value})


# --- URLs -------------------------------------------------------------------------------------------------------------


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for extension, writer in WRITERS.items():
        memory.pipe(f"/formats/d{extension}", writer(RECORDS))
    memory.pipe("/formats/e.bin", b"")
    assert documents("memory://formats/d.csv")[1].where == "memory:///formats/d.csv:4"
    for url in ("memory://formats", "memory://formats/d*"):
        assert assert_every_cursor_gives_the_tail(reader(url)) == len(WRITERS) * len(RECORDS)
    assert reader("memory://formats").dropped == {"unsupported file type .bin": 1}
    path = write(tmp_path / "d.parquet", RECORDS)
    assert len(texts(f"file://{path}")) == 11


def test_urls_that_lead_nowhere() -> None:
    with refused("sources.law.path: there is nothing at 'memory://nowhere/a.jsonl'."):
        reader("memory://nowhere/a.jsonl")
    with refused("sources.law.path: 'nope://a.jsonl' cannot be reached: Protocol not known: nope."):
        reader("nope://a.jsonl")
    fsspec.filesystem("memory").pipe("/damaged/a.jsonl.zst", zstandard.compress(b'{"text": "x"}\n' * 999)[:-4])
    with refused("memory:///damaged/a.jsonl.zst cannot be read: Truncated compressed stream."):
        texts("memory://damaged/a.jsonl.zst")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with refused("sources.law.path: 's3://bucket/a.jsonl' needs a package …: Install s3fs to access S3."):
        reader("s3://bucket/a.jsonl")


def test_only_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / name, RECORDS)
    paths = {"local": "a.jsonl", "url": ["s3://bucket/a", "b.jsonl"], "many": "*.jsonl", "gone": "data/away"}
    sources: dict[str, dict[str, Any]] = {name: {"path": path} for name, path in paths.items()}
    sources["hub"] = {"path": "owner/name", "split": "train"}
    config = run_config(tmp_path, sources)
    assert with_absolute_paths(config).sources["gone"].path == f"{tmp_path}/data/away"
    config = with_absolute_paths(config, keep_missing=True)
    assert {name: section.path for name, section in config.sources.items()} == {
        "local": f"{tmp_path}/a.jsonl",
        "url": ["s3://bucket/a", f"{tmp_path}/b.jsonl"],
        "many": f"{tmp_path}/*.jsonl",
        "gone": "data/away",
        "hub": "owner/name",
    }


# --- identity ---------------------------------------------------------------------------------------------------------


def test_identity_changes_with_the_files_and_with_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "saved", RECORDS)
    path = write(tmp_path / "a.jsonl", RECORDS)
    before = reader(tmp_path).identity()
    assert json.loads(json.dumps(before)) == before
    assert reader(tmp_path, share=0.5, heldout=3).identity() == before
    assert reader(tmp_path, on_bad_row="skip").identity() != before
    assert reader(tmp_path, format="text").identity() != before
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Text 3", b"Text 4"))  # of the same size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    changed = reader(tmp_path).identity()
    assert changed != before
    arrow = tmp_path / "saved" / "data-00000-of-00001.arrow"
    os.utime(arrow, ns=(0, 0))
    assert reader(tmp_path).identity() not in (before, changed)


def test_identity_of_a_url() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/identity/a.jsonl", b'{"text": "x"}\n')
    source = reader("memory://identity/a.jsonl")
    before = json.dumps(source.identity())
    assert json.dumps(source.identity()) == before
    memory.pipe("/identity/a.jsonl", b'{"text": "xy"}\n')
    assert json.dumps(source.identity()) != before


def test_identity_of_a_url_asks_past_the_driver_s_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/cached/a.jsonl", b"")
    source = reader("memory://cached/a.jsonl")
    asked: list[str] = []
    monkeypatch.setattr(type(memory), "invalidate_cache", lambda *_: asked.append("forget"))
    monkeypatch.setattr(type(memory), "info", lambda _, path: [asked.append("info"), {"size": 7}][1])
    assert source.identity()[1:] == [["memory:///cached/a.jsonl", "size=7"]]
    assert asked == ["forget", "info"]


def test_identity_of_a_file_that_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", RECORDS)
    source = reader(path)
    path.unlink()
    with refused(f"{path} cannot be read: No such file or directory."):
        source.identity()


def test_plain_runs_import_no_table_library(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    program = (
        "import sys; from acclimate.data.read.documents import Reader\n"
        "from acclimate.config.source_schema import SourceSection\n"
        f"reader = Reader('law', SourceSection(path={str(tmp_path)!r})); list(reader.read()); reader.identity()\n"
        "print([name for name in ('datasets', 'pyarrow', 'pandas', 'zstandard', 'fsspec') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
