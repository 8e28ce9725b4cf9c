"""A run's model as a folder for other programs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from acclimate.build import open_run
from acclimate.model.export import check_empty, save_model
from acclimate.model.load import written_changes
from acclimate.reports import model_card
from acclimate.runs.beginning import turn_ends
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout


def export(
    run_dir: Path, output: Path, merge: bool = False, checkpoint: str | None = None, console: Console | None = None
) -> Path:
    """Writes a Hugging Face folder: an adapter, or with ``merge`` (and after full tuning) a whole model.

    Args:
        merge: fold the adapter into the base; into its original weights, if the run kept them quantised.
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
        console: where notes about what is written are printed.
    """
    check_empty(output)
    config, pair = open_run(run_dir, checkpoint, quantised=not merge)
    run = Layout(run_dir)
    measured = run.summary.is_file() and read_summary(run.summary)
    card = model_card(run_dir, merge, checkpoint) if measured else None
    ends = turn_ends(run_dir)["stops_at"]
    changes = written_changes(config.model, whole=merge or config.lora is None)
    for note in save_model(pair.model, output, config.model.path, card, merge, stops_at=ends, changes=changes):
        if console is not None:
            console.print(f"Note: {note}", style="yellow", highlight=False, markup=False)
    return output
