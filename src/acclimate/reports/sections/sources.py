"""What runs read, learned from and left out, and what held-out text shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acclimate.reports.collect import ReportData
from acclimate.reports.words import number
from acclimate.reports.words.names import named


def sources(data: ReportData) -> dict[str, list[tuple[str, Mapping[str, Any], str]]]:
    """Run label -> its sources: name, counts, dropped documents in words."""
    table: dict[str, list[tuple[str, Mapping[str, Any], str]]] = {}
    for run in data.runs:
        listed = run.seeds[0].data.get("sources") or {}
        for name, facts in listed.items() if isinstance(listed, Mapping) else ():
            dropped = facts.get("dropped") or {}
            words = ", ".join(f"{number.count(n)} {reason}" for reason, n in dropped.items() if n) or "none"
            words = number.NOT_COUNTED if facts.get("streamed") else words
            table.setdefault(run.label, []).append((str(name), facts, words))
    return table


def overlap(data: ReportData) -> list[Mapping[str, Any]]:
    """Rows of the overlap count, each once: runs on the same data repeat them."""
    rows: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for folder in data.folders:
        for row in folder.data.get("overlap") or ():
            rows.setdefault(tuple(sorted((key, str(value)) for key, value in row.items())), row)
    return list(rows.values())


def shared_text(data: ReportData) -> tuple[str, bool]:
    """Whether the documents that the headline rests on share text with training documents; and whether any does."""
    domain = data.domain
    own = [
        row for row in overlap(data)
        if domain and row.get("heldout_source") == domain.name and row.get("documents")
        and row.get("documents_hit") is not None  # of a stream it is not known
    ]  # fmt: skip
    if domain is None or not own:
        return "", False
    most = max(own, key=lambda row: row["documents_hit"] / row["documents"])
    hits, documents, name = int(most["documents_hit"]), int(most["documents"]), named(domain.name)
    if not hits:
        return f"None of the {documents} held-out {name} documents shares text with training documents.", False
    verb = "shares" if hits == 1 else "share"
    return (
        f"{hits} of {documents} held-out {name} documents {verb} text with training documents: "
        "part of the gain may be memory.",
        True,
    )


def parameters(data: ReportData) -> list[tuple[str, int, int, int, str]]:
    """Run label, trained and all parameters, steps, and how attention was computed."""
    found = []
    for run in data.runs:
        facts = run.seeds[0].data
        counts = facts.get("parameters") or {}
        if counts.get("total"):
            trained, total, steps = counts.get("trained", 0), counts["total"], facts.get("steps") or 0
            found.append((run.label, int(trained), int(total), int(steps), attention(facts)))
    return found


def attention(facts: Mapping[str, Any]) -> str:
    """Which attention a run had, and how documents lay in rows, in words; empty of a run that did not keep it."""
    found = facts.get("attention") or {}
    if not found.get("name"):
        return ""
    alone = found.get("alone")
    return f"{found['name']}, " + (
        f"documents in rows of their own, since otherwise {alone}" if alone else "documents packed in rows"
    )
