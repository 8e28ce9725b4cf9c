"""A .json file: arrays, records one a line, an object, a chat; in the memory of a record."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from acclimate.data.read import arrays
from acclimate.data.read.arrays import json_values
from acclimate.data.read.documents import Reader
from acclimate.data.read.records import RecordSchema
from acclimate.types.errors import DataError
from tests.data.samples import section
from tests.fixtures.sentences import quoted, refused

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def rows(text: str | bytes, start: int = 0) -> list[tuple[int, str, Any]]:
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    found = json_values(stream, "a.json", RecordSchema("law", section()), start)
    return [(row.number, row.where, row.value) for row in found]


def values(text: str | bytes) -> list[Any]:
    return [value for _, _, value in rows(text)]


RECORDS = [{"text": 'é ☃ \\ " ] , }' * 9, "n": i, "deep": [{"a": [1.5, None, True]}]} for i in range(40)]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_an_array_is_read_alike_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK", block)
    for text in (
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2, ensure_ascii=False),
        "\ufeff" + json.dumps(RECORDS),
    ):
        assert values(text) == RECORDS
        assert rows(text, 38) == [(i, f"a.json:row {i + 1}", RECORDS[i]) for i in (38, 39)]
    assert values(json.dumps([12345, *RECORDS[:1]]))[1:] == RECORDS[:1]
    assert values("[]") == values(" \n ") == []


@pytest.mark.parametrize("block", [5, 1 << 20])
def test_records_one_a_line_name_their_line(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK", block)
    text = '{"text": "a"}\n\n{"text":\n "b"}\n{"text": "c"}'
    assert [where for _, where, _ in rows(text)] == ["a.json:1", "a.json:3", "a.json:5"]
    assert rows(text, 2) == [(2, "a.json:5", {"text": "c"})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ({"text": "a"}, [{"text": "a"}]),
        ({"version": 1, "data": [{"text": "a"}, {"text": "b"}]}, [{"text": "a"}, {"text": "b"}]),
        ({"messages": CHAT, "id": 3}, [{"messages": CHAT, "id": 3}]),
        ({"question": "q", "answer": "a", "tools": [{}]}, [{"question": "q", "answer": "a", "tools": [{}]}]),
        (CHAT, [{"messages": CHAT}]),
        ([CHAT, CHAT], [{"messages": CHAT}] * 2),
        ([[{"from": "human", "value": "q"}]], [{"messages": [{"from": "human", "value": "q"}]}]),
    ],
)
def test_what_else_a_file_may_hold(text: Any, found: list[Any]) -> None:
    assert values(json.dumps(text)) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"text": "a"},\n{"text" "b"}]', "a.json:2: this is not JSON: expecting ':' delimiter; mend the file."),
        ('[{"text": "a"}\n{"text": "b"}]', "a.json:2: this is not JSON: a comma or ] is missing behind an item; …"),
        ('[{"text": "a"},\n{"text": "b"}', "a.json:2: this is not JSON: the array is not closed; …"),
        ('[{"text": "a"},\n{"text": "b', "a.json:2: this is not JSON: unterminated string starting at; …"),
        ('[{"text": "a"}]\n3', "a.json:2: this is not JSON: more follows after the array; …"),
        ("[1,]", "a.json:1: this is not JSON: …"),
        ("text", "a.json: a .json file holds an array of records, or records one a line, not 't'."),
        (b'[{"text": "\xff"}]', "a.json: byte 11 (0xff) is not UTF-8; …"),
        (json.dumps(RECORDS).encode("utf-16"), "a.json begins with the byte order mark of UTF-16; …"),
        ("[" * 100_000, "a.json:1: this is not JSON: it is nested too deeply to be read; …"),
    ],
)
def test_what_is_no_json_names_its_place(text: str | bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=quoted(sentence)):
        values(text)


def test_a_bad_item_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a"}, 3, {"text": "half \\ud83d"}, {"text": "b"}]')
    with refused(f"{path}:row 2: a record is a JSON object; this item is a number; …"):
        list(Reader("law", section(path=str(path))).read())
    reader = Reader("law", section(path=str(path), on_bad_row="skip"))
    assert [document.text for document, _ in reader.read()] == ["a", "b"]
    assert sum(reader.dropped.values()) == 2


def test_of_a_folder_only_what_holds_records_is_read(tmp_path: Path) -> None:
    """Beside a corpus lie settings and metadata; a file that is named is read or refused."""
    (tmp_path / "a.json").write_text(json.dumps(RECORDS))
    (tmp_path / "meta.json").write_text('{"name": "x", "files": [{"path": "a.json"}]}')
    (tmp_path / "torn.json").write_text('[{"text": ')
    reader = Reader("law", section(path=str(tmp_path)))
    assert len(list(reader.read())) == len(RECORDS)
    assert reader.dropped == reader.passed_over == {"unsupported file type .json": 2}
    with refused(f"{tmp_path}/meta.json:row 1: this record has no field to learn from: it has 'path'; …"):
        list(Reader("law", section(path=f"{tmp_path}/m*.json")).read())
