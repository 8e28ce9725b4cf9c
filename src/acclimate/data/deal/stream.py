"""A source that is read while it is trained on: windows of documents, tokenised and packed in the background.

A window holds ``shuffle_buffer`` documents that follow each other in the source. Its documents are packed in a random
order and its rows are shuffled, so memory holds a few windows, and a place in the stream is the window's beginning
and a count of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import AUTO, SourceSection
from acclimate.data.deal.ahead import Ahead
from acclimate.data.deal.pack import PackedSource, Row, Rows
from acclimate.data.deal.passes import check_rows
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.groups import key as group_key
from acclimate.data.prepare.split import normalised, rank
from acclimate.data.prepare.tokens import TokenCorpus, encoded_now
from acclimate.data.read.documents import Cursor, Reader
from acclimate.data.read.records import Document
from acclimate.types.errors import DataError

SHUFFLE_BUFFER = 4096
"""Documents in a window where ``shuffle_buffer`` is not given."""
WINDOW_CHARACTERS = 16_000_000
"""A window ends here, too: the bound of memory for long documents."""
REMEMBERED_WINDOWS = 8
"""Windows whose documents' places are kept for messages: more than lie between the reader and the trained step."""

STREAMED = 0.05
"""What ``heldout: auto`` holds out of a stream."""


@dataclass(frozen=True)
class Place:
    """The beginning of a window."""

    epoch: int = 0
    window: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    read: int = 0  # documents of this pass before it
    kept: int = 0  # of these, trained on


@dataclass(frozen=True)
class Window:
    at: Place
    corpus: TokenCorpus


def numeric(section: SourceSection) -> float | int:
    """What a stream holds out: ``auto`` is a share, since nobody knows how many documents there are."""
    return STREAMED if section.heldout == AUTO else section.heldout


class Heldout:
    """Which texts a stream leaves out: those that any source measures on, and its own share, by a hash of the text.

    A share is a rule, so that a document is known to be held out without looking at any other one. Where the source
    has groups it is a rule about them, and a group of which a document is measured is left out whole.
    """

    def __init__(
        self,
        section: SourceSection,
        seed: int,
        measured: frozenset[int] = frozenset(),
        groups: frozenset[int] = frozenset(),
    ) -> None:
        self.section = section
        self.share = share if (share := float(numeric(section))) < 1 else 0.0
        self.purpose, self.measured, self.groups = f"heldout:{seed}", measured, groups

    def key(self, document: Document, text: int) -> int:
        """What the share goes by: a hash of the group's name, or of the text where each document is its own.

        Near duplicates are not found in a stream, and its files are what it was cut into: ``auto`` groups nothing.
        """
        return text if self.section.group == "auto" else group_key(document, self.section) or text

    def leaves_out(self, document: Document) -> bool:
        text = normalised(document)
        key = self.key(document, text)
        return text in self.measured or key in self.groups or self.by_share(key)

    def by_share(self, text: int) -> bool:
        lowest = self.share * 2**64
        return lowest > 0 and int.from_bytes(rank(f"{text:016x}", self.purpose)[:8], "big") < lowest


class DocumentStream:
    """The training documents of a source, in their order, window by window."""

    def __init__(self, name: str, section: SourceSection, encoder: Encoder, heldout: Heldout, first_id: int) -> None:
        self.name, self.section, self.encoder, self.heldout, self.first_id = name, section, encoder, heldout, first_id
        self._recent: deque[tuple[int, Sequence[str]]] = deque(maxlen=REMEMBERED_WINDOWS)

    def windows(self, at: Place) -> Generator[Window, None, None]:
        """Windows without end, pass after pass.

        Raises:
            DataError: a document that cannot be read or is not as the first ones, or a pass without any document.
        """
        while True:
            yield from self._pass(at)
            at = Place(epoch=at.epoch + 1)

    def where(self, document_id: int) -> str:
        """Place of a document by its id in the run."""
        number = document_id - self.first_id
        for first, places in list(self._recent):
            if 0 <= number - first < len(places):
                return places[number - first]
        return f"document {number + 1} of the stream"

    def _pass(self, at: Place) -> Generator[Window, None, None]:
        documents: list[Document] = []
        characters, read, begun_at_start = 0, at.read, at.read == 0
        size = self.section.shuffle_buffer or SHUFFLE_BUFFER
        reader = Reader(self.name, self.section)
        for document, cursor in reader.read(at.cursor):
            if read == self.section.max_documents:
                break
            read += 1
            if self.heldout.leaves_out(document):
                continue
            documents.append(document)
            characters += len(document.text)
            if len(documents) == size or characters >= WINDOW_CHARACTERS:
                kept = reader.kept(cursor)
                yield self._window(at, documents)
                at = Place(at.epoch, at.window + 1, kept, read, at.kept + len(documents))
                documents, characters = [], 0
        if documents:
            yield self._window(at, documents)
        elif at.kept == 0 and begun_at_start:
            raise DataError(f"sources.{self.name}: the stream has no document to train on any more.")

    def _window(self, at: Place, documents: list[Document]) -> Window:
        for document in documents:
            for number, part in enumerate(document.parts, 1):
                if part.route is not None and part.route not in self.encoder.routes:
                    raise DataError(
                        f"{document.where}: message {number} has the route '{part.route}', which no message at the "
                        f"beginning of the stream '{self.name}' has; put a document with it first, so that the run "
                        "knows it from its start."
                    )
        where = [document.where for document in documents]
        self._recent.append((at.kept, where))
        return Window(at, encoded_now(documents, self.encoder, where))


class StreamedRows:
    """Endless rows of a stream; the next window is made in a thread while rows of this one are used.

    Args:
        stream: the source.
        sequence_length: positions in a row [tokens].
        active: [routes] routes that some loss term learns from.
        seed: the run's seed; with source, epoch and window it decides the order of rows.
        row_length: as of :class:`~acclimate.data.deal.pack.PackedSource`.
    """

    live = False

    def __init__(
        self,
        stream: DocumentStream,
        sequence_length: int,
        active: NDArray[np.bool_],
        seed: int,
        row_length: int | None = None,
    ) -> None:
        self.stream, self.sequence_length, self.active, self.seed = stream, sequence_length, active, seed
        self.row_length = row_length
        self.longest = sequence_length  # nothing is read before it is needed
        self._at, self._position = Place(), 0
        self._rows: Rows | None = None
        self._expected: int | None = None  # rows of the window when the state was taken
        self._ahead: Ahead[tuple[Place, Rows]] | None = None

    @property
    def epochs(self) -> float:
        """Whole passes; how far the present one is cannot be known."""
        return float(self._at.epoch)

    def next_row(self) -> Row:
        rows = self._rows
        if rows is None:
            rows = self._take(self._position)
            if self._expected is not None:
                check_rows(self.stream.name, self._expected, len(rows))
        last = self._at.epoch
        while self._position == len(rows):
            if self._at.epoch > last + 1:
                raise DataError(f"Source '{self.stream.name}' has no token on a route that the method learns from.")
            rows = self._take(0)
        self._position += 1
        return rows[self._position - 1]

    def state_dict(self) -> dict[str, Any]:
        rows = self._expected if self._rows is None else len(self._rows)
        return asdict(self._at) | {"position": self._position, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken: its window is read again with the next row.

        A window of other documents than then is a RunError of :meth:`next_row`.
        """
        self.close()
        self._at = Place(state["epoch"], state["window"], Cursor(**state["cursor"]), state["read"], state["kept"])
        self._position, self._expected = state["position"], state["rows"]

    def close(self) -> None:
        """Ends the thread."""
        if self._ahead is not None:
            self._ahead.close()
        if self._rows is not None:
            self._expected = len(self._rows)
        self._ahead, self._rows = None, None

    def _take(self, position: int) -> Rows:
        if self._ahead is None:
            self._ahead = Ahead(  # of a function, so that the thread does not keep this source alive
                _packed(self.stream, self._at, self.sequence_length, self.active, self.seed, self.row_length)
            )
        self._at, rows = next(self._ahead)
        self._rows, self._position = rows, position
        return rows


def _packed(
    stream: DocumentStream,
    at: Place,
    sequence_length: int,
    active: NDArray[np.bool_],
    seed: int,
    row_length: int | None,
) -> Generator[tuple[Place, Rows], None, None]:
    drop = stream.section.too_long == "drop"
    for window in stream.windows(at):
        first = stream.first_id + window.at.kept
        packed = PackedSource(
            window.corpus, stream.name, sequence_length, active, seed, first, drop_long=drop, row_length=row_length
        )
        yield window.at, packed.rows(window.at.epoch, window.at.window)
