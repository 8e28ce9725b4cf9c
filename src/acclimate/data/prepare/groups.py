"""Which documents of a source belong together: they are held out together, and drawn together for an interval."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare.near import KEYS, NEAR, RUN, WIDTH, Sketches, components, near_duplicates
from acclimate.data.prepare.split import Fingerprints, representatives
from acclimate.data.prepare.store import Writer, key_of, stored
from acclimate.data.read.records import Document

ROW = re.compile(r":(?:row )?\d+$")
FEWEST_FILES = 20
"""``auto`` takes a source of fewer files for one that was cut into parts, not for one of books [ours]."""
MOST_IN_A_FILE = 100
"""... and one whose files hold more documents on average, too [ours]."""
FRAME = 0.5
"""A cluster of more than this part of a source shares a frame (an instruction, a form): no near duplicates [ours]."""

Labels = NDArray[np.int64]
"""[documents] number of each one's group."""


def file_of(where: str) -> str:
    """
    >>> file_of("books/a.jsonl:12"), file_of("a.parquet:row 3"), file_of("a.txt")
    ('books/a.jsonl', 'a.parquet', 'a.txt')
    """
    return ROW.sub("", where)


def key(document: Document, section: SourceSection) -> int:
    """64-bit hash of the file, folder or value that groups the document; 0 of one that is a group of its own."""
    if section.group_field is not None:
        name = document.group
    elif section.group in ("auto", "file"):
        name = file_of(document.where)
    else:
        name = os.path.dirname(file_of(document.where)) if section.group == "folder" else None
    return 0 if name is None else int.from_bytes(hashlib.sha256(f"group:{name}".encode()).digest()[:8], "little")


def labels(
    keys: NDArray[np.uint64], sketches: Sketches | None, fingerprints: Fingerprints, section: SourceSection, cache: str
) -> Labels | None:
    """Groups of the documents of a source; None where each is its own.

    ``auto``: near duplicates, and the documents of a file where the source has at least ``FEWEST_FILES`` files of 2 to
    ``MOST_IN_A_FILE`` documents each on average; what either joins is together.

    Args:
        keys: [documents] of :func:`key`.
        sketches: [documents, WIDTH]; None but for ``auto``.
    """
    alone = np.arange(len(keys), dtype=np.uint64)
    named = np.unique(np.where(keys == 0, alone, keys), return_inverse=True)[1].astype(np.int64)
    if section.group == "auto" and sketches is not None:
        files = len(np.unique(keys))
        books = files >= FEWEST_FILES and 2 <= len(keys) / files <= MOST_IN_A_FILE

        def fill(writer: Writer) -> dict[str, int]:
            writer.append("clusters", near_duplicates(sketches))
            return {}

        settings = ["near", NEAR, RUN, WIDTH, KEYS, fingerprints.digest]
        clusters = np.asarray(stored(cache, "near", key_of(settings), fill).arrays["clusters"])
        clusters = _without_frames(clusters)
        named = _joined(named, clusters) if books else clusters
    found = np.unique(named, return_inverse=True)[1]
    return None if found.max() + 1 == len(found) else found


def _without_frames(clusters: Labels) -> Labels:
    sizes = np.bincount(clusters)
    loose = (sizes > max(FRAME * len(clusters), 1))[clusters]
    return np.where(loose, len(sizes) + np.arange(len(clusters)), clusters)


def _joined(one: Labels, other: Labels) -> Labels:
    """What shares a group of either, directly or through others."""
    n = len(one)
    first, second = (np.unique(groups, return_inverse=True)[1] for groups in (one, other))
    middle = n + int(first.max()) + 1  # groups are numbers, too, that their documents are linked to
    everyone = np.arange(n)
    links = [np.stack([everyone, n + first], axis=1), np.stack([everyone, middle + second], axis=1)]
    return components(np.concatenate(links), middle + int(second.max()) + 1)[:n]


def names(found: Labels | None, fingerprints: Fingerprints, chosen: NDArray[np.int64]) -> list[str]:
    """What identifies the group of each chosen document in a run folder: 16 hexadecimal digits of the first of its
    documents by fingerprint, which say nothing of its text."""
    which = chosen if found is None else representatives(found, fingerprints)[found[chosen]]
    return [row.tobytes().hex()[:16] for row in fingerprints.rows[which]]


def streamed_names(documents: Sequence[Document], section: SourceSection) -> list[str]:
    """Of documents that are known by themselves alone: their key, or the beginning of their fingerprint."""
    keys = [key(document, section) if section.group != "auto" else 0 for document in documents]
    return [f"{k:016x}" if k else d.fingerprint[:16] for k, d in zip(keys, documents, strict=True)]
