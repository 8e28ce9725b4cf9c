"""The verb behind ``acclimate replay``: a model and settings in, rows and what there is to say of them out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from acclimate.config.chosen.replay import ReplaySection
from acclimate.config.schema import DataSection, ModelSection
from acclimate.disk.files import alone, write_text
from acclimate.measurement.sample import Sampler
from acclimate.model.causal import CausalModel
from acclimate.model.load import DTYPES, load_config_of, load_network, resolve_device, resolve_dtype, width_of
from acclimate.runs.layout import read_json, write_json
from acclimate.types.errors import UsageError
from acclimate.verbs.replay.author import Author
from acclimate.verbs.replay.beginnings import read_given
from acclimate.verbs.replay.commission import Commission
from acclimate.verbs.replay.manuscript import Manuscript, read_rows
from acclimate.verbs.replay.page import page
from acclimate.verbs.replay.report import against, report

PAUSE = 0.5
"""Seconds between two looks at rows that another process writes."""


def replay(
    model: ModelSection | str,
    output: Path,
    settings: ReplaySection | None = None,
    real: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Has a model write rows in its own words: a corpus to keep its behaviour on.

    Rows are added batch by batch. A command that was stopped at any moment goes on when it is given again, and the
    file is the same as if it had not been stopped.

    Args:
        model: a hub id, a folder, or a ``model`` section.
        output: a ``.jsonl`` file that does not exist yet; ``OUTPUT.replay.json`` and
            ``OUTPUT.replay.markdown`` beside it say what it holds.
        real: rows of the kind that the model will meet, in any form that a source may have; the report then says how
            well a classifier tells the written ones from them.

    Returns:
        What ``replay.json`` holds.

    Raises:
        UsageError: ``output`` exists, or was begun with something else.
        ConfigError, DataError, ModelError: the model cannot write so, or hardly writes a row.
        RunError: there is no room; the same command goes on.
    """
    section = ModelSection(path=model) if isinstance(model, str) else model
    if output.suffix != ".jsonl":
        raise UsageError(f"--output: '{output}' should end in .jsonl, as rows are read by that name.")
    device = resolve_device(section)
    section = _with_dtype(section, device)
    commission = Commission("replay", section, settings or ReplaySection(), DataSection().cache_dir)
    commission.check()
    compared = read_given("replay", "real", real) if real is not None else []
    found = write_rows(commission, output, device, console or Console(quiet=True))
    if real is not None:
        found |= {"real": against(read_rows(output), compared)}
    place = report_of(output)
    write_json(place, found)
    write_text(place.with_suffix(".markdown"), page(found))  # no source reads that: .md would be text to train on
    return found


def write_rows(commission: Commission, output: Path, device: torch.device, console: Console) -> dict[str, Any]:
    """The rows and their report, unless both are there."""
    place = report_of(output)
    with _alone(output.with_name(f".{output.name}.lock"), console):
        if output.exists() and place.exists() and not Manuscript.begun(output):
            found = read_json(place)
            if found["identity"] == commission.identity:
                return found
        if output.exists() and not Manuscript.begun(output):
            raise UsageError(f"--output: '{output}' exists and is left alone; give another path.")
        script = Manuscript(output, commission.identity)
        if script.tokens < commission.settings.tokens:
            _write(commission, script, device, console)
        script.finish()
        about = {
            "identity": commission.identity,
            "model": commission.model.path,
            "dtype": commission.model.dtype,
            "settings": commission.settings.model_dump(mode="json"),
            "ways_of": dict(commission.beginnings.ways),
        }
        found = report(script, about, output)
        write_json(place, found)
        script.forget()
    return found


def report_of(output: Path) -> Path:
    """Where it is said what a file of rows holds."""
    return output.with_name(f"{output.name.removesuffix('.jsonl')}.replay.json")


def _write(commission: Commission, script: Manuscript, device: torch.device, console: Console) -> None:
    """Batch after batch, from where the file ends."""
    wanted, model = commission.settings.tokens, commission.model
    network = load_network(model, DTYPES[model.dtype], device)
    sampler = Sampler(
        CausalModel(network, commission.tokenizer), commission.settings.temperature, commission.settings.top_p
    )
    author = Author(sampler, commission.beginnings)
    with _progress(console, f"{model.path.rstrip('/').split('/')[-1]} writes", wanted) as advance:
        advance(script.tokens, 0.0)
        for batch in islice(commission.beginnings.batches(), script.batches, None):
            started, before = time.perf_counter(), author.drawn
            rows = author.rows(batch)
            seconds = time.perf_counter() - started
            script.add(rows, wanted, author.drawn - before, seconds)
            advance(script.tokens, script.drawn / max(script.seconds, 1e-9))
            if script.tokens >= wanted:
                return
            if script.hopeless:
                raise commission.nothing_written(dict(script.dropped), len(script.rows))


@contextmanager
def _progress(console: Console, name: str, wanted: int) -> Iterator[Any]:
    """A bar of tokens that are kept; a line a tenth where there is no terminal."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task(name, total=wanted, figures="")
    said = -1

    def advance(tokens: int, rate: float) -> None:
        nonlocal said
        tokens = min(tokens, wanted)
        pace = f"{rate:.0f} tok/s" if rate else "the first rows are on their way"
        figures = f"{tokens:,} of {wanted:,} tokens  {pace}"
        bar.update(task, completed=tokens, figures=figures)
        if not console.is_terminal and 10 * tokens // wanted > said:
            said = 10 * tokens // wanted
            console.print(f"{name}: {figures}", highlight=False)

    with bar:
        yield advance


@contextmanager
def _alone(lock: Path, console: Console) -> Iterator[None]:
    """While nobody else on this machine writes these rows; waits for whoever does."""
    told = False
    while True:
        with alone(lock) as free:
            if free:
                yield
                return
        if not told:
            console.print("Another process writes these rows; waiting for them.", highlight=False)
            told = True
        time.sleep(PAUSE)


def _with_dtype(section: ModelSection, device: torch.device) -> ModelSection:
    if section.dtype != "auto":
        return section
    dtype = resolve_dtype(device, width_of(load_config_of(section).get_text_config()))
    return section.model_copy(update={"dtype": next(name for name, known in DTYPES.items() if known == dtype)})
