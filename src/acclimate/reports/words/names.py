"""Names from files, as they may stand in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from acclimate.reports.words import number
from acclimate.runs.folder import TextSet

DIRECTION = re.compile(r"[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Invisible characters that turn or hide what stands beside them; a name needs none."""


def named(text: str) -> str:
    """A name from a file, isolated when its letters could turn the direction of the sentence around it."""
    short, left = number.clip(DIRECTION.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())), 48)
    short += "…" if left else ""
    return short if short.isascii() else f"\u2068{short}\u2069"


def phrase(text_set: TextSet) -> str:
    """``chat``, or ``smoltalk (chat)`` when the set has a name of its own."""
    return named(text_set.name) if text_set.name == text_set.role else f"{named(text_set.name)} ({text_set.role})"


def joined(labels: Iterable[str]) -> str:
    """``a, b and c``."""
    names = [named(label) for label in labels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
