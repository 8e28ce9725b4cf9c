"""What a setting changes beside the learned weights: a mark on its field, and every list that is made of it."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Any

from pydantic import BaseModel

from acclimate.config.explain import section_paths


class Apart(Enum):
    """Why two runs, or what is prepared for them, are the same although they differ here.

    A field without a mark decides what is learned, or who chooses.

    >>> from acclimate.config.schema import RunConfig
    >>> marks(RunConfig)["training.keep_last"]
    <Apart.KEPT: 'what is kept'>
    """

    PLACE = "where things are"
    WORK = "how the work is done, which orders sums otherwise"
    KEPT = "what is kept"
    MEASURED = "what is measured after the last step"
    INPUT = "where an input is, whose contents a digest compares"
    JUDGED = "how a model is measured and chosen"
    LOOP = "what a recording of a statistic sets itself"
    STEPS = "how a gradient moves weights"


FREE_ON_RESUME = (Apart.PLACE, Apart.WORK, Apart.KEPT, Apart.MEASURED)
"""What may differ when a run goes on. Of an input the place counts, too: documents are named by it."""
SAME_RUN = (Apart.PLACE, Apart.WORK, Apart.KEPT, Apart.MEASURED)
"""What seeds of one run in a report may differ in."""
SAME_WORK = (Apart.PLACE, Apart.WORK, Apart.KEPT, Apart.INPUT)
"""What is no part of a comparison's cell: it is equal on any machine, and so are its measurements."""
SAME_EXPERT = (Apart.PLACE, Apart.WORK, Apart.JUDGED)
"""On what an expert does not depend that a comparison trains for its cells: only its weights are looked at."""
SAME_PATH = (*SAME_EXPERT, Apart.LOOP)
"""The same of a statistic that is recorded along a path."""
SAME_STATISTIC = (*SAME_PATH, Apart.STEPS)
"""The same of one that is recorded at learning rate 0, so that one serves every learning rate."""


def marks(root: type[BaseModel]) -> dict[str, Apart]:
    """Dotted path -> mark of every setting that has one; a mapping's keys appear as ``*``."""
    return {
        f"{path}.{name}".lstrip("."): mark
        for path, section in section_paths(root).items()
        for name, info in section.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, Apart)
    }


def without(plain: dict[str, Any], root: type[BaseModel], kinds: Collection[Apart]) -> dict[str, Any]:
    """A configuration as plain data, less the settings of these kinds.

    >>> from acclimate.config.schema import RunConfig
    >>> without({"name": "a", "model": {"path": "m", "device": "cpu"}}, RunConfig, [Apart.PLACE, Apart.WORK])
    {'model': {'path': 'm'}}
    """
    for path, mark in marks(root).items():
        if mark in kinds:
            plain = _less(plain, path.split("."))
    return plain


def _less(plain: Any, path: list[str]) -> Any:
    if not isinstance(plain, dict):
        return plain
    first, *rest = path
    if not rest:
        return {key: value for key, value in plain.items() if key != first}
    return {key: _less(value, rest) if first in (key, "*") else value for key, value in plain.items()}
