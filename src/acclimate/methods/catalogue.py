"""The registered methods as a table, read from their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from acclimate.methods.registry import METHODS
from acclimate.stores.store import required_statistics
from acclimate.types.plan import Method


def describe(method: type[Method]) -> dict[str, str]:
    """A method's facts, by heading; a control has no evidence of its own."""
    facts, stores = method.described(), required_statistics(method)
    settings = (f"{f.name}={_given(f, stores)}" for f in fields(method))  # type: ignore[arg-type]
    return {
        "summary": facts["summary"],
        "settings": ", ".join(settings) or "none",
        "strength": facts["strength"] or "none that a budget could move",
        "stores": facts["stores"],
        "costs per step": facts["costs"],
        "needs": facts["needs"],
        "reference": facts["reference"],
        "evidence": ", ".join(facts["evidence"]) or "control",
    }


def _given(field: Field[Any], stores: Mapping[str, str]) -> Any:
    """What holds if nobody says otherwise."""
    if field.name in stores:
        return f"a store of {stores[field.name]}"
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
