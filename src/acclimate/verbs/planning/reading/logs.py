"""Logs of other tools as readings: a CSV file with a measured set a line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from acclimate.types.errors import DataError, listed, nearest, reason
from acclimate.verbs.planning.reading.readings import Reading, Readings, check_one, mean

METRICS = ("bits_per_byte", "loss", "kl")
COLUMNS = {
    "run": "name of the run; 'base' is the model before training",
    "set": "held-out text that was measured",
    "tokens": "trained tokens of all sources so far",
    "domain_tokens": "trained tokens of the domain so far, in place of tokens",
    "share": "the domain's part of all trained tokens, in (0, 1]; 1 if left out",
    "loss": "nats a token on the set",
    "bits_per_byte": "bits a byte on the set",
    "kl": "KL(base || tuned) on the set, nats a token",
    "learning_rate": "the peak",
    "weight": "of what holds the model to its base; 1 if left out",
    "step": "of the measurement",
    "seed": "of the run",
    "method": "of the run; 'log' if left out",
    "role": "of the set, domain or general; if left out, a set called 'domain' is the domain and others are general",
    "base": "name or digest of the base",
    "tokenizer": "its name or digest",
    "corpus_tokens": "tokens of one pass over the domain's text",
}
"""Column -> what it holds."""
MOST = {"loss": 1e3, "bits_per_byte": 1e3, "kl": 1e3, "tokens": 1e16, "domain_tokens": 1e16, "corpus_tokens": 1e16}
"""Beyond these a number is a slip of the pen, and no measurement [ours]."""
WHOLE = ("step", "seed")
ABOVE_0 = ("share", "learning_rate", "corpus_tokens")
NEEDED = ("run", "set")
EXAMPLE = ("run", "set", "domain_tokens", "share", "bits_per_byte", "kl")
NUMBERS = ("tokens", "domain_tokens", "share", "loss", "bits_per_byte", "kl", "learning_rate", "weight", "step", "seed",
           "corpus_tokens")  # fmt: skip
BASE = "base"
OTHER_SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Line:
    """A measured set of one model."""

    place: str
    words: Mapping[str, str]
    numbers: Mapping[str, float]

    @property
    def run(self) -> str:
        return self.words["run"]

    @property
    def role(self) -> str:
        return self.words.get("role") or ("domain" if self.words["set"] == "domain" else "general")

    @property
    def is_base(self) -> bool:
        return self.run == BASE or self.trained == 0

    @property
    def trained(self) -> float:
        """Tokens, of all sources or of the domain."""
        return self.numbers.get("tokens", self.numbers.get("domain_tokens", math.nan))


def read_log(path: Path) -> Readings:
    """Every line of a model that was trained becomes part of a reading; lines of the base are what it is held against.

    Raises:
        DataError: a cell is wrong, a column is unknown or missing, or no base is there; file:line says where.
        UsageError: runs of another base or tokenizer.
    """
    lines = _lines(path)
    for name, remedy in (("base", "give each base a file of its own."), ("tokenizer", "loss and KL count its tokens.")):
        named: dict[str, str] = {}
        for line in lines:
            if (said := line.words.get(name)) and named.setdefault(line.run, said) != said:
                raise DataError(f"{line.place}: {name} is '{said}', and '{named[line.run]}' above, of the same run.")
        check_one(named, name, remedy)
    _check_once(lines)
    roles = {line.words["set"]: line.role for line in lines}
    if "domain" not in roles.values():
        raise DataError(
            f"'{path}' has no set of the domain: name one 'domain', or give a column role with domain or general. Its "
            f"sets are {listed(roles)}."
        )
    unit = "bits_per_byte" if any(_known(line, "bits_per_byte") for line in lines if line.role == "domain") else "loss"
    held = "kl" if any(_known(line, "kl") for line in lines if line.role != "domain") else "loss"
    bases = {(line.run, line.words["set"]): line for line in lines if line.is_base}
    models: dict[tuple[str, float, float], list[Line]] = {}
    for line in lines:
        if not line.is_base:
            models.setdefault((line.run, line.numbers.get("step", math.nan), line.trained), []).append(line)
    if not models:
        raise DataError(f"'{path}' has no line of a model that was trained: every run is '{BASE}' or has 0 tokens.")
    readings = [_reading(found, bases, unit, held) for found in models.values()]
    sizes = {line.numbers["corpus_tokens"]: line.place for line in lines if "corpus_tokens" in line.numbers}
    if len(sizes) > 1:
        (one, there), (other, place) = list(sizes.items())[:2]
        raise DataError(
            f"{place}: corpus_tokens is {other:g}, and {one:g} in {there}; a plan is for one corpus of one size."
        )
    notes = [
        f"'{path}' has neither kl nor loss on text other than the domain's, so nothing says what was forgotten; bits a "
        "byte are not nats a token."
    ] if all(math.isnan(one.drift) for one in readings) else []  # fmt: skip
    several = len({one.run for one in readings}) < len(readings)
    if several:
        notes.append(
            "Steps of one run stand for shorter runs. That holds while the learning rate is constant; where it falls, "
            "a step in the middle is not what a run that ends there has."
        )
    return Readings(
        tuple(readings),
        gain_unit="bits/byte" if unit == "bits_per_byte" else "nats/token",
        drift_of="KL(base‖tuned)" if held == "kl" else "rise of the loss",
        corpus=next(iter(sizes), None),
        notes=tuple(notes),
    )


def _lines(path: Path) -> list[Line]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The log '{path}' cannot be read: {reason(error)}.") from None
    reader = csv.reader(text.splitlines())
    head = [name.strip() for name in next(reader, [])]
    if not any(head):
        raise DataError(f"'{path}' begins with no head; its first line names the columns, as {', '.join(EXAMPLE)}.")
    _check_head(path, head)
    lines = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            place = f"{path}:{reader.line_num}"
            if len(cells) != len(head):
                raise DataError(f"{place}: {len(cells)} cells in a table of {len(head)} columns.")
            lines.append(_line(place, {name: cell.strip() for name, cell in zip(head, cells, strict=True)}))
    if not lines:
        raise DataError(f"'{path}' has a head and no line below it.")
    return lines


def _check_head(path: Path, head: Sequence[str]) -> None:
    if len(head) == 1 and (other := next((name for sign, name in OTHER_SIGNS.items() if sign in head[0]), "")):
        raise DataError(f"{path}:1: {other} part the cells; a log has commas, and points in its numbers.")
    if "" in head:
        raise DataError(f"{path}:1: column {head.index('') + 1} of {len(head)} has no name; name it, or leave it out.")
    for name in head:
        if name not in COLUMNS:
            raise DataError(
                f"{path}:1: there is no column '{name}'; accepted: {listed(COLUMNS)}.{nearest(name, COLUMNS)}"
            )
        if head.count(name) > 1:
            raise DataError(f"{path}:1: the column '{name}' stands there twice.")
    both = [name for name in ("tokens", "domain_tokens") if name in head]
    missing = [name for name in NEEDED if name not in head]
    missing += [] if both else ["tokens"]
    missing += [] if any(name in head for name in METRICS) else [listed(METRICS)]
    if missing:
        raise DataError(f"{path}:1: there is no column {missing[0]}, which a plan needs; it has {listed(head)}.")
    if len(both) == 2:
        raise DataError(f"{path}:1: tokens and domain_tokens both say how long a run was; keep one.")


def _line(place: str, cells: Mapping[str, str]) -> Line:
    words = {name: cell for name, cell in cells.items() if name not in NUMBERS}
    numbers = {name: _number(place, name, cells[name]) for name in NUMBERS if cells.get(name)}
    for name in NEEDED:
        if not words[name]:
            raise DataError(f"{place}: {name} is empty; every line names its run and its set.")
    if words.get("role", "") not in ("", "domain", "general"):
        raise DataError(
            f"{place}: role is '{words['role']}'; accepted: domain or general."
            + nearest(words["role"], ("domain", "general"))
        )
    line = Line(place, words, numbers)
    if line.run != BASE and math.isnan(line.trained):
        raise DataError(f"{place}: the run '{line.run}' does not say its tokens; 0 is the model before training.")
    if not any(name in numbers for name in METRICS):
        raise DataError(f"{place}: the line measures nothing; give one of {listed(METRICS)}.")
    return line


def _number(place: str, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{place}: {name} is '{cell}', which is no number: {COLUMNS[name]}.{_meant(cell)}") from None
    least = -1e-3 if name == "kl" else 0.0  # a KL near 0 is rounded to below it
    if value < least and math.isfinite(value):
        raise DataError(f"{place}: {name} is {cell}, and it cannot be below 0; {COLUMNS[name]}.")
    if not math.isfinite(value):
        raise DataError(
            f"{place}: {name} is {cell}; {COLUMNS[name]}. Leave out the line of a run that diverged, or an empty cell "
            "where nothing was measured."
        )
    if value == 0 and name in ABOVE_0:
        raise DataError(f"{place}: {name} is {cell}; {COLUMNS[name]}, above 0.")
    if name == "share" and value > 1:
        percent = f" As a part of 1 that is {value / 100:g}." if value <= 100 else ""
        raise DataError(f"{place}: share is {cell}; {COLUMNS[name]}.{percent}")
    if value > MOST.get(name, math.inf) or (name in ("tokens", "domain_tokens") and 0 < value < 1):
        raise DataError(f"{place}: {name} is {cell}, which nobody measured; {COLUMNS[name]}.")
    if name in WHOLE and value != int(value):
        raise DataError(f"{place}: {name} is {cell}, which is no whole number.")
    return value


def _meant(cell: str) -> str:
    """What a spreadsheet's spelling of a number is here.

    >>> _meant("5 %"), _meant("12'000"), _meant("none")
    (' Write a percentage as a part of 1.', ' Write it without signs between thousands, and with a point.', '')
    """
    if cell.endswith("%"):
        return " Write a percentage as a part of 1."
    if any(sign in cell for sign in ",' ") and cell[:1].isdigit():
        return " Write it without signs between thousands, and with a point."
    return ""


def _check_once(lines: Sequence[Line]) -> None:
    """Refuses a second line of one set of one model, of which a mean would be no measurement."""
    seen: dict[tuple[str, str, float | None, float], Line] = {}
    for line in lines:
        key = (line.run, line.words["set"], line.numbers.get("step"), -1.0 if line.run == BASE else line.trained)
        first = seen.setdefault(key, line)
        if first is line:
            continue
        what = f"{line.place}: the set '{line.words['set']}' of the run '{line.run}' stands in {first.place} already"
        if line.numbers.get("seed") != first.numbers.get("seed"):
            raise DataError(f"{what}, with another seed; give each seed a run of its own name.")
        raise DataError(f"{what}, of the same step and tokens; leave one of them out.")


def _known(line: Line, name: str) -> bool:
    return name in line.numbers


def _reading(found: Sequence[Line], bases: Mapping[tuple[str, str], Line], unit: str, held: str) -> Reading:
    """Of the sets of one model."""
    first = found[0]
    for name in ("share", "learning_rate", "weight", "seed", "method"):
        for other in found:
            here, there = ({**line.numbers, **line.words}.get(name) for line in (other, first))
            if here != there:
                raise DataError(
                    f"{other.place}: {name} is another one than in {first.place}, of the same run and step."
                )
    share = first.numbers.get("share", 1.0)
    tokens = first.numbers.get("domain_tokens", share * first.numbers.get("tokens", math.nan))
    gains = [
        _base(line, bases, unit) - line.numbers[unit] for line in found if line.role == "domain" and _known(line, unit)
    ]
    others = [line for line in found if line.role != "domain" and _known(line, held)]
    rises = [line.numbers[held] - (_base(line, bases, held) if held == "loss" else 0.0) for line in others]
    numbers = first.numbers
    return Reading(
        run=first.run,
        method=first.words.get("method") or "log",
        tokens=tokens,
        share=share,
        learning_rate=numbers.get("learning_rate", math.nan),
        weight=numbers.get("weight", 1.0),
        gain=mean(gains),
        drift=mean(rises),
        seed=int(numbers["seed"]) if "seed" in numbers else None,
        step=int(numbers["step"]) if "step" in numbers else None,
    )


def _base(line: Line, bases: Mapping[tuple[str, str], Line], metric: str) -> float:
    """What the base has on the line's set: of the run at 0 tokens, or of the run 'base'."""
    for run in (line.run, BASE):
        base = bases.get((run, line.words["set"]))
        if base is not None and metric in base.numbers:
            return base.numbers[metric]
    raise DataError(
        f"{line.place}: nothing says the {metric} of '{line.words['set']}' before training. Gain and forgetting are "
        f"differences to it: add a line of the run '{BASE}', or of '{line.run}' with 0 tokens."
    )
