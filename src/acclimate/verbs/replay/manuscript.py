"""A file of rows that grows by batches, and goes on after a kill at any moment as if there had been none.

Beside ``rows.jsonl`` lie, while it is written, ``rows.jsonl.partial`` and ``rows.jsonl.progress``: a line a batch, with
the length of the rows behind it. What is longer was torn, and is written again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from acclimate.data.prepare.near import NEAR as ALIKE
from acclimate.data.prepare.near import WIDTH, Sketches, similarity, sketch
from acclimate.data.read.records import Document, Part
from acclimate.disk.files import sync, unwritable
from acclimate.types.errors import RunError, UsageError
from acclimate.verbs.replay.author import Row
from acclimate.verbs.replay.degenerate import EQUAL, NEAR

VERSION = 1
LOOKED_AT, FEWEST = 64, 3
"""Of so many rows in a row fewer than so few are kept: a model that writes nothing, or nothing new."""


class Manuscript:
    """Rows that are kept so far, and why others were not.

    Args:
        path: of the finished file, which is not there yet.
        identity: what decides its rows; a beginning of another identity is not gone on with.

    Raises:
        UsageError: something else was begun there.
        RunError: it cannot be written.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        self.partial = path.with_name(f"{path.name}.partial")
        self.progress = path.with_name(f"{path.name}.progress")
        self.batches = 0
        self.tokens = 0
        self.drawn = 0
        self.seconds = 0.0
        self.rows: list[dict[str, Any]] = []
        """Facts of each."""
        self.dropped: Counter[str] = Counter()
        self._seen: set[bytes] = set()
        self._sketches: Sketches = np.empty((0, WIDTH), dtype=np.uint32)
        self._lately: deque[bool] = deque(maxlen=LOOKED_AT)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._go_on()
        except OSError as error:
            raise unwritable(path, error) from error

    @classmethod
    def begun(cls, path: Path) -> bool:
        """Whether rows for ``path`` were begun and not finished."""
        return path.with_name(f"{path.name}.progress").exists()

    def add(self, rows: Iterable[Row], wanted: int, drawn: int, seconds: float) -> None:
        """Writes what of a batch is kept, until there are ``wanted`` tokens.

        Raises:
            RunError: there is no room; what was written before is unharmed.
        """
        lines, facts, kept, dropped = [], [], list[bool](), Counter[str]()
        for row in rows:
            if self.tokens >= wanted:
                break
            reason = row.dropped if row.record is None else self._known(row.record)
            kept.append(reason is None)
            if reason is not None:
                dropped[reason] += 1
                continue
            lines.append(json.dumps(row.record, ensure_ascii=False).encode() + b"\n")
            facts.append(row.facts)
            self.tokens += row.tokens
        about = {"rows": facts, "kept": kept, "dropped": dropped, "drawn": drawn, "seconds": round(seconds, 3)}
        try:
            end = _append(self.partial, b"".join(lines))
            _append(self.progress, json.dumps({"bytes": end, **about}).encode() + b"\n")
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._count(about)

    @property
    def hopeless(self) -> bool:
        """Whether hardly any row of late was kept."""
        return len(self._lately) == LOOKED_AT and sum(self._lately) < FEWEST

    def finish(self) -> None:
        """The file, whole; what was beside it is left to :meth:`forget`, after the report."""
        try:
            os.replace(self.partial, self.path)
            sync(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def forget(self) -> None:
        self.progress.unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Reads what an earlier process left, and cuts what it did not finish."""
        if not self.progress.exists():
            self.partial.unlink(missing_ok=True)
            header = json.dumps({"version": VERSION, "identity": self.identity}).encode() + b"\n"
            _append(self.progress, header)
            return
        content = self.progress.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        head, *lines = [json.loads(line) for line in whole.splitlines()] or [{}]
        if not head:  # not even the header
            self.progress.unlink()
            self._go_on()
            return
        if head != {"version": VERSION, "identity": self.identity}:
            raise UsageError(
                f"'{self.path}' was begun with another model, other settings or other prompts; give another path, or "
                f"remove '{self.progress}' to begin again."
            )
        os.truncate(self.progress, len(whole))
        written = self.partial if self.partial.exists() else self.path  # killed between the last two steps
        size = lines[-1]["bytes"] if lines else 0
        if (written.stat().st_size if written.exists() else 0) < size:
            raise RunError(f"'{written}' is shorter than '{self.progress}' says; remove both to begin again.")
        for line in lines:
            self.tokens += sum(facts["tokens"] for facts in line["rows"])
            self._count(line)
        if written.exists():
            os.truncate(written, size)
            if written == self.path:
                os.replace(self.path, self.partial)
            for record in read_rows(self.partial):
                self._known(record)

    def _count(self, line: dict[str, Any]) -> None:
        self.batches += 1
        self.rows += line["rows"]
        self._lately.extend(line["kept"])
        self.dropped.update(line["dropped"])
        self.drawn += line["drawn"]
        self.seconds += line["seconds"]

    def _known(self, record: Mapping[str, Any]) -> str | None:
        """Why a row is too much like one that is kept; if it is not, it is kept now."""
        contents = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
        if contents in self._seen:
            return EQUAL
        alike = sketch(Document("", "", (Part("text", said_of(record)),), templated=False))[None]
        if (similarity(np.broadcast_to(alike, self._sketches.shape), self._sketches) >= ALIKE).any():
            return NEAR
        self._seen.add(contents)
        self._sketches = np.concatenate([self._sketches, alike])
        return None


def said_of(record: Mapping[str, Any]) -> str:
    """What the model wrote of a row."""
    if "messages" in record:
        return str(record["messages"][-1]["content"])
    return str(record["completion"] if "completion" in record else record["text"])


def read_rows(path: Path) -> Iterable[dict[str, Any]]:
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def _append(path: Path, content: bytes) -> int:
    """Adds to the end of a file, down to the disk; gives its length."""
    with path.open("ab") as stream:
        _write(stream, content)
        return stream.tell()


def _write(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
    stream.flush()
    os.fsync(stream.fileno())
