"""What the verbs share: the two consoles, exit codes, and arguments that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

RUNTIME_ERROR, GATE_CLOSED, CLICK_USAGE_ERROR, USAGE_ERROR, DIVERGED = 1, 2, 2, 3, 4

console = Console()
problems = Console(stderr=True)

Config = Annotated[Path, typer.Argument(help="The run's YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override: dotted.path=value, like optimizer.learning_rate=1e-5."),
]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Checkpoint = Annotated[str | None, typer.Option(help="'best' or 'step-00000100'; default: the final model.")]


class GateClosed(Exception):
    """What there is to say has been printed; the exit code is left."""
