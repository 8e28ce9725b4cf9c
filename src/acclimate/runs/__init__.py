"""The run folder: who may write it, what lies where, and reading it again (docs/reference/run-folder.md).

``open(path)`` is one finished run, ``table(paths)`` all numbers of many as one table.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acclimate.runs.folder import read_folder as open
    from acclimate.runs.tidy_table import table

__all__ = ["open", "table"]
_FOUND_IN = {"open": ("folder", "read_folder"), "table": ("tidy_table", "table")}


def __getattr__(name: str) -> Any:
    # loaded when asked for: whoever only wants to know what lies where pays for no statistics
    if name not in _FOUND_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _FOUND_IN[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
