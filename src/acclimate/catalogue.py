"""The registered methods as a table, read from their docstrings and fields."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from typing import Any

from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acclimate.registry import METHODS
from acclimate.statistics.store import required_statistics

LABELS = ("paper", "from code", "from reviews", "second-hand", "ours", "unverified")


def describe(method: type[Any]) -> dict[str, str]:
    """What a method's docstring says, by heading; ``evidence`` are the labels it uses."""
    text = inspect.getdoc(method) or ""
    flat = " ".join(text.split())
    found = {"summary": text.split("\n\n")[0].replace("\n", " ")}
    stores = {name: f"a store of {kind}" for name, kind in required_statistics(method).items()}
    found["settings"] = ", ".join(f"{f.name}={stores.get(f.name, _default(f))}" for f in fields(method)) or "none"
    for key, pattern in {
        "stores": r"Stores: (.+?)\.(?: Costs| Reference|$)",
        "costs per step": r"Costs per step: (.+?)\. Needs",
        "needs": r"Needs: (.+?)\. Reference",
        "reference": r"Reference: (.+)$",
    }.items():
        match = re.search(pattern, flat)
        found[key] = match[1] if match else ""
    found["evidence"] = ", ".join(dict.fromkeys(re.findall(rf"\[({'|'.join(LABELS)})\b", flat))) or "control"
    return found


def _default(field: Any) -> Any:
    default = getattr(field.default, "default", field.default)
    return "..." if default is PydanticUndefined or default is MISSING else default


def print_methods(console: Console) -> None:
    table = Table(title="Methods", show_lines=True)
    table.add_column("method")
    table.add_column("what it does", overflow="fold")
    for name, method in METHODS.items():
        row = describe(method)
        facts = [f"[dim]{key}[/dim]  {escape(row[key])}" for key in row if key != "summary"]
        table.add_row(name, "\n".join([escape(row["summary"]), *facts]))
    console.print(table)
