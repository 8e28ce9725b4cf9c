"""The memorisation check of a run, read from RUN/memorisation/: text that was trained on beside text that was not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from acclimate.paired.estimate import Estimate
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.dots import Dot, dots
from acclimate.reports.pictures.palette import slots
from acclimate.reports.pictures.picture import Numbers, Picture, plain
from acclimate.reports.words import number
from acclimate.reports.words.names import joined, named
from acclimate.runs.folder import RunFolder
from acclimate.runs.layout import Layout, parsed
from acclimate.types.errors import RunError


@dataclass(frozen=True)
class Check:
    """One domain source of one seed; changes are tuned minus base in bits per byte."""

    source: str
    measured: int
    trained_on: int
    training: Estimate
    heldout: Estimate
    gap: Estimate  # how much more training text gained, bits/byte
    bits: Estimate  # memorised, per trained parameter
    chance: Estimate  # what the same sum makes of unseen documents


@dataclass(frozen=True)
class Memorised:
    """The section: pictures, (run, seed, check) rows, their numbers, and what was not measured."""

    pictures: tuple[Picture, ...]
    rows: tuple[tuple[Run, int, Check], ...]
    numbers: Numbers
    missing: tuple[str, ...]


def memorised(data: ReportData) -> Memorised:
    """Every check of every seed.

    Raises:
        RunError: a file is damaged.
    """
    rows: list[tuple[Run, int, Check]] = []
    missing: dict[str, None] = {}
    for run in data.runs:
        for seed in run.seeds:
            checks, absent = _read(seed)
            rows += [(run, seed.seed, check) for check in checks]
            missing |= dict.fromkeys(f"{named(source)}: {reason}" for source, reason in absent.items())
    limits = ("low (95 %)", "high (95 %)")
    columns = (
        "run", "seed", "source", "documents measured", "documents trained on",
        "change on training text, bits/byte", *limits, "change on held-out text, bits/byte", *limits,
        "gap, bits/byte", *limits, "bits memorised per trained parameter", *limits,
        "the same of held-out documents", *limits,
    )  # fmt: skip
    cells = tuple(
        (run.label, str(seed), check.source, str(check.measured), str(check.trained_on), *_bounds(check))
        for run, seed, check in rows
    )
    return Memorised(_pictures(data, rows), tuple(rows), Numbers("memorisation", columns, cells), tuple(missing))


def _pictures(data: ReportData, rows: list[tuple[Run, int, Check]]) -> tuple[Picture, ...]:
    """Of each source, both changes of every run (its first seed)."""
    pictures, marks = [], slots(data.runs)
    for index, source in enumerate(dict.fromkeys(check.source for *_, check in rows)):
        own = [(run, check) for run, seed, check in rows if check.source == source and seed == run.seeds[0].seed]
        sides = [
            ("trained on", [check.training for _, check in own]),
            ("held out", [check.heldout for _, check in own]),
        ]
        items = [
            Dot(run.label, marks[run.label], change, {run.seeds[0].seed: 0.0}, row=name)
            for name, changes in sides
            for (run, _), change in zip(own, changes, strict=True)
        ]
        axis = "change in bits per byte (to the left: better)"
        slug, title = f"memorisation-{index}", _finding(source, rows)
        pictures.append(dots(slug, title, items, axis, number.signed, at_zero=True))
    return tuple(pictures)


def _finding(source: str, rows: list[tuple[Run, int, Check]]) -> str:
    """The title: which runs gained more (or else less) on training text, beyond every seed's interval of the gap."""
    gaps: dict[str, list[Estimate]] = {}
    for run, _, check in rows:
        if check.source == source:
            gaps.setdefault(run.label, []).append(check.gap)
    more = [label for label, seeds in gaps.items() if all(gap.low > 0 for gap in seeds)]
    less = [label for label, seeds in gaps.items() if all(gap.high < 0 for gap in seeds)]
    if not more and not less:
        return f"No clear difference between {named(source)} text that was trained on and text that was not"
    clear, how = (more, "more") if more else (less, "less")
    return f"{joined(clear)} gained {how} on {named(source)} text that was trained on than on unseen text"


def _bounds(check: Check) -> tuple[str, ...]:
    measures = (check.training, check.heldout, check.gap, check.bits, check.chance)
    return tuple(plain(bound) for measure in measures for bound in (measure.value, measure.low, measure.high))


def _read(folder: RunFolder) -> tuple[list[Check], dict[str, str]]:
    """The checks of a run, and why a source has none."""
    path = Layout(folder.path).memorised
    if not path.is_file():
        return [], {}
    checks, absent = [], {}
    try:
        for source, entry in parsed(path)["sources"].items():
            if "not_measured" in entry:
                absent[str(source)] = f"not measured ({entry['not_measured']})"
                continue
            found = (
                _estimate(entry, key)
                for key in (
                    "training_change",
                    "heldout_change",
                    "gap",
                    "bits_per_parameter",
                    "heldout_bits_per_parameter",
                )
            )
            checks.append(Check(str(source), int(entry["measured"]), int(entry["trained_on"]), *found))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is no memorisation check ({type(error).__name__}: {error}). Run `acclimate eval {folder.path}`."
        ) from None
    return checks, absent


def _estimate(entry: dict[str, Any], key: str) -> Estimate:
    if not all(math.isfinite(float(entry[key][name])) for name in ("value", "low", "high")):
        raise ValueError(f"{key} is not finite")
    return Estimate.from_record({"n": entry["measured"]} | entry[key])
