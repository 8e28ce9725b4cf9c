"""The command line: thin verbs over the Python API.

Exit codes: 0 ok, 1 runtime error, 2 a gate that did not pass, 3 usage error; 130, 143 and 129 when a signal
stopped a training after its checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from acclimate import __version__
from acclimate.errors import AcclimateError, PeerError, Stopped, UsageError

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NOTHING_HELD_OUT = "No source holds documents out, so nothing was measured and there is no report."
RUNTIME_ERROR, GATE_CLOSED, CLICK_USAGE_ERROR, USAGE_ERROR = 1, 2, 2, 3

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
Checkpoint = Annotated[str | None, typer.Option(help="'best' or 'step-00000100'; default: the final model.")]


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
    nproc: Annotated[
        int | None, typer.Option("--nproc", min=1, help="Train in so many processes on this machine, one a GPU.")
    ] = None,
) -> None:
    """Train, measure against the base, and write the run folder with its report."""
    from acclimate.config import load_config
    from acclimate.parallel.launch import launch, launched_processes, launched_rank
    from acclimate.run import train as train_run
    from acclimate.run_folder import what_resume_does

    loaded = load_config(config, set_ or ())
    if nproc is not None and nproc > 1:
        if launched_processes() > 1:
            raise UsageError(f"--nproc {nproc}: this is one of {launched_processes()} processes already; leave it out.")
        overrides = [part for override in set_ or () for part in ("--set", override)]
        raise typer.Exit(launch(["train", str(config), *overrides, *(["--resume"] if resume else [])], nproc))
    try:
        result = train_run(loaded, resume=resume, console=console)
    except KeyboardInterrupt:
        how = what_resume_does(loaded.run_dir)
        raise Stopped(f"Interrupted. The same command with --resume {how}.", signal.SIGINT) from None
    if launched_rank() == 0:
        _report_on(loaded.run_dir, result.summary)


@app.command("eval")
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run folder; else --base and --model or --adapter.")] = None,
    panel: Annotated[Path | None, typer.Option(help="YAML file of sets, in place of the run's own.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, local folder or .gguf file.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter's folder; its model is --base.")] = None,
    base: Annotated[str | None, typer.Option(help="What --model or --adapter is compared with.")] = None,
    output: Annotated[Path | None, typer.Option(help="A panel's folder; default: RUN/panels/NAME.")] = None,
) -> None:
    """Measure a run's model against its base again, or any model or adapter against any base on a panel."""
    if panel is not None:
        _panel(panel, run, model, adapter, base, output)
        return
    given = {"--model": model, "--adapter": adapter, "--base": base, "--output": output}
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}: has no effect without --panel; a run is measured on its own held-out sets.")
    if run is None:
        raise UsageError(
            "acclimate eval measures a run, or a --panel; name a run folder, or see acclimate eval --help."
        )
    from acclimate.run import evaluate_run

    _report_on(run, evaluate_run(run).summary)


def _panel(
    path: Path, run: Path | None, model: str | None, adapter: Path | None, base: str | None, output: Path | None
) -> None:
    from acclimate.panel import evaluate_panel, load_panel
    from acclimate.panel.page import check_output, panel_table, write_panel
    from acclimate.panel.pair import open_pair

    panel = load_panel(path)
    if output is None:
        if run is None:
            raise UsageError("--output: is required where no run folder is named; give a new folder.")
        output = run / "panels" / panel.name
    check_output(output)
    pair = open_pair(run, model, adapter, base)
    result = evaluate_panel(pair.model, pair.base, panel)
    write_panel(output, pair, result)
    console.print(panel_table(result, pair.identity["name"]))
    console.print(f"Items and numbers: {output}", highlight=False, soft_wrap=True)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several run folders to show side by side.")],
    output: Annotated[Path | None, typer.Option(help="Default: report.html in the (first) run folder.")] = None,
) -> None:
    """Write one self-contained HTML page about one run or several."""
    _report(runs, output or runs[0] / "report.html")


def _report_on(run: Path, summary: list[dict[str, Any]]) -> None:
    if summary:
        _report([run], run / "report.html")
    else:
        console.print(NOTHING_HELD_OUT)


def _report(runs: list[Path], output: Path) -> None:
    from acclimate.report import collect, summary_table, write_report

    if output.suffix != ".html":
        raise UsageError(f"--output: '{output}' does not end in .html; a report is one HTML file.")
    write_report(runs, output)
    console.print(summary_table(collect(runs), console.width))
    console.print(f"Report: {output}", highlight=False, soft_wrap=True)


class _GateClosed(Exception):
    """What there is to say has been printed; the exit code is left."""


@app.command()
def gate(
    run: Run,
    policy: Annotated[Path, typer.Option(help="The policy's YAML file.")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the verdict as Markdown, for a comment.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Hold a run against a policy of margins: exit code 0 if it passes, 2 if it fails or that cannot be told."""
    from acclimate.files import write_text
    from acclimate.gate import gate as judge
    from acclimate.gate.page import verdict_markdown, verdict_page

    verdict = judge(run, policy)
    if markdown is not None:
        write_text(markdown, verdict_markdown(verdict))
    if json_:
        console.out(json.dumps(verdict.as_json(), indent=1, ensure_ascii=False), highlight=False)
    else:
        console.print(verdict_page(verdict))
    if not verdict.passed:
        raise _GateClosed


@app.command()
def export(
    run: Run,
    output: Annotated[Path, typer.Option(help="A new folder.")],
    merge: Annotated[bool, typer.Option("--merge", help="Fold a LoRA adapter into the weights.")] = False,
    checkpoint: Checkpoint = None,
) -> None:
    """Write a Hugging Face folder: adapter or whole model, tokenizer, template and model card."""
    from acclimate.run import export as export_run

    export_run(run, output, merge=merge, checkpoint=checkpoint)
    console.print(f"Wrote {output}", highlight=False, soft_wrap=True)


@app.command()
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
    from acclimate.chat import open_chat
    from acclimate.chat.terminal import answer_lines, talk

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


@app.command()
def methods() -> None:
    """List the methods with what they do, store and cost."""
    from acclimate.catalogue import print_methods

    print_methods(console)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file, to see what it would need.")] = None,
    set_: Set = None,
    json_: Annotated[bool, typer.Option("--json", help="For machines and bug reports.")] = False,
) -> None:
    """Look for what would stop a run: versions, devices, memory, disk; exit code 1 if something would."""
    from acclimate.config import load_config
    from acclimate.doctor import diagnose
    from acclimate.doctor.page import print_diagnosis

    if set_ and config is None:
        raise UsageError("--set: changes a configuration; name its file too.")
    found = diagnose(load_config(config, set_ or ()) if config else None)
    if json_:
        console.out(json.dumps(found.as_json(), indent=1, ensure_ascii=False), highlight=False)
    else:
        print_diagnosis(found, console)
    if found.problems:
        raise typer.Exit(RUNTIME_ERROR)


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
    from acclimate.parallel.launch import end_with_launcher, launched_processes

    end_with_launcher()
    code = _run()
    if launched_processes() > 1:  # leaving the usual way, communication threads may abort
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries: nothing a user can act on
    try:
        app()
    except SystemExit as end:  # the CLI library exits with 2 on usage errors, which here means a gate
        return USAGE_ERROR if end.code == CLICK_USAGE_ERROR else int(end.code or 0)
    except _GateClosed:
        return GATE_CLOSED
    except PeerError:
        return RUNTIME_ERROR
    except Stopped as stopped:
        from acclimate.parallel.launch import launched_rank

        if launched_rank() == 0:  # all ranks stop together
            problems.print(str(stopped), highlight=False, markup=False, soft_wrap=True)
        return 128 + stopped.signal
    except AcclimateError as error:
        from acclimate.parallel.world import speaks

        if speaks():
            problems.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return USAGE_ERROR if isinstance(error, UsageError) else RUNTIME_ERROR
    except KeyboardInterrupt:
        problems.print("Interrupted.")
        return 128 + signal.SIGINT
    except RuntimeError as error:
        from acclimate.parallel.world import is_lost_peer

        if not is_lost_peer(error):
            raise
        return RUNTIME_ERROR  # the process that ended, or the launcher, said why
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        problems.print(f"Error:{where} {error.strerror or error}.", style="red", highlight=False, markup=False)
        return RUNTIME_ERROR
    return 0
