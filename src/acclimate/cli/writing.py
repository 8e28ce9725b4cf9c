"""The verb that has a model write rows: replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.options import Json, beside, console, print_json


def replay(
    model: Annotated[str, typer.Option(help="Hub id, local folder or .gguf file of the model that writes.")],
    output: Annotated[Path, typer.Option(help="A new .jsonl file; beside it OUTPUT.replay.json says what it holds.")],
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens that are written, in rows that are kept.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer or text.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Your own prompts: .jsonl, or .txt with one a line.")] = None,
    prefixes: Annotated[str | None, typer.Option(help="Texts whose beginnings are continued.")] = None,
    temperature: Annotated[float | None, typer.Option(help="1 is the model's own distribution.")] = None,
    top_p: Annotated[float | None, typer.Option(help="1 is the model's own distribution.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of drawn tokens and the order of prompts.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows that are written at a time.")] = None,
    way: Annotated[
        list[str] | None,
        typer.Option(help="From what rows begin: template, seeds, prompts, bos, prefixes; repeat it for several."),
    ] = None,
    real: Annotated[
        str | None, typer.Option(help="Real rows: how well a classifier tells the written ones from them.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto: what is faster here.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    json_: Json = False,
) -> None:
    """Have a model write rows itself: a general corpus of its own behaviour, for `path`, with a report."""
    from acclimate.config.chosen.replay import ReplaySection
    from acclimate.config.schema import ModelSection
    from acclimate.verbs.replay import print_report
    from acclimate.verbs.replay import replay as write

    given = {
        "tokens": tokens, "max_new_tokens": max_new_tokens, "prompts": prompts, "prefixes": prefixes,
        "temperature": temperature, "top_p": top_p, "seed": seed, "batch_size": batch_size,
        "ways": dict.fromkeys(way, 1.0) if way else None,
    }  # fmt: skip
    settings = ReplaySection.of_values({key: value for key, value in given.items() if value is not None}, "replay")
    section = ModelSection.of_values({"path": model, "dtype": dtype, "device": device}, "model")
    found = write(section, output, settings, real=real, console=beside(json_))
    if json_:
        print_json({"output": output} | found)
        return
    print_report(found, console)
    console.print(f"Wrote {output}. A source reads it: sources.general.path: {output}", highlight=False, soft_wrap=True)
