"""What a file of rows holds, as figures: how much, how long, of what kinds, how varied, and how far from real rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from acclimate.data.prepare.near import WORD
from acclimate.data.read.records import Document
from acclimate.verbs.replay.manuscript import VERSION, Manuscript, read_rows, said_of
from acclimate.verbs.replay.two_samples import told_apart

EDGES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Of the histogram of tokens: the last bin is open."""


def report(script: Manuscript, about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``replay.json``.

    Args:
        about: what wrote them and how, put first.
        path: of the rows.
    """
    rows = script.rows
    tokens = [row["tokens"] for row in rows]
    return {
        "version": VERSION,
        **about,
        "rows": len(rows),
        "tokens": sum(tokens),
        "written_tokens": script.drawn,
        "batches": script.batches,
        "seconds": round(script.seconds, 2),
        "dropped": dict(sorted(script.dropped.items())),
        "ended": sum(row["ended"] for row in rows),
        **{f"{key}s": _tally(rows, key) for key in ("way", "form", "thinking", "language")},
        "families": _tally(rows, "family"),
        "lengths": _histogram(tokens),
        "distinct": distinct(said_of(record) for record in read_rows(path)),
    }


def against(records: Iterable[Mapping[str, Any]], real: Sequence[Document]) -> dict[str, Any]:
    """Part -> how well a classifier tells written rows from real ones; of prompts where both have chats."""
    rows = list(records)
    asked = [record["messages"][-2]["content"] for record in rows if len(record.get("messages", ())) > 1]
    found = {"said": told_apart([said_of(record) for record in rows], [_answer(document) for document in real])}
    really = [part.text for document in real if document.templated for part in document.parts if part.role == "user"]
    return ({"prompts": told_apart(asked, really)} if asked and really else {}) | found


def _answer(document: Document) -> str:
    """What a model would have written of it."""
    said = [part.text for part in document.parts if part.role in ("assistant", "completion", "text")]
    return "\n".join(said)


def distinct(texts: Iterable[str], longest: int = 3) -> dict[str, float]:
    """n -> different runs of n words over all runs of n words, which a text that says everything once has at 1.

    >>> distinct(["a b a b", "c"])
    {'1': 0.6, '2': 0.6667, '3': 1.0}
    """
    found: dict[int, Counter[int]] = {n: Counter() for n in range(1, longest + 1)}
    for text in texts:
        words = WORD.findall(text.casefold())
        for n, runs in found.items():
            runs.update(hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1))
    return {str(n): round(len(runs) / max(1, sum(runs.values())), 4) for n, runs in found.items()}


def _tally(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, int]]:
    """Value -> rows and tokens, the most tokens first."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        if key in row:
            of = found.setdefault(row[key], {"rows": 0, "tokens": 0})
            of["rows"] += 1
            of["tokens"] += row["tokens"]
    return dict(sorted(found.items(), key=lambda item: (-item[1]["tokens"], item[0])))


def _histogram(tokens: Sequence[int]) -> dict[str, int]:
    """``up to 16``, ``17 to 32`` ... -> rows."""
    names = ["up to 16", *(f"{low + 1} to {high}" for low, high in pairwise(EDGES))]
    names.append(f"over {EDGES[-1]}")
    bins = Counter(sum(count > edge for edge in EDGES) for count in tokens)
    last = max(bins, default=0)
    return {name: bins[place] for place, name in enumerate(names[: last + 1])}
