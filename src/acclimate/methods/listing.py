"""The table of methods as it was written when the package was made: `acclimate methods` loads no torch to show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FOLDER = Path(__file__).parent
WRITTEN = FOLDER / "catalogue.json"
"""Made by ``python -m acclimate.methods.catalogue``."""

Described = Mapping[str, Mapping[str, str]]
"""Method -> its facts by heading."""


def methods_digest() -> str:
    """Of the source of all methods, by which it is known whether the table is theirs."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def listed_methods() -> Described:
    """The methods that can be named in a configuration; where one was changed or added, from their classes."""
    if WRITTEN.is_file():
        found = json.loads(WRITTEN.read_text(encoding="utf-8"))
        if found["digest"] == methods_digest():
            methods: Described = found["methods"]
            return methods
    from acclimate.methods.catalogue import described  # seconds of imports

    return described()


def print_table(methods: Described, console: Console) -> None:
    table = Table(title="Methods", show_lines=True)
    table.add_column("method")
    table.add_column("what it does", overflow="fold")
    for name, row in methods.items():
        facts = [f"[dim]{key}[/dim]  {escape(row[key])}" for key in row if key != "summary"]
        table.add_row(name, "\n".join([escape(row["summary"]), *facts]))
    console.print(table)
