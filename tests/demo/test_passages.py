from __future__ import annotations

import json
from pathlib import Path

import pytest

from acclimate.demo.passages import Passage, clean, read_passages, write_passages
from acclimate.demo.prompts import GENERAL, PATTERN, TITLE_TEMPLATES, chat_prompts
from acclimate.types.errors import DataError


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sample(count: int = 60) -> list[Passage]:
    return [Passage(f"Title {n}", f"Text number {n}. " + "word " * 40, (f"is it {n}",)) for n in range(count)]


def test_one_text_in_two_files_is_one_passage(tmp_path: Path) -> None:
    test = write(
        tmp_path / "test.jsonl",
        [
            {"passage": "Ice -- Ice is ``frozen'' water -- always.", "question": "is ice water"},
            {"passage": "Fire -- Fire is hot.", "question": "is fire hot"},
        ],
    )
    dev = write(
        tmp_path / "dev.jsonl",
        [
            {"passage": 'Ice is "frozen"  water, always', "title": "Frozen water", "question": "can ice melt"},
            {"passage": "A sum \\displaystyle x", "title": "Sum", "question": "is it a sum"},
            {"passage": "Air moves.", "title": "Air", "question": "does air move"},
        ],
    )
    passages = read_passages([test, dev])
    assert [passage.title for passage in passages] == ["Ice", "Fire", "Air"]
    assert passages[0].questions == ("is ice water", "can ice melt")
    assert passages[0].document == 'Ice\n\nIce is "frozen" water – always.'
    assert write_passages(passages, tmp_path / "out.jsonl") == 3
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"title": "Fire", "text": "Fire\n\nFire is hot."}


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", [{"passage": "A -- b", "question": "c"}, {"passage": "only"}])
    with pytest.raises(DataError, match=r"test\.jsonl, line 2"):
        read_passages([path])


def test_clean_leaves_ordinary_text_alone() -> None:
    text = "Rock 'n' roll (1950s; US) costs $5 & more. It's fine."
    assert clean(text) == text


def test_prompts_are_unique_deterministic_and_nested() -> None:
    prompts = chat_prompts(sample(), 150, seed=0)
    assert len(set(prompts)) == len(prompts) == 150
    assert chat_prompts(sample(), 150, seed=0) == prompts
    assert chat_prompts(sample(), 40, seed=0) == prompts[:40]
    assert chat_prompts(sample(), 150, seed=1) != prompts


def test_every_kind_of_prompt_occurs() -> None:
    first = chat_prompts(sample(), len(PATTERN), seed=0)
    assert sum(prompt in GENERAL for prompt in first) == PATTERN.count("general")
    assert sum(prompt.startswith("Summarise") for prompt in first) == PATTERN.count("summary")
    assert sum(prompt.startswith("Is it") and prompt.endswith("?") for prompt in first) == PATTERN.count("question")


def test_more_prompts_than_there_are() -> None:
    available = len(GENERAL) + 3 * 2
    assert len(chat_prompts(sample(2), available, seed=0)) == available
    with pytest.raises(DataError, match=f"give {available}"):
        chat_prompts(sample(2), available + 1, seed=0)


def test_the_hand_written_lists_hold_no_doubles() -> None:
    assert len(set(GENERAL)) == len(GENERAL) >= 40
    assert len(set(TITLE_TEMPLATES)) == len(TITLE_TEMPLATES) == 12
    assert all("{title}" in template for template in TITLE_TEMPLATES)
