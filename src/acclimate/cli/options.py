"""What the verbs share: the two consoles, exit codes, JSON, and arguments that mean the same everywhere."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

RUNTIME_ERROR, GATE_CLOSED, CLICK_USAGE_ERROR, USAGE_ERROR, DIVERGED, UNDECIDED = 1, 2, 2, 3, 4, 5

console = Console()
problems = Console(stderr=True)

Config = Annotated[Path, typer.Argument(help="The run's YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override: dotted.path=value, like optimizer.learning_rate=1e-5."),
]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Checkpoint = Annotated[str | None, typer.Option(help="'best' or 'step-00000100'; default: the final model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; notes and progress go to standard error.")]


class GateClosed(Exception):
    """What there is to say has been printed; the exit code is left."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.code = UNDECIDED if outcome == "inconclusive" else GATE_CLOSED


def beside(json_: bool) -> Console:
    """Where a verb says what it is doing: with ``--json``, standard output holds the document alone."""
    return problems if json_ else console


def print_json(document: Any) -> None:
    """Prints a document that any reader of JSON takes: a number that is not finite is null."""
    console.out(json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False), highlight=False)


def plain(value: Any) -> Any:
    """As JSON has it.

    >>> plain({"a": (float("inf"), Path("x"))})
    {'a': [None, 'x']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "item"):  # of NumPy
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
