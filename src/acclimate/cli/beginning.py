"""Verbs that help to write a configuration: schema, import."""

from __future__ import annotations

from typing import Annotated

import typer

from acclimate.cli.options import console
from acclimate.config.schemas import KINDS, schema_file
from acclimate.types.errors import UsageError, listed, nearest


def schema(
    kind: Annotated[str, typer.Argument(help=f"Of which file: {listed(KINDS)}.")] = "run",
) -> None:
    """Print the JSON Schema of a YAML file, by which editors check and complete it."""
    if kind not in KINDS:
        raise UsageError(f"There is no schema of '{kind}'; accepted: {listed(KINDS)}.{nearest(kind, KINDS)}")
    console.out(schema_file(kind).read_text(encoding="utf-8").rstrip(), highlight=False)
