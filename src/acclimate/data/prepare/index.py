"""What is known of every document of a source without its text: fingerprints, places, roles. Cached by identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.digests import Digests
from acclimate.data.prepare.groups import key as group_key
from acclimate.data.prepare.near import WIDTH, Sketches, sketch
from acclimate.data.prepare.routes import message_routes
from acclimate.data.prepare.split import Fingerprints, normalised
from acclimate.data.prepare.store import Strings, Writer, key_of, stored
from acclimate.data.read.dialects import Readings
from acclimate.data.read.documents import Reader, read_documents
from acclimate.data.read.records import Document
from acclimate.data.read.unread import Unread
from acclimate.types.errors import DataError

BATCH_DOCUMENTS = 4096
READ_AS = 1
"""Raised whenever the same files become other documents, so that an older index is not taken for the same."""


@dataclass(frozen=True)
class Index:
    """The documents of a source in the order they are read, some 250 bytes of disk for each."""

    name: str
    section: SourceSection
    cache_dir: str
    key: str  # of what its files hold
    fingerprints: Fingerprints
    texts: NDArray[np.uint64]  # [documents] hash of the normalised text
    templated: NDArray[np.bool_]  # [documents]
    groups: NDArray[np.uint64]  # [documents] hash of what names the group, 0 for none
    sketches: Sketches | None  # [documents, WIDTH] of ``group: auto``
    where: Strings  # [documents]
    roles: list[str]
    message_routes: dict[str, tuple[str, int]]
    dropped: Counter[str]
    passed_over: Counter[str]  # files that are not read, of dropped
    unread: Unread
    readings: Readings

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, chosen: NDArray[np.int64]) -> Iterator[Document]:
        """The documents at ``chosen`` (ascending), read again.

        Raises:
            DataError: the source is not what it was when the index was made.
        """
        reader = Reader(self.name, self.section)
        wanted = iter(chosen.tolist())
        number = next(wanted, None)
        for at, (document, _) in enumerate(reader.read()):
            if at == number:
                if bytes.fromhex(document.fingerprint) != self.fingerprints.rows[at].tobytes():
                    raise _changed(self.name)
                yield document
                number = next(wanted, None)
            if number is None:
                break
        if number is not None or key_of(reader.identity(Digests(self.cache_dir))) != self.key:
            raise _changed(self.name)


def read_index(name: str, section: SourceSection, cache_dir: str) -> Index:
    """Reads a source once, or maps what an earlier run found in files of the same contents.

    Raises:
        DataError: a path that matches nothing, a file or record that cannot be read, or no document at all.
        ConfigError: the cache cannot be written.
    """
    reader = Reader(name, section)
    digests = Digests(cache_dir)
    key = key_of(reader.identity(digests))

    def fill(writer: Writer) -> Mapping[str, Any]:
        facts = _fill(writer, reader)
        if key_of(reader.identity(digests)) != key:  # else what was read would be kept under what was there before
            raise _changed(name)
        return facts

    found = stored(cache_dir, "index", key_of([key, section.group, READ_AS]), fill)
    arrays, facts = found.arrays, found.facts
    return Index(
        name=name,
        section=section,
        cache_dir=cache_dir,
        key=key,
        fingerprints=Fingerprints(arrays["fingerprints"].reshape(-1, 32)),
        texts=arrays["texts"],
        templated=arrays["templated"],
        groups=arrays["groups"],
        sketches=arrays["sketches"].reshape(-1, WIDTH) if section.group == "auto" else None,
        where=Strings(arrays["where"], arrays["where_ends"]),
        roles=facts["roles"],
        message_routes={route: (where, number) for route, where, number in facts["message_routes"]},
        dropped=Counter(facts["dropped"]) + reader.passed_over,  # of files that may have come since
        passed_over=reader.passed_over,
        unread=Unread.of(facts["unread"]),
        readings=Readings.of(facts["readings"]),
    )


def _fill(writer: Writer, reader: Reader) -> Mapping[str, Any]:
    roles: set[str] = set()
    routes: dict[str, tuple[str, int]] = {}
    end = 0
    section = reader.section
    facts = (_facts(document, section, roles, routes) for document, _ in reader.read())  # no text is kept
    while batch := list(islice(facts, BATCH_DOCUMENTS)):
        places, fingerprints, texts, templated, groups, sketches = zip(*batch, strict=True)
        ends = end + np.cumsum([len(place) for place in places])
        end = int(ends[-1])
        writer.append("fingerprints", np.frombuffer(b"".join(fingerprints), dtype=np.uint8))
        writer.append("texts", np.array(texts, dtype=np.uint64))
        writer.append("templated", np.array(templated))
        writer.append("groups", np.array(groups, dtype=np.uint64))
        if section.group == "auto":
            writer.append("sketches", np.concatenate(sketches))
        writer.append("where", np.frombuffer(b"".join(places), dtype=np.uint8))
        writer.append("where_ends", ends)
    if not end:
        read_documents(reader.name, reader.section)  # raises: there is no document
    return {
        "roles": sorted(roles),
        "message_routes": [[route, *place] for route, place in routes.items()],
        "dropped": dict(reader.dropped - reader.passed_over),
        "unread": reader.unread.facts(),
        "readings": reader.readings.facts(),
    }


def _changed(name: str) -> DataError:
    return DataError(
        f"sources.{name}: its files have changed since this command first read them; put them back, or start again."
    )


def _facts(
    document: Document, section: SourceSection, roles: set[str], routes: dict[str, tuple[str, int]]
) -> tuple[bytes, bytes, int, bool, int, Sketches | None]:
    """Place, fingerprint, hash of the text, whether it is a chat, group, sketch; extends ``roles`` and ``routes``."""
    roles.update(part.role for part in document.parts)
    for route, place in message_routes([document]).items():
        routes.setdefault(route, place)
    fingerprint, text = bytes.fromhex(document.fingerprint), normalised(document)
    alike = sketch(document) if section.group == "auto" else None
    return document.where.encode(), fingerprint, text, document.templated, group_key(document, section), alike
