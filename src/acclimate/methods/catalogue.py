"""The registered methods as a table, read from their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from pydantic_core import PydanticUndefined
from rich.console import Console

from acclimate.methods.listing import WRITTEN, methods_digest, print_table
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


def described() -> dict[str, dict[str, str]]:
    """All registered methods."""
    return {name: describe(method) for name, method in METHODS.items()}


def print_methods(console: Console) -> None:
    print_table(described(), console)


def write_catalogue() -> None:
    """Writes what :mod:`acclimate.methods.listing` shows without loading torch."""
    document = {"digest": methods_digest(), "methods": described()}
    WRITTEN.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_catalogue()
