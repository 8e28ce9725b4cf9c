"""Notes about labels: counted once per row and kind, kept with the tokens, printed once per kind and source."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from acclimate.data.chat.label_notes import LabelNote, joined
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.types.errors import DataError
from acclimate.verbs.validate.labels import label_notes, turn_ends
from tests.data.samples import run_config, write_records
from tests.fixtures.pico import pico_tokenizer, save_pico
from tests.fixtures.templates import shaped


def turns(*contents: str, **keys: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content, **keys} for i, content in enumerate(contents)]}


THOUGHT = "<think>\nr{}\n</think>\n\na{}"
ROWS = [
    *(turns(f"q{i}", f"a{i}", id=i) for i in range(1, 6)),
    turns("q6", THOUGHT.format(6, 6), "q7", THOUGHT.format(7, 7)),
    turns("q8", " ", "q9", "a9"),
    turns("q10", "", "q11", "a11"),
    turns("q12", ""),
]  # fmt: skip


def loaded(folder: Path, rows: list[Any], tokenizer: Any, **settings: Any) -> Corpora:
    path = write_records(folder / "domain.jsonl", rows)
    config = run_config(folder, {"domain": {"path": str(path), "heldout": 0} | settings})
    return load_corpora(config, tokenizer)


def notes(folder: Path, corpora: Corpora, tokenizer: Any, model: Path) -> list[str]:
    config = run_config(folder, {"domain": {"path": "a"}}, model={"path": str(model)})
    return [note for _, note in label_notes(config, corpora, tokenizer)]


def test_rows_are_counted_and_the_cache_keeps_the_counts(tmp_path: Path) -> None:
    expected = {"unread": (5, 1), "cut": (1, 6), "empty": (2, 7)}
    for _ in range(2):  # read, and from the cache
        corpus = loaded(tmp_path, ROWS, shaped("qwen 3")).sources["domain"]
        found = {note.kind: (note.rows, int(note.first.rpartition(":")[2])) for note in corpus.label_notes}
        assert found == expected
        assert corpus.dropped == {"empty": 1}
    streamed = loaded(tmp_path, ROWS, shaped("qwen 3"), streaming=True).sources["domain"]
    assert {note.kind: note.rows for note in streamed.label_notes} == {"unread": 5, "cut": 1, "empty": 2}


def test_each_kind_is_one_line_with_count_and_place(tmp_path: Path) -> None:
    tokenizer = shaped("qwen 3")
    model = save_pico(tmp_path / "model")
    lines = notes(tmp_path, loaded(tmp_path, ROWS, tokenizer), tokenizer, model)
    assert len(lines) == 4
    assert lines[0].startswith(
        "source 'domain': 5 rows hold what the chat template never reads: 'id' of assistant messages"
    )
    assert "(first: domain.jsonl:1)" in lines[0]
    assert "1 row holds reasoning in an earlier answer" in lines[1]
    assert "2 rows hold an answer without any text, which is context only (first: domain.jsonl:7)" in lines[2]
    assert "answers end with '<|im_end|>', which is learned, but the base stops elsewhere" in lines[3]


def test_ends_of_turns_are_named(tmp_path: Path) -> None:
    model = save_pico(tmp_path / "model")
    for name, line, warning in (
        ("newline", r"Turns of 'domain' end with '\n</s>', which is learned.", "the base stops elsewhere"),
        ("chatml, plain text", "Turns of 'domain' end with '<|im_end|>', which is learned.", "no token of its own"),
        ("apertus", "Turns of 'domain' end with '<|assistant_end|>', which is learned. The chat template leaves it out "
         "behind the last answer, so it is put there.", "the base stops elsewhere"),
        ("glm 4", "Turns of 'domain' end with '<|user|>', which is learned. The chat template leaves it out behind the "
         "last answer, so it is put there.", "the base stops elsewhere"),
        ("alpaca", "Turns of 'domain' end with '</s>' (the last), which is learned. The chat template leaves it out "
         "behind the last answer, so it is put there.", "the base stops elsewhere"),
    ):  # fmt: skip
        tokenizer = shaped(name)
        corpora = loaded(tmp_path, [turns("q", "a")], tokenizer)
        assert turn_ends(corpora) == [line]
        (found,) = notes(tmp_path, corpora, tokenizer, model)
        assert warning in found, name
    tokenizer = deepcopy(shaped("alpaca"))
    tokenizer.eos_token = None
    corpora = loaded(tmp_path, [turns("q", "a")], tokenizer)
    assert turn_ends(corpora) == []
    assert (
        "the chat template ends no answer, and the tokenizer has no eos"
        in notes(tmp_path, corpora, tokenizer, model)[0]
    )
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    tokenizer = pico_tokenizer()
    assert notes(tmp_path, loaded(tmp_path, [turns("q", "a")], tokenizer), tokenizer, model) == []
    assert turn_ends(loaded(tmp_path, [{"text": "plain"}], tokenizer)) == []


def test_empty_answers_are_dropped_as_empty(tmp_path: Path) -> None:
    rows = [turns("hi", ""), turns("ho", "   "), {"prompt": "ho", "completion": ""}, turns("he", "ha")]
    assert loaded(tmp_path, rows, pico_tokenizer()).sources["domain"].dropped == {"empty": 3}
    with pytest.raises(DataError, match="dropped: 3 empty"):
        loaded(tmp_path, rows[:3], pico_tokenizer())


def test_parts_of_a_source_are_joined() -> None:
    one, two = LabelNote("unread", 2, "a:1", ("x", "y")), LabelNote("unread", 3, "b:1", ("y", "z"))
    assert joined([one], [two, LabelNote("cut", 1, "b:2")]) == (
        LabelNote("unread", 5, "a:1", ("x", "y", "z")), LabelNote("cut", 1, "b:2"),
    )  # fmt: skip
    assert str(one) == "2 rows hold what the chat template never reads: x, y (first: a:1)."
