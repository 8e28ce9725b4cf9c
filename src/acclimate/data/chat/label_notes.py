"""What a source's rows carry that is not learned, or not read: counted while they are rendered, and said aloud."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["empty", "cut", "opened", "closed", "unread"]
SENTENCES: dict[Kind, str] = {
    "empty": "{rows} an answer without any text, which is context only (first: {first}).",
    "cut": (
        "{rows} reasoning in an earlier answer, where the chat template cuts it: such answers are context only, since "
        "learning them would teach not to think (first: {first}). A row per answer, with all before it, learns each."
    ),
    "opened": (
        "{rows} an answer that is learned without {details}, which the chat template's generation prompt opens: "
        "generation begins where training never was (first: {first}). Give the answers their reasoning."
    ),
    "closed": (
        "{rows} an answer that is learned without {details}, the empty reasoning that the chat template puts into its "
        "generation prompt and not into its chats: generation begins where training never was (first: {first})."
    ),
    "unread": "{rows} what the chat template never reads: {details} (first: {first}).",
}  # fmt: skip


@dataclass(frozen=True)
class LabelNote:
    """One line about a source."""

    kind: Kind
    rows: int
    first: str  # place of the first of them
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = f"{self.rows:,} row{'s hold' if self.rows > 1 else ' holds'}"
        shown = [*self.details[:5], *(["more"] if len(self.details) > 5 else [])]
        # the file's name without its folders, as for rows that are dropped
        return SENTENCES[self.kind].format(rows=rows, details=", ".join(shown), first=os.path.basename(self.first))


class LabelNotes:
    """Counts notes of documents by their number, so that the result can be kept apart from where they lie."""

    def __init__(self) -> None:
        self._found: dict[Kind, tuple[int, int, dict[str, None]]] = {}  # rows, first document, details

    def add(self, document: int, notes: Iterable[tuple[Kind, str]]) -> None:
        """Notes of one document: a kind, and what exactly (or nothing)."""
        kinds: dict[Kind, dict[str, None]] = {}
        for kind, detail in notes:
            kinds.setdefault(kind, {}).update({detail: None} if detail else {})
        for kind, details in kinds.items():
            rows, first, known = self._found.get(kind, (0, document, {}))
            self._found[kind] = (rows + 1, first, known | details)

    @property
    def facts(self) -> list[list[Any]]:
        """Plain data for JSON."""
        return [[kind, rows, first, list(details)] for kind, (rows, first, details) in self._found.items()]


def notes_of(facts: Iterable[Sequence[Any]], where: Sequence[str]) -> tuple[LabelNote, ...]:
    """Notes about documents whose places are ``where``."""
    return tuple(LabelNote(kind, rows, str(where[first]), tuple(details)) for kind, rows, first, details in facts)


def joined(*several: Iterable[LabelNote]) -> tuple[LabelNote, ...]:
    """Notes about the parts of one source as notes about all of it."""
    found: dict[Kind, LabelNote] = {}
    for note in (note for notes in several for note in notes):
        known = found.get(note.kind, LabelNote(note.kind, 0, note.first))
        details = tuple(dict.fromkeys([*known.details, *note.details]))
        found[note.kind] = LabelNote(note.kind, known.rows + note.rows, known.first, details)
    return tuple(found.values())
