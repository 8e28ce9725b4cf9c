"""The registered methods as a table, read from their docstrings and fields."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acclimate.registry import METHODS
from acclimate.statistics.store import required_statistics


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
    stores = {name: f"a store of {kind}" for name, kind in required_statistics(method).items()}
    found["settings"] = ", ".join(f"{f.name}={stores.get(f.name, _default(f))}" for f in fields(method)) or "none"
    return found


def _default(field: Any) -> Any:
    return getattr(field.default, "default", field.default)


def print_methods(console: Console) -> None:
    table = Table(title="Methods", show_lines=True)
    for column in ("method", "what it does", "settings", "stores", "costs per step", "reference"):
        table.add_column(column, overflow="fold")
    for name, method in METHODS.items():
        row = describe(method)
        table.add_row(name, *(escape(row[key]) for key in ("summary", "settings", "stores", "costs", "reference")))
    console.print(table)
