"""Held-out documents one by one: which a run lost most on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from acclimate.reports.words import number
from acclimate.runs.folder import RunFolder
from acclimate.runs.layout import Layout, body
from acclimate.types.errors import RunError

LIMIT = 300  # characters of a place or a text


@dataclass(frozen=True)
class Document:
    """One held-out document: bits per byte before and after, where it came from, and how it begins if that is known."""

    text_set: str
    where: str
    text: str
    bytes: int
    base: float
    tuned: float

    @property
    def loss(self) -> float:
        """Bits per byte, tuned minus base; above 0 it is predicted worse than before."""
        return self.tuned - self.base


def worst(folder: RunFolder, most: int, with_text: bool = True) -> list[Document]:
    """The documents that are predicted worse than before, by bits per byte, the worst first.

    Args:
        with_text: otherwise a document is the number of its line in the set's scores.

    Raises:
        RunError: a file of scores is damaged.
    """
    documents = [document for item in folder.sets for document in _documents(folder, item.name, with_text)]
    lost = sorted((one for one in documents if one.loss > 0), key=lambda one: (-one.loss, one.where))
    return lost[:most]


def _documents(folder: RunFolder, name: str, with_text: bool) -> list[Document]:
    """Of one set; none where the folder holds no scores by document, or is from before they held the base's."""
    path = Layout(folder.path).scores(name)
    documents = []
    for row, line in body(path, path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()):
        try:
            record: dict[str, Any] = json.loads(line)
            if record["bytes"] > 0 and "base_nats" in record:
                bits = math.log(2) * record["bytes"]
                scores = record["base_nats"] / bits, record["nats"] / bits
                where, text = (number.middle(str(record.get(key) or ""), LIMIT) for key in ("where", "text"))
                if not with_text:
                    where, text = f"{name}, document {row}", ""
                documents.append(Document(name, where, text, int(record["bytes"]), *scores))
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{path}:{row}: this is not the scores of a document ({type(error).__name__}: {error}). Run "
                f"`acclimate eval {folder.path}` again."
            ) from None
    return documents
