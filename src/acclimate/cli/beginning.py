"""Verbs that help to write a configuration: schema, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from acclimate.cli.options import Json, console, print_json
from acclimate.config.schemas import KINDS, schema_file
from acclimate.types.errors import UsageError, listed, nearest


def schema(
    kind: Annotated[str, typer.Argument(help=f"Of which file: {listed(KINDS)}.")] = "run",
) -> None:
    """Print the JSON Schema of a YAML file, by which editors check and complete it."""
    if kind not in KINDS:
        raise UsageError(f"There is no schema of '{kind}'; accepted: {listed(KINDS)}.{nearest(kind, KINDS)}")
    console.out(schema_file(kind).read_text(encoding="utf-8").rstrip(), highlight=False)


def import_(
    config: Annotated[Path, typer.Argument(help="A YAML or JSON file of TRL, axolotl or LLaMA-Factory.")],
    output: Annotated[Path, typer.Option(help="Where to write ours.")] = Path("acclimate.yaml"),
    tool: Annotated[
        Literal["trl", "axolotl", "llamafactory"] | None, typer.Option("--from", help="Default: by its keys.")
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Text to learn, in place of what the file names.")] = None,
    general: Annotated[
        list[str] | None, typer.Option(help="Text to stay the same on; default, self: the base writes it.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="That trained there; a step's tokens follow from it.")] = 1,
    json_: Json = False,
) -> None:
    """Turn a configuration of TRL, axolotl or LLaMA-Factory into ours, and say what could not be carried."""
    from acclimate.verbs.importer import import_config, write_imported

    found = import_config(config, tool, domain or (), general or (), processes)
    write_imported(found, config, output)
    if json_:
        print_json({"output": output} | found.as_json())
        return
    console.print(f"Wrote {output}, from {found.tool}'s {config}.", highlight=False, markup=False, soft_wrap=True)
    if found.left:
        table = Table("not carried", "why", box=box.SIMPLE_HEAD, pad_edge=False)
        for one in found.left:
            table.add_row(Text(f"{one.key}\n{one.place}".strip()), Text(one.why))
        console.print(table)
    if found.silent:
        told = f"Needs nothing here: {', '.join(found.silent)}."
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Next: acclimate validate {output}", highlight=False, markup=False, soft_wrap=True)
