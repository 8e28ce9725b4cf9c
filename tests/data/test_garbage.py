"""Rows that are no documents, files that are damaged, folders that hold more than files."""

from __future__ import annotations

import glob
import gzip
import json
import os
import socket
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.read import rows
from acclimate.data.read.documents import Cursor, Document, Reader
from acclimate.types.errors import DataError
from tests.data.samples import section
from tests.data.tables import parquet
from tests.fixtures.sentences import refused

SKIP = "; sources.law.on_bad_row: skip …"
GOOD = b'{"text": "good"}\n'


def reader(path: Path | str, **changes: Any) -> Reader:
    return Reader("law", section(path=str(path), **changes))


def texts(path: Path | str, **changes: Any) -> list[str]:
    return [document.text for document, _ in reader(path, **changes).read()]


# --- bad rows ---------------------------------------------------------------------------------------------------------


def test_skipped_rows_are_counted_by_reason_with_the_first_place(tmp_path: Path) -> None:
    bad = [b"{", b'{"text": 1}', b'{"text": "\xff"}', b"\0\0\0", b"[1]", b'{"body": "x"}', b"[" * 100_000, b"}"]
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"".join(row + b"\n" + GOOD for row in bad))
    source = reader(tmp_path, on_bad_row="skip")
    assert [document.text for document, _ in source.read()] == ["good"] * 9
    counted = {
        "bad row: not JSON (first: a.jsonl:2)": 2,
        "bad row: wrong type (first: a.jsonl:4)": 1,
        "bad row: not UTF-8 (first: a.jsonl:6)": 1,
        "bad row: NUL byte (first: a.jsonl:8)": 1,
        "bad row: not an object (first: a.jsonl:10)": 1,
        "bad row: missing field (first: a.jsonl:12)": 1,
        "bad row: nested too deeply (first: a.jsonl:14)": 1,
    }
    assert source.dropped == counted
    assert len(list(source.read(Cursor(0, 5)))) == 6
    assert source.dropped == counted  # a row is bad once, however often it is read


def test_more_bad_rows_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"1\n2\n" + GOOD)
    assert texts(tmp_path, on_bad_row="skip", max_bad_rows=2) == ["good"]
    place, kind = f"{tmp_path}/a.jsonl", "a record is a JSON object; this line holds a number"
    with refused(f"sources.law.max_bad_rows: … more than 1 …; the first are: {place}:1: {kind} | {place}:2: {kind}."):
        texts(tmp_path, on_bad_row="skip", max_bad_rows=1)
    with refused(f"{place}:1: {kind}{SKIP}"):
        texts(tmp_path)


def test_rows_of_a_table_can_be_bad(tmp_path: Path) -> None:
    strings = pyarrow.array([b"good", b"\xff", None, b"NUL\0"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": strings}), tmp_path / "a.parquet")
    place = f"{tmp_path}/a.parquet:row"
    for row, sentence in enumerate(
        [
            f"{place} 2: a text holds the byte 0xff, no UTF-8",
            f"{place} 3: 'text' must be a string, not null",
            f"{place} 4: 'text' holds a NUL character (U+0000), which no text has",
        ],
        1,
    ):
        with refused(sentence + SKIP):
            list(reader(tmp_path).read(Cursor(0, row)))
    source = reader(tmp_path, on_bad_row="skip")
    assert len(list(source.read())) == 1
    assert sum(source.dropped.values()) == 3


def test_what_a_message_carries_must_be_json(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet([{"messages": [{"role": "user", "content": "x", "raw": b"\1"}]}]))
    with refused(f"{tmp_path}/a.parquet:row 1: 'raw' in message 1 of 'messages' … bytes, …{SKIP}"):
        texts(tmp_path)


def test_long_lines_and_cells(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": long}) + "\n")
    (tmp_path / "b.csv").write_text(f'text\n"{long}"\n')
    assert [len(text) for text in texts(tmp_path)] == [len(long)] * 2


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """10 MB of rows in every format, read in a fraction of that."""
    rows = [{"text": "x" * 1000} for _ in range(2000)]
    line = json.dumps(rows[0]).encode() + b"\n"
    with gzip.open(tmp_path / "a.jsonl.gz", "wb", compresslevel=1) as stream:
        for _ in range(5):
            stream.write(line * 2000)
    with pyarrow.parquet.ParquetWriter(tmp_path / "b.parquet", pyarrow.schema([("text", pyarrow.string())])) as table:
        for _ in range(5):
            table.write_table(pyarrow.Table.from_pylist(rows))
    (tmp_path / "c.csv").write_text("text\n" + ("x" * 1000 + "\n") * 10_000)
    source = reader(tmp_path)
    first = next(source.read())  # imports
    pyarrow.default_memory_pool().release_unused()
    tracemalloc.start()
    arrow, count = 0, 0
    for document, _ in source.read():
        count += 1
        assert document.text == first[0].text
        if count % 1000 == 0:
            arrow = max(arrow, pyarrow.total_allocated_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 3_000_000
    assert arrow < 6_000_000


# --- separated values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"text,id\na,1\nb\n", "a.csv:3: this row has 1 cell, but the header names 2" + SKIP),
        (b"text,id\na,1,2\n", "a.csv:2: this row has 3 cells, but the header names 2" + SKIP),
        (b'text\na\n"b" c\n', "a.csv:3: this row cannot be read: ',' expected after '\"'" + SKIP),
        (b"text\n\xe9\n", "a.csv:2: byte 5 (0xe9) is not UTF-8; …" + SKIP),
        (b'text\n"a\n\xe9"\n', "a.csv:3: byte 8 (0xe9) is not UTF-8; …" + SKIP),
        (b"text\na\0\n", "a.csv:2: byte 6 is NUL, … (UTF-16, or damaged)" + SKIP),
        (b"text,text\na,b\n", "a.csv:1: there are 2 columns named 'text'; rename all but one."),
        (b"t\xe9xt\n", "a.csv:1: byte 1 (0xe9) is not UTF-8; …"),
        (
            b"No header,1\nSecond,2\n",
            "a.csv:1: … no field to learn from: … 'No header', '1'; accepted: 'text', 'messages', or 'prompt' and "
            "'completion'; … sources.law.fields, like {text: body}.",
        ),
    ],
)  # fmt: skip
def test_wrong_separated_values(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with refused(f"{tmp_path}/{sentence}"):
        texts(tmp_path)


def test_separated_values_as_they_are_written_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid,text,,\r\n1,one,,\r\n\r\n2,"two\r\nlines",,\r\n')
    assert texts(tmp_path) == ["one", "two\r\nlines"]
    (tmp_path / "a.csv").write_bytes(b'text\na\n"b" c\nd\n\xe9\nf,g\nh\n')
    source = reader(tmp_path, on_bad_row="skip")
    assert [document.text for document, _ in source.read()] == ["a", "d", "h"]
    assert source.dropped == {
        "bad row: not CSV (first: a.csv:3)": 1,
        "bad row: not UTF-8 (first: a.csv:5)": 1,
        "bad row: uneven row (first: a.csv:6)": 1,
    }
    (tmp_path / "a.csv").write_bytes(b"")
    assert texts(tmp_path) == []
    (tmp_path / "a.csv").write_bytes(b"\n\r\ntext\none\n")
    assert texts(tmp_path) == ["one"]
    (tmp_path / "a.csv").write_bytes(b'text\none\n"two\n' + b"three\n" * 9)
    with refused(f"{tmp_path}/a.csv:3: … a quote … is not closed …; close it."):
        texts(tmp_path, on_bad_row="skip")


def test_a_quote_that_is_never_closed_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_CELL", 40)
    (tmp_path / "a.csv").write_text('text\n"open\n' + "line\n" * 20)
    found = texts(tmp_path, on_bad_row="skip")
    assert found == ["line"] * len(found)
    assert 5 < len(found) < 20


# --- damaged files ----------------------------------------------------------------------------------------------------

LINES = GOOD * 5000


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "cannot be read: Truncated compressed stream."),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:40], "cannot be read: Truncated compressed stream."),
        ("a.jsonl.gz", LINES, "cannot be read: zlib inflate failed: incorrect header check."),
        ("a.jsonl.zst", zstandard.compress(LINES)[:-1], "cannot be read: Truncated compressed stream."),
        ("a.jsonl.zst", LINES, "cannot be read: ZSTD decompress failed: Unknown frame descriptor."),
        ("a.parquet", b"", "cannot be read as a .parquet file: Parquet file size is 0 bytes."),
        (
            "a.jsonl",
            '{"text": "x"}'.encode("utf-16"),
            "begins with the byte order mark of UTF-16; save the file as UTF-8 text.",
        ),
        ("a.csv", "text".encode("utf-32"), "begins with the byte order mark of UTF-32; save the file as UTF-8 text."),
        ("a.txt", "text".encode("utf-16"), "begins with the byte order mark of UTF-16; save the file as UTF-8 text."),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["fail", "skip"])
def test_a_damaged_file_is_no_bad_row(name: str, content: bytes, reason: str, on_bad_row: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with refused(f"{tmp_path}/{name} {reason}"):
        texts(tmp_path, on_bad_row=on_bad_row)


@pytest.mark.parametrize("cut", [4, 100, -8, -200])
def test_a_parquet_file_that_is_cut_off(cut: int, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet([{"text": "x" * 99}] * 99)[:cut])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as a \.parquet file: .*[^.]\.$"):
        texts(tmp_path)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_links_pipes_and_sockets_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to("self")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    (tmp_path / "linked.txt").symlink_to(tmp_path / "sub" / "a.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket.txt"))
        source = reader(tmp_path)
    assert [document.text for document, _ in source.read()] == ["a", "a"]
    assert source.dropped == {"broken link": 2, "a device": 1, "a named pipe": 1, "a socket": 1}


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with refused(f"sources.law.path: '{tmp_path}/pipe.jsonl' is a named pipe; … file."):
        reader(tmp_path / "pipe.jsonl")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    with refused(f"sources.law.path: '{tmp_path}/broken.txt' is a link to 'nowhere', which does not exist."):
        reader(tmp_path / "broken.txt")
    (tmp_path / "self").symlink_to("self")
    with refused(f"sources.law.path: '{tmp_path}/self' cannot be read: Too many levels of symbolic links."):
        reader(tmp_path / "self")
    with refused(f"sources.law.path: '{tmp_path}/a\0b' matches no file or folder."):
        reader(f"{tmp_path}/a\0b")
    with refused(f"sources.law.path: '/{'x' * 300}' cannot be read: File name too long."):
        reader("/" + "x" * 300)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    listed = os.listdir

    def refuse(path: str) -> list[str]:  # tests may run as root, whom no permission stops
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    for path in (tmp_path, f"{tmp_path}/**/*.txt", f"{tmp_path}/*/*.txt", f"{tmp_path}/c*"):
        with refused(f"sources.law.path: '{tmp_path}/closed' cannot be listed: Permission denied."):
            reader(path)


def test_patterns_match_as_those_of_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "b[1].txt", ".hidden.txt", "sub/a.txt", "sub/sub/c.txt", ".dot/d.txt", "sub2/e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    for pattern in ("*.txt", "./*.txt", "s*/*.*", "*/a.txt", "b[[]1].txt", "[ab]*.txt", ".h*", "sub/../*.txt",
                    "**/*.txt", "sub/**/c.txt", "**/sub/*.txt"):  # fmt: skip
        wanted = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
        for start in ("", f"{tmp_path}/"):
            found = texts(start + pattern)
            assert len(found) == len(set(found))
            expected = {os.path.normpath(path) for path in wanted}
            assert set(found) == expected
            assert expected
    for name in ("one", "two"):
        (tmp_path / "sub" / name).symlink_to(tmp_path)
    assert len(texts("**/*.txt")) == 4  # and ends: two links to above have 2^40 paths


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permissions() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's are below a folder that is closed to others
        (file := Path(folder, "a.jsonl")).write_bytes(GOOD)
        Path(folder).chmod(0o755)
        assert texts(folder) == ["good"]
        with nobody():
            assert texts(folder) == ["good"]
        file.chmod(0)
        with nobody(), refused(f"{folder}/a.jsonl cannot be read: Permission denied."):
            texts(folder)
        Path(folder).chmod(0)
        with nobody(), refused(f"sources.law.path: '{folder}' cannot be listed: Permission denied."):
            reader(folder)
        Path(folder).chmod(0o700)


def test_a_deep_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    Path("a.txt").write_text("deep")
    try:
        assert texts(tmp_path) == ["deep"]
    finally:  # deeper than what clears up after tests can go
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"/caf\xe9.txt", b"/a.caf\xe9"):
        with open(os.fsencode(tmp_path) + name, "wb") as stream:
            stream.write(b"x")
    source = reader(tmp_path)
    (document,) = (document for document, _ in source.read())
    assert document.where == f"{tmp_path}/caf\\udce9.txt"
    assert source.dropped == {"unsupported file type .caf\\udce9": 1}


# --- anything ---------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["text", "messages", "role", "content", "from", "value", "prompt", "completion"]),
                      inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
LINE = (
    st.binary(max_size=20)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(GOOD.strip())
    | st.sampled_from([b'text,"a"', b'"text', b"good,1", b"\xef\xbb\xbftext,id", b"a\tb", b"\0"])
)
CONTENT = st.lists(LINE, max_size=8).map(b"\n".join)


def damaged(content: bytes, at: int, byte: int) -> bytes:
    at %= len(content)
    return content[:at] + bytes([byte]) + content[at + 1 :]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    content = draw(CONTENT)
    name = draw(st.sampled_from(["a.jsonl", "a.csv", "a.tsv", "a.txt", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"]))
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    elif name.endswith(".zst"):
        content = zstandard.compress(content)
    elif name.endswith(".parquet") and draw(st.booleans()):
        content = parquet(draw(st.lists(st.fixed_dictionaries({"text": st.text() | st.none()}), min_size=1)))
    if content and draw(st.booleans()):
        content = damaged(content, draw(st.integers(0, 10_000)), draw(st.integers(0, 255)))
    return name, content


def read_or_refuse(path: Path, start: Cursor, on_bad_row: str) -> Iterator[tuple[Document, Cursor] | str]:
    """What is read, and the sentence it ends with, if it does."""
    try:
        for document, cursor in reader(path, on_bad_row=on_bad_row).read(start):
            document.fingerprint.encode()
            document.text.encode()
            document.where.encode()
            yield document, cursor
    except DataError as error:
        str(error).encode()
        yield str(error)


@settings(max_examples=250, deadline=None)
@given(file=files(), on_bad_row=st.sampled_from(["fail", "skip"]))
def test_anything_is_documents_or_one_error(
    file: tuple[str, bytes], on_bad_row: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / file[0]
    path.write_bytes(file[1])
    whole = list(read_or_refuse(path, Cursor(), on_bad_row))
    for position, found in enumerate(whole):
        if not isinstance(found, str):
            assert list(read_or_refuse(path, found[1], on_bad_row)) == whole[position + 1 :]


COLUMN = st.sampled_from(
    [st.text() | st.none(), st.binary(max_size=5), st.integers(-9, 9), st.dates(), st.lists(st.none() | st.text()),
     st.lists(st.none() | st.fixed_dictionaries({"role": st.text() | st.none(), "content": st.text() | st.none(),
                                                 "more": st.none() | st.dates() | st.lists(st.binary(max_size=3))}))],
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Every column of one type, as tables have it."""
    columns = {
        name: draw(COLUMN) for name in draw(st.sets(st.sampled_from(["text", "messages", "prompt"]), min_size=1))
    }
    return draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=5))


@settings(max_examples=100, deadline=None)
@given(records=tables())
def test_any_table_is_documents_or_one_error(
    records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    try:
        path.write_bytes(parquet(records))
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return  # not every list of records is a table
    for on_bad_row in ("fail", "skip"):
        list(read_or_refuse(path, Cursor(), on_bad_row))
