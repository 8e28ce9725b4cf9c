"""The registered methods as a table, read from their docstrings and fields."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table

from acclimate.registry import METHODS


def describe(method: type[Any]) -> dict[str, str]:
    """What a method's docstring says: ``summary``, ``stores``, ``costs``, ``reference``, and its settings."""
    text = inspect.getdoc(method) or ""
    flat = " ".join(text.split())
    found = {"summary": text.split("\n\n")[0].replace("\n", " ")}
    for key, pattern in {
        "stores": r"Stores: (.+?)\.(?: Costs| Reference|$)",
        "costs": r"Costs per step: (.+?)\. Reference",
        "reference": r"Reference: (.+)$",
    }.items():
        match = re.search(pattern, flat)
        found[key] = match[1] if match else ""
    found["settings"] = ", ".join(f"{f.name}={_default(f)}" for f in fields(method)) or "none"
    return found


def _default(field: Any) -> Any:
    default = getattr(field.default, "default", field.default)
    return "required" if default is PydanticUndefined else default


def print_methods(console: Console) -> None:
    table = Table(title="Methods", show_lines=True)
    for column in ("method", "what it does", "settings", "stores", "costs per step", "reference"):
        table.add_column(column, overflow="fold")
    for name, method in METHODS.items():
        row = describe(method)
        table.add_row(name, row["summary"], row["settings"], row["stores"], row["costs"], row["reference"])
    console.print(table)
