"""The command line: thin verbs over the Python API.

Exit codes: 0 ok, 1 runtime error, 2 reserved for a failed gate, 3 usage error.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from acclimate import __version__
from acclimate.errors import AcclimateError, UsageError

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NOTHING_HELD_OUT = "No source holds documents out, so nothing was measured and there is no report."
RUNTIME_ERROR, CLICK_USAGE_ERROR, USAGE_ERROR = 1, 2, 3

app = typer.Typer(
    name="acclimate",
    help="Adapt a language model to a domain without losing what it already knew, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
problems = Console(stderr=True)

Config = Annotated[Path, typer.Argument(help="The run's YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override: dotted.path=value, like optimizer.learning_rate=1e-5."),
]
Run = Annotated[Path, typer.Argument(help="A run folder.")]


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"acclimate {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Version.")] = False,
) -> None:
    pass


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the configuration.")] = Path("acclimate.yaml"),
    domain: Annotated[str, typer.Option(help="Domain text: file, folder or glob.")] = "data/domain",
    general: Annotated[str, typer.Option(help="General text to keep behaviour on.")] = "data/general",
    model: Annotated[str, typer.Option(help="Hub id, local folder or .gguf file.")] = DEFAULT_MODEL,
) -> None:
    """Write a commented configuration to start from."""
    from acclimate.template import write_template

    write_template(path, domain=domain, general=general, model=model)
    console.print(f"Wrote {path}. Next: acclimate validate {path}", highlight=False)


@app.command()
def validate(config: Config, set_: Set = None) -> None:
    """Check configuration, files and records, and print the resolved plan; trains nothing."""
    from acclimate.config import load_config
    from acclimate.preflight import print_preflight
    from acclimate.preflight import validate as check

    print_preflight(check(load_config(config, set_ or ())), console)


@app.command()
def train(
    config: Config,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")] = False,
) -> None:
    """Train, measure against the base, and write the run folder with its report."""
    from acclimate.config import load_config
    from acclimate.run import train as train_run

    loaded = load_config(config, set_ or ())
    try:
        result = train_run(loaded, resume=resume, console=console)
    except KeyboardInterrupt:
        kept = "from the last checkpoint" if loaded.training.save_steps else "from step 0 (training.save_steps is null)"
        raise AcclimateError(f"Interrupted. The same command with --resume continues {kept}.") from None
    if result.summary:
        _report([loaded.run_dir], loaded.run_dir / "report.html")
    else:
        console.print(NOTHING_HELD_OUT)


@app.command("eval")
def evaluate(run: Run) -> None:
    """Measure a run's model against its base again and refresh summary and report."""
    from acclimate.run import evaluate_run

    if evaluate_run(run).summary:
        _report([run], run / "report.html")
    else:
        console.print(NOTHING_HELD_OUT)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several run folders to show side by side.")],
    output: Annotated[Path | None, typer.Option(help="Default: report.html in the (first) run folder.")] = None,
) -> None:
    """Write one self-contained HTML page about one run or several."""
    _report(runs, output or runs[0] / "report.html")


def _report(runs: list[Path], output: Path) -> None:
    from acclimate.report import collect, summary_table, write_report

    if output.suffix != ".html":
        raise UsageError(f"--output: '{output}' does not end in .html; a report is one HTML file.")
    write_report(runs, output)
    console.print(summary_table(collect(runs), console.width))
    console.print(f"Report: {output}", highlight=False, soft_wrap=True)


@app.command()
def export(
    run: Run,
    output: Annotated[Path, typer.Option(help="A new folder.")],
    merge: Annotated[bool, typer.Option("--merge", help="Fold a LoRA adapter into the weights.")] = False,
    checkpoint: Annotated[str | None, typer.Option(help="'best' or 'step-00000100'; default: the final model.")] = None,
) -> None:
    """Write a Hugging Face folder: adapter or whole model, tokenizer, template and model card."""
    from acclimate.run import export as export_run

    export_run(run, output, merge=merge, checkpoint=checkpoint)
    console.print(f"Wrote {output}", highlight=False, soft_wrap=True)


@app.command()
def methods() -> None:
    """List the methods with what they do, store and cost."""
    from acclimate.catalogue import print_methods

    print_methods(console)


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option(help="Default: runs/demo, or runs/demo-quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same path with a quarter of the tokens.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method.")] = 1,
) -> None:
    """Tune a real small model three ways on medical text and show what each kept."""
    from acclimate.demo import run_demo

    run_demo(output or Path("runs/demo-quick" if quick else "runs/demo"), quick=quick, seeds=seeds, console=console)


def main() -> None:
    """Runs the command line with the documented exit codes."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries: nothing a user can act on
    try:
        app()
    except SystemExit as end:  # the CLI library exits with 2 on usage errors, which here will mean a failed gate
        sys.exit(USAGE_ERROR if end.code == CLICK_USAGE_ERROR else end.code)
    except AcclimateError as error:
        problems.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(USAGE_ERROR if isinstance(error, UsageError) else RUNTIME_ERROR)
    except KeyboardInterrupt:
        problems.print("Interrupted.")
        sys.exit(RUNTIME_ERROR)
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        problems.print(f"Error:{where} {error.strerror or error}.", style="red", highlight=False, markup=False)
        sys.exit(RUNTIME_ERROR)
