"""Statistics over general text, taken once a base and read by the methods that want them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acclimate.cli.options import Config, Json, Set, beside, console, print_json
from acclimate.types.errors import Stopped

if TYPE_CHECKING:
    from acclimate.stores.recorder import Recorder

app = typer.Typer(help="Take a statistic over general text: what ewc, hlr and dba read.", no_args_is_help=True)

Output = Annotated[Path, typer.Option(help="A new folder for the store.")]
Tokens = Annotated[int, typer.Option(help="Trained tokens to look at.")]
Source = Annotated[str | None, typer.Option(help="One source; default: those of route general.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a recording that was stopped.")]


@app.command()
def path_integral(
    config: Config,
    output: Output,
    set_: Set = None,
    tokens: Tokens = 1_000_000,
    source: Source = None,
    xi: Annotated[float, typer.Option(help="Of the mean squared movement, beside each weight's own.")] = 0.1,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Train on general text and keep what each weight's movement contributed, and where it ended (hlr)."""
    from acclimate.stores.path_integral import PathIntegral

    _record(PathIntegral(xi), config, set_, output, tokens, source, resume, json_)


@app.command()
def fisher(
    config: Config,
    output: Output,
    set_: Set = None,
    tokens: Tokens = 200_000,
    source: Source = None,
    labels: Annotated[
        Literal["true", "sampled"], typer.Option(help="The text's own tokens, or drawn from the model.")
    ] = "true",
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Keep the mean square of each sequence's gradient (ewc)."""
    from acclimate.stores.fisher import Fisher

    _record(Fisher(labels), config, set_, output, tokens, source, resume, json_)


@app.command()
def mean_gradient(
    config: Config,
    output: Output,
    set_: Set = None,
    tokens: Tokens = 1_000_000,
    source: Source = None,
    rank: Annotated[int | None, typer.Option(help="Singular triplets of each matrix; default: dense.")] = None,
    dtype: Annotated[Literal["bfloat16", "float32"], typer.Option(help="Of the stored gradient.")] = "bfloat16",
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Keep the mean gradient at learning rate 0 (dba)."""
    from acclimate.stores.mean_gradient import MeanGradient

    _record(MeanGradient(rank, dtype), config, set_, output, tokens, source, resume, json_)


def _record(
    recorder: Recorder,
    path: Path,
    set_: list[str] | None,
    output: Path,
    tokens: int,
    source: str | None,
    resume: bool,
    json_: bool,
) -> None:
    from acclimate.config.load import load_config
    from acclimate.verbs.record import record

    try:
        store = record(load_config(path, set_ or ()), recorder, output, tokens, source, resume, beside(json_))
    except KeyboardInterrupt:
        raise Stopped("Interrupted. The same command with --resume goes on.", signal.SIGINT) from None
    numbers = {name: value for name, value in store.facts.items() if isinstance(value, int | float)}
    if json_:
        print_json({"output": output, "kind": store.kind, "tokens": store.manifest["tokens"], **numbers})
        return
    console.print(f"Wrote {output}: {store.kind} over {store.manifest['tokens']:,} tokens.", highlight=False)
    for name, value in numbers.items():
        console.print(f"  {name.replace('_', ' ')} {value:.4g}", highlight=False)
