"""The demo's general text: the Wikipedia passages of BoolQ, each once, with their titles and questions."""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from acclimate.types.errors import DataError

SEPARATOR = " -- "
"""The test file puts the title before the passage with this; the dev file has a field for it."""


@dataclass(frozen=True)
class Passage:
    title: str
    text: str
    questions: tuple[str, ...]

    @property
    def document(self) -> str:
        return f"{self.title}\n\n{self.text}" if self.title else self.text


def clean(text: str) -> str:
    """Undoes what the data set's tokeniser left in the text, and nothing else.

    HTML entities are decoded, ``''quotes''`` of LaTeX become plain ones, ``--`` becomes a dash,
    brackets that lost their content (a recording, a pronunciation) go, white space is single.

    >>> clean("a  ``new''  series ( (listen)), 2018--19 &amp; later -- he said , so ()")
    'a "new" series, 2018–19 & later – he said, so'
    """
    text = html.unescape(text).replace("\xa0", " ").replace("``", '"').replace("''", '"')
    text = text.replace("--", "–").replace("(listen)", "").replace("( listen)", "")
    text = re.sub(r"\(\s*[;,]?\s*\)", "", text)
    text = re.sub(r"\(\s*[;,]?\s+", "(", text)
    text = re.sub(r"\s+([,.;:)])", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def read_passages(paths: Iterable[Path]) -> list[Passage]:
    """Passages in file order, each once; questions about the same passage are gathered.

    Two passages are the same if their words are (case, punctuation, white space and title aside), so
    that no later split can put one text on both sides. Passages with formulas are left out: the data
    set kept only fragments of their LaTeX.
    """
    found: dict[str, tuple[str, str, list[str]]] = {}
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                title, text, question = _fields(line, path, number)
                if "\\displaystyle" in text or not text:
                    continue
                key = " ".join(re.findall(r"\w+", text.casefold()))
                known = found.setdefault(key, (title, text, []))
                if question and question not in known[2]:
                    known[2].append(question)
    return [Passage(title, text, tuple(questions)) for title, text, questions in found.values()]


def apart(passages: Iterable[Passage]) -> tuple[list[Passage], list[Passage]]:
    """(general text, passages to ask about): an article is on one side only, one in eight on the second.

    Chat prompts quote and name articles; general text that is measured must not hold the same ones.
    """
    sides: tuple[list[Passage], list[Passage]] = ([], [])
    for passage in passages:
        sides[zlib.crc32((passage.title or passage.text).encode()) % 8 == 0].append(passage)
    return sides


def write_passages(passages: Iterable[Passage], output: Path) -> int:
    """Writes ``{"title", "text"}`` lines and returns how many.

    ``title`` allows a split by article: BoolQ holds several passages of some articles.
    """
    count = 0
    with output.open("w", encoding="utf-8") as file:
        for count, passage in enumerate(passages, start=1):  # noqa: B007 (the last count is the result)
            row = {"title": passage.title, "text": passage.document}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _fields(line: str, path: Path, number: int) -> tuple[str, str, str]:
    try:
        row = json.loads(line)
        passage, question, title = str(row["passage"]), str(row["question"]), row.get("title")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}, line {number}: expected a JSON object with 'passage' and 'question' ({error!r})."
        ) from error
    if title is None:
        title, _, passage = passage.partition(SEPARATOR) if SEPARATOR in passage else ("", "", passage)
    return clean(title), clean(passage), clean(question)
