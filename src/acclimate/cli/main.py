"""The verbs put together, and the exit code of what happened.

Exit codes: 0 ok, 1 runtime error, 2 a gate failed, 3 usage error, 4 a loss or gradient became NaN, 5 a gate cannot
tell; 130, 143, 138 and 129 when a signal stopped a training after its checkpoint (docs/reference/command-line.md).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from acclimate import __version__
from acclimate.cli import adapting, beginning, comparing, measuring, statistics, training, using, writing
from acclimate.cli.options import (
    CLICK_USAGE_ERROR,
    DIVERGED,
    RUNTIME_ERROR,
    USAGE_ERROR,
    GateClosed,
    console,
    problems,
)
from acclimate.types.errors import (
    AcclimateError,
    NonFiniteError,
    PeerError,
    Stopped,
    UsageError,
    is_out_of_memory,
    reason,
)

app = typer.Typer(
    name="acclimate",
    help="Adapt a language model to a domain without losing what it already knew, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"acclimate {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Version.")] = False,
) -> None:
    pass


VERBS: dict[str, Callable[..., None]] = {
    "adapt": adapting.adapt,
    "init": training.init,
    "import": beginning.import_,
    "schema": beginning.schema,
    "validate": training.validate,
    "train": training.train,
    "eval": measuring.evaluate,
    "compare": comparing.compare,
    "plan": comparing.plan,
    "matrix": measuring.matrix,
    "report": measuring.report,
    "gate": measuring.gate,
    "replay": writing.replay,
    "export": using.export,
    "chat": using.chat,
    "methods": training.methods,
    "doctor": training.doctor,
    "demo": training.demo,
}
for name, verb in VERBS.items():
    app.command(name)(verb)
app.add_typer(statistics.app, name="stats")


def main() -> None:
    """Runs the command line with the documented exit codes."""
    from acclimate.parallel.launch import end_with_launcher

    launched = end_with_launcher()
    code = _adopt_slurm() or _run()
    if launched or os.environ.get("WORLD_SIZE", "1") != "1":  # leaving the usual way, threads of the launch may abort
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _adopt_slurm() -> int:
    """Lets the verbs that train together see what srun started; the others are one process each, as ever."""
    from acclimate.parallel.slurm import adopt

    if sys.argv[1:2] != ["train"] or "--help" in sys.argv or "-h" in sys.argv:
        return 0
    try:
        said = adopt()
        if said is not None and not any(argument.startswith("--nproc") for argument in sys.argv):
            problems.print(f"Note: {said}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    except UsageError as error:
        problems.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return USAGE_ERROR
    return 0


LESS_MEMORY = (
    "Less is needed with a lower training.micro_batch_size or objective.chunk_tokens, or with "
    "training.gradient_checkpointing: true; so a run that has checkpoints goes on with --resume. Less is also needed, "
    "but only in a new run, with a lower data.sequence_length, with lora, or with model.dtype: bfloat16."
)

NOT_LIGHT = (
    "torch", "transformers", "peft", "safetensors", "gguf", "datasets", "pyarrow", "fsspec", "zstandard", "psutil",
    "huggingface_hub", "tokenizers",
)  # fmt: skip
"""Packages that judging and reporting do without (docs/tutorials/gate-in-ci.md); the last two come with others."""


def _run() -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries: nothing a user can act on
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # asks for a kernel that is not used
    try:
        app()
    except SystemExit as end:  # the CLI library exits with 2 on usage errors, which here means a gate
        return USAGE_ERROR if end.code == CLICK_USAGE_ERROR else int(end.code or 0)
    except GateClosed as closed:
        return closed.code
    except PeerError:
        return RUNTIME_ERROR
    except Stopped as stopped:
        from acclimate.parallel.launch import launched_rank

        if launched_rank() == 0:  # all ranks stop together
            problems.print(str(stopped), highlight=False, markup=False, soft_wrap=True)
        return 128 + stopped.signal
    except AcclimateError as error:
        from acclimate.parallel.launch import speaks

        if speaks():
            problems.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        codes = {UsageError: USAGE_ERROR, NonFiniteError: DIVERGED}
        return next((code for kind, code in codes.items() if isinstance(error, kind)), RUNTIME_ERROR)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in NOT_LIGHT:
            raise
        problems.print(
            f"Error: this needs {package}, which is not installed. A light install judges and reports; "
            "`pip install acclimate` brings what it lacks.",
            style="red", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        return RUNTIME_ERROR
    except KeyboardInterrupt:
        problems.print("Interrupted.")
        return 128 + signal.SIGINT
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            problems.print(
                f"Error: Out of memory ({reason(error)}). {LESS_MEMORY}", style="red", highlight=False, markup=False
            )
            return RUNTIME_ERROR
        from acclimate.parallel.launch import lost_peer

        if isinstance(error, MemoryError) or (said := lost_peer(error)) is None:
            raise
        if said:
            problems.print(f"Error: {said}", style="red", highlight=False, markup=False, soft_wrap=True)
        return RUNTIME_ERROR
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        problems.print(f"Error:{where} {error.strerror or reason(error)}.", style="red", highlight=False, markup=False)
        return RUNTIME_ERROR
    return 0
