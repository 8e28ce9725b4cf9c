"""Verbs that use a run's model: export, chat."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from acclimate.cli.options import Checkpoint, Run, console


def export(
    run: Run,
    output: Annotated[Path, typer.Option(help="A new folder.")],
    merge: Annotated[bool, typer.Option("--merge", help="Fold a LoRA adapter into the weights.")] = False,
    checkpoint: Checkpoint = None,
    gguf: Annotated[
        str | None, typer.Option(help="Also a GGUF file of this type (f16, bf16, q8_0 ...) and a Modelfile for Ollama.")
    ] = None,
    converter: Annotated[
        Path | None, typer.Option(help="For --gguf: a checkout of llama.cpp; default: a pinned one, fetched by pip.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Also send the folder to this repository of the Hub; a new one is private.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For --push-to-hub: a new one is public.")] = False,
    base_id: Annotated[str | None, typer.Option(help="The base's id on the Hub, for the model card.")] = None,
    licence: Annotated[str | None, typer.Option("--license", help="For the model card, like apache-2.0.")] = None,
) -> None:
    """Write a Hugging Face folder: adapter or whole model, tokenizer, template and model card."""
    from acclimate.runs.beginning import turn_ends
    from acclimate.verbs.export import export as export_run

    export_run(
        run,
        output,
        merge=merge,
        checkpoint=checkpoint,
        console=console,
        base_id=base_id,
        licence=licence,
        gguf=gguf,
        converter=converter,
        push_to_hub=push_to_hub,
        public=public,
    )
    ends = turn_ends(run)
    if ends["ids"] and (output / "adapter_config.json").is_file():
        told = (
            f"Note: no loader reads from an adapter that this run learned to end turns with {', '.join(ends['tokens'])}"
        )
        todo = f"; set model.generation_config.eos_token_id = {ends['stops_at']}, or export with --merge."
        console.print(told + todo, style="yellow", highlight=False, markup=False)
    console.print(f"Wrote {output}", highlight=False, soft_wrap=True)


def chat(
    run: Run,
    base: Annotated[bool, typer.Option("--base", help="The answers of the base beside those of the run.")] = False,
    checkpoint: Checkpoint = None,
    system: Annotated[str | None, typer.Option(help="A system message before the first turn.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 answers greedily, the same way every time.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the drawn tokens, above temperature 0.")] = None,
) -> None:
    """Talk to a run's model, and to its base beside it; lines from a pipe are answered one by one."""
    from acclimate.verbs.chat import open_chat
    from acclimate.verbs.chat.terminal import answer_lines, talk

    conversations = open_chat(
        run,
        base=base,
        checkpoint=checkpoint,
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    if sys.stdin.isatty():
        talk(conversations, console)
    else:
        answer_lines(conversations, (line.decode(errors="replace") for line in sys.stdin.buffer), console)
