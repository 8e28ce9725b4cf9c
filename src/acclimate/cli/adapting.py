"""The verb that does it all: adapt."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from acclimate.cli.options import GateClosed, Json, Set, beside, console, print_json
from acclimate.runs.layout import Layout
from acclimate.types.errors import Stopped, UsageError

if TYPE_CHECKING:
    from acclimate.verbs.adapt import Adapted


def adapt(
    model: Annotated[str, typer.Option(help="Hub id, local folder or .gguf file.")],
    domain: Annotated[list[str], typer.Option(help="Text to learn: file, folder or glob; may be repeated.")],
    keep: Annotated[float, typer.Option(help="Nats a token by which it may drift on other text: 0.05 is little.")],
    general: Annotated[
        list[str] | None, typer.Option(help="Text to stay the same on; default, self: the base writes it.")
    ] = None,
    output_dir: Annotated[str, typer.Option(help="Configuration, policy and run folder are written there.")] = "runs",
    name: Annotated[str | None, typer.Option(help="Of the run; default: what the domain is called.")] = None,
    search: Annotated[bool, typer.Option("--search", help="Short probes choose the setting first.")] = False,
    tokens: Annotated[int | None, typer.Option(help="Trained tokens of the domain.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the domain, in place of tokens.")] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the same command began.")] = False,
    json_: Json = False,
) -> None:
    """Adapt a model to a domain within a budget of forgetting: write a configuration, train, report, judge."""
    from acclimate.verbs.adapt import adapt as adapt_model

    if not domain:
        raise UsageError("--domain: names no text; give a file, folder or glob.")
    try:
        found = adapt_model(
            model,
            domain,
            keep,
            general or "self",
            output_dir,
            name,
            search,
            tokens,
            epochs,
            set_ or (),
            resume,
            beside(json_),
        )
    except KeyboardInterrupt:
        raise Stopped("Interrupted. The same command with --resume goes on.", signal.SIGINT) from None
    if json_:
        print_json(
            {
                "run": found.run_dir, "verdict": found.verdict.as_json(), "learned": found.learned, "kept": found.kept,
                "model": Layout(found.run_dir).model, "report": found.report, "config": found.config,
                "policy": found.policy,
            }
        )  # fmt: skip
    else:
        _print(found)
    if not found.passed:
        raise GateClosed(found.verdict.outcome)


def _print(found: Adapted) -> None:
    from acclimate.reports.gate_page import verdict_page

    console.print(verdict_page(found.verdict))
    for sentence in (found.learned, found.kept):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for what, path in (
        ("Model", Layout(found.run_dir).model),
        ("Report", found.report),
        ("Configuration", found.config),
        ("Policy", found.policy),
    ):
        console.print(f"{what}: {path}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Next: acclimate chat {found.run_dir} --base", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"      acclimate export {found.run_dir} --output {found.run_dir.name}-model",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
