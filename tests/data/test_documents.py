from __future__ import annotations

from pathlib import Path

import pytest

from acclimate.data.read.documents import read_documents
from acclimate.data.read.files import File
from tests.data.samples import section, write_records
from tests.fixtures.sentences import refused

SKIP = "; sources.law.on_bad_row: skip …"


def read(path: Path | str | list[str], **settings: object) -> tuple[list[str], dict[str, int]]:
    """Texts and dropped counts."""
    paths = path if isinstance(path, list) else str(path)
    documents, dropped = read_documents("law", section(path=paths, **settings))
    return [document.text for document in documents], dict(dropped)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("second\r\nfile\n")
    (tmp_path / "a.md").write_text("# first")
    (tmp_path / "sub" / "c.jsonl").write_text('{"text": "one", "id": 7}\n\n  \n{"text": "two"}\n')
    (tmp_path / "sub" / "d.odt").write_text("no")
    (tmp_path / "Makefile").write_text("no")
    return tmp_path


def test_a_folder_is_read_recursively_sorted_and_counts_what_it_cannot_read(folder: Path) -> None:
    documents, dropped = read_documents("law", section(path=str(folder)))
    assert [document.text for document in documents] == ["# first", "second\nfile\n", "one", "two"]
    assert [document.where.removeprefix(f"{folder}/") for document in documents] == [
        "a.md", "b.txt", "sub/c.jsonl:1", "sub/c.jsonl:4",
    ]  # fmt: skip
    assert dropped == {"unsupported file type .odt": 1, "unsupported file type (none)": 1}
    assert {document.source for document in documents} == {"law"}


def test_files_globs_and_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(folder / "a.md")[0] == ["# first"]
    assert read(f"{folder}/*.md")[0] == ["# first"]
    assert read(f"{folder}/**/*.jsonl")[0] == ["one", "two"]
    assert read(f"{folder}/su*")[0] == ["one", "two"]
    assert read([f"{folder}/b.txt", f"{folder}/*.md", f"{folder}/a.md"])[0] == ["second\nfile\n", "# first"]
    monkeypatch.setenv("HOME", str(folder))
    assert read("~/a.md")[0] == ["# first"]


def test_byte_order_mark_and_crlf_are_tolerated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
    assert read(tmp_path)[0] == ["hello", "one", "two"]


def test_a_line_separator_inside_a_string_does_not_end_the_record(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one\u2028still one"}\n', encoding="utf-8")
    assert read(tmp_path)[0] == ["one\u2028still one"]


def test_empty_documents_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("  \n")
    records = [{"text": ""}, {"messages": []}, {"prompt": "p", "completion": " "}, {"text": "x"}]
    write_records(tmp_path / "b.jsonl", records)
    assert read(tmp_path) == (["x"], {"empty": 4})


def test_a_path_that_matches_nothing(tmp_path: Path) -> None:
    with refused(f"sources.law.path: '{tmp_path}/none/*.txt' matches no file or folder."):
        read(f"{tmp_path}/none/*.txt")
    with refused(f"sources.law.path: 'no-such.txt' matches no file or folder (looked from {Path.cwd()})."):
        read("no-such.txt")


def test_no_document_at_all(tmp_path: Path) -> None:
    with refused(f"sources.law.path: there is no document in '{tmp_path}' (0 files read, dropped: nothing)."):
        read(tmp_path)
    (tmp_path / "a.jsonl").write_text('\n{"text": " "}\n')
    with refused(f"sources.law.path: there is no document in '{tmp_path}' (1 file read, dropped: 1 empty)."):
        read(tmp_path)


def test_a_single_file_of_an_unknown_type(tmp_path: Path) -> None:
    (tmp_path / "a.jsonn").write_text("{}")
    with refused(
        f"sources.law.path: '{tmp_path}/a.jsonn' … '.jsonn'; accepted: .txt, .md, .jsonl, .json, .csv, .tsv, "
        ".parquet, .html, .htm, .pdf or .docx, … .gz or .zst. Did you mean '.json'?"
    ):
        read(tmp_path / "a.jsonn")


def test_invalid_utf8_names_file_and_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with refused(f"{tmp_path}/a.txt:1: byte 3 (0xff) is not UTF-8; …{SKIP}"):
        read(tmp_path / "a.txt")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "one"}\n{"text": "\xe9"}\n')
    with refused(f"{tmp_path}/b.jsonl:2: byte 26 (0xe9) is not UTF-8; …{SKIP}"):
        read(tmp_path / "b.jsonl")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")

    def refuse(self: object) -> bytes:  # tests may run as root, whom no permission stops
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(File, "open", refuse)
    with refused(f"{tmp_path}/a.txt cannot be read: Permission denied."):
        read(tmp_path / "a.txt")


def test_plain_files_have_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    with refused(f"{tmp_path}/a.md: sources.law.format is 'messages', … plain text; … .jsonl …"):
        read(tmp_path, format="messages")
