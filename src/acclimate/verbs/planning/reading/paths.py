"""What is named on the command line, as readings of one method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acclimate.types.errors import UsageError, listed
from acclimate.verbs.planning.reading.comparisons import WHOLE, read_comparison
from acclimate.verbs.planning.reading.folders import read_folders
from acclimate.verbs.planning.reading.logs import read_log
from acclimate.verbs.planning.reading.readings import Readings, check, chosen
from acclimate.verbs.planning.reading.settings import check_alike, like

LOG, TABLE = ".csv", ".jsonl"


def read(paths: Sequence[Path], only: Sequence[str] = ()) -> Readings:
    """Run folders, the table of a comparison (``.jsonl``, or its ``.yaml``), or a log (``.csv``).

    Args:
        only: methods, or their names in a comparison, that count as one.

    Raises:
        UsageError: nothing is named, kinds are mixed, or no law can be fitted to what is there.
        RunError, DataError, ConfigError: a file is missing or damaged; the message says where.
    """
    found = _with_its_control(chosen(_read(paths), only))
    kept = {one.run for one in found.readings}
    control = {one.run for one in found.control}
    check_alike({name: config for name, config in found.configs.items() if name in kept}, control)
    rates = [one.run for one in found.readings if math.isnan(one.learning_rate)]
    if rates:
        note = (
            f"{len(rates)} of {len(found.readings)} readings do not say their learning rate, so it is taken for one in "
            "all. A comparison's YAML file says it, and the column learning_rate of a log."
        )
        found = replace(found, notes=(*found.notes, note))
    check(found)
    return found


def _with_its_control(found: Readings) -> Readings:
    """Without runs of sft that differ from the others in more than their method, as an adapter does."""
    control = {one.run: found.configs[one.run] for one in found.control if one.run in found.configs}
    own = next((found.configs[one.run] for one in found.readings if one.run in found.configs.keys() - control), None)
    if own is None or len(same := like(own, control)) == len(control):
        return found
    other = control.keys() - same
    return replace(
        found,
        readings=tuple(one for one in found.readings if one.run not in other),
        control=tuple(one for one in found.control if one.run not in other),
        notes=(*found.notes, f"Left out: {len(other)} runs of sft that differ in more than their method."),
    )


def _read(paths: Sequence[Path]) -> Readings:
    if not paths:
        raise UsageError(
            "acclimate plan reads runs that were trained: runs/*, a comparison's .yaml or .jsonl, or a .csv. Without "
            "any, --probe CONFIG trains up to 6 short ones."
        )
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is nothing at '{path}'; name run folders, a comparison's table, or a log as .csv.")
    folders, files = [path for path in paths if path.is_dir()], [path for path in paths if not path.is_dir()]
    if folders:
        found = read_folders(folders)
        names = listed([str(path) for path in files[:3]]) if files else ""
        said = (
            [f"Left out: {len(files)} files beside the run folders ({names}{', ...' * (len(files) > 3)})."]
            if files
            else []
        )
        return replace(found, notes=(*found.notes, *said))
    if len(files) > 1:
        raise UsageError(f"'{files[0]}' and '{files[1]}' are two tables, and a plan is made of one; name one.")
    (path,) = files
    if path.suffix == LOG:
        return read_log(path)
    if path.suffix in (TABLE, *WHOLE):
        return read_comparison(path)
    raise UsageError(
        f"'{path}' is no table that a plan reads; accepted: {listed([TABLE, *WHOLE, LOG])}, or run folders."
    )
