"""The chosen configuration as a file of its own."""

from __future__ import annotations

from pathlib import Path

from acclimate.config.load import RunConfig, dump_config
from acclimate.disk.files import write_text
from acclimate.runs.layout import Layout, read_json
from acclimate.types.errors import UsageError


def check_frozen(path: Path) -> None:
    """
    Raises:
        UsageError: something stands there, or its folder does not.
    """
    if path.exists():
        raise UsageError(f"--freeze: '{path}' exists and is left alone; name a new file.")
    if not path.parent.is_dir():
        raise UsageError(f"--freeze: the folder '{path.parent}' does not exist; make it, or name another file.")


def freeze(config: RunConfig, path: Path) -> None:
    """Writes the plain configuration that a search chose, with a comment that says why.

    Args:
        config: what the search gave.
    """
    check_frozen(path)
    says = read_json(Layout(config.run_dir).searched)["says"]
    write_text(path, f"# Chosen by method: auto, in {config.run_dir}. {says}\n{dump_config(config)}")
