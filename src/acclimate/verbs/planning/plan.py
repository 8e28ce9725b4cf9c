"""The verb behind `acclimate plan`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console, Group

from acclimate.config.load import RunConfig
from acclimate.disk.files import write_text
from acclimate.laws.anchored import DRIFT, GAIN
from acclimate.reports.page import Page, markdown, write_html
from acclimate.reports.pictures.svg import standalone
from acclimate.types.errors import UsageError, listed
from acclimate.types.notebook import printed
from acclimate.verbs.planning.advice import Advice
from acclimate.verbs.planning.answers import Answer, answers
from acclimate.verbs.planning.page import page_of, prediction_record, terminal
from acclimate.verbs.planning.predictions import Laws
from acclimate.verbs.planning.probes import foresee, probed
from acclimate.verbs.planning.reading.paths import read
from acclimate.verbs.planning.written import write_config

KEEP = 0.05
"""Nats a token: little."""
PAGES = (".md", ".html")


@dataclass(frozen=True)
class Plan:
    """What measured runs say about runs that nobody trained; a notebook shows it.

    Args:
        advice: the setting, with what is predicted for it and beside it.
        config: what :meth:`write` changes; None: the configuration of the nearest run.
    """

    advice: Advice
    config: RunConfig | None = None

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """By key: share, learning_rate, returns, turning, repeating, twice."""
        return {answer.key: answer for answer in answers(self.advice)}

    @cached_property
    def page(self) -> Page:
        return page_of(self.advice, list(self.answers.values()))

    @property
    def terminal(self) -> Group:
        """What a terminal shows."""
        return terminal(self.advice, self.page, list(self.answers.values()))

    def _repr_html_(self) -> str:
        return printed(lambda console: console.print(self.terminal))

    def as_json(self) -> dict[str, Any]:
        """Plain data; an answer that cannot be told has no value, one that is "never" is infinite."""
        judged, table = self.advice.laws.judged, self.advice.laws.table
        return {
            "keep": self.advice.keep,
            "runs": len(table.ends),
            "units": {GAIN: table.gain_unit, DRIFT: "nats/token"},
            "drift_of": table.drift_of,
            "answers": {
                key: {
                    "question": one.question, "told": one.told, "value": one.value, "never": one.value == math.inf,
                    "unit": one.unit, "says": one.says, "edge": one.edge, "run_that_would_tell": one.run,
                }
                for key, one in self.answers.items()
            },
            "predictions": {name: prediction_record(one) for name, one in self.advice.beside.items()},
            "laws": {
                name: {
                    "weights": dict(found.weights), "error": found.error, "no_model": found.none,
                    "noise": found.noise,
                }
                for name, found in judged.items()
            },
            "untold": self.advice.laws.untold,
            "notes": list(table.notes),
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """The page, as ``.html``, or as ``.md`` with its pictures beside it.

        Raises:
            UsageError: another ending.
            RunError: it cannot be written.
        """
        path = Path(path)
        check_page(path)
        if path.suffix == ".html":
            return write_html(self.page, path)
        write_text(path, markdown(self.page))
        for block in self.page.blocks:
            for picture in block.pictures:
                write_text(path.with_name(f"{picture.slug}.svg"), standalone(picture.svg))
        return path

    def write(self, path: str | Path) -> Path:
        """The advice as a configuration that ``train`` takes; an existing file is left alone.

        Raises:
            UsageError: the file is there, or no configuration is known that the advice could change.
        """
        return write_config(self.advice, self.answers, self.config, Path(path))


def plan(
    paths: str | Path | Sequence[str | Path] = (),
    *,
    keep: float = KEEP,
    tokens: float | None = None,
    only: Sequence[str] = (),
    config: RunConfig | None = None,
    probe: RunConfig | None = None,
    console: Console | None = None,
) -> Plan:
    """Plans a run from runs that were measured: how much domain, how long, which learning rate.

    Args:
        paths: run folders, the table of a comparison (``.jsonl``, or its ``.yaml``), or a log (``.csv``).
        keep: nats a token by which the model may drift on other text.
        tokens: of the domain, of the run that is planned; None: as many as the longest measured run.
        only: methods, or their names in a comparison, that count as one.
        config: what :meth:`Plan.write` changes; None: the configuration of the nearest run.
        probe: trains at most 6 short runs of this configuration first, and plans from them alone.

    Returns:
        Answers with their intervals, each prediction beside the nearest measured run.

    Raises:
        UsageError: an argument is wrong, or nothing can be told from these runs.
        RunError, DataError, ConfigError: what is named is missing or damaged.

    Example:
        >>> import acclimate as ac
        >>> ac.plan([], keep=0.0)
        Traceback (most recent call last):
        acclimate.types.errors.UsageError: --keep: 0 is no limit of drift: above 0, in nats a token; 0.05 is little.

    Reference: laws and their intervals are :mod:`acclimate.laws` [ours]; the largest share within a limit asks what CMR
        asks (arXiv 2407.17467 [paper]).
    """
    if not 0 < keep < math.inf:
        raise UsageError(f"--keep: {keep:g} is no limit of drift: above 0, in nats a token; 0.05 is little.")
    if tokens is not None and not 0 < tokens < math.inf:
        raise UsageError(f"--tokens: {tokens:g} trains nothing; give more than 0.")
    named = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if probe is not None:
        if named:
            raise UsageError(f"--probe trains runs of its own, so '{named[0]}' has no effect; leave one of them out.")
        foreseen = foresee(probe)
        named = probed(foreseen, console or Console(quiet=True))
        tokens = foreseen.tokens if tokens is None else tokens
    laws = Laws(read(named, only))
    return Plan(Advice(laws, keep, laws.range("tokens")[1] if tokens is None else tokens), config or probe)


def check_page(path: Path) -> None:
    """
    Raises:
        UsageError: it is neither Markdown nor HTML.
    """
    if path.suffix not in PAGES:
        raise UsageError(f"--output: '{path}' is no page that a plan writes; accepted endings: {listed(PAGES)}.")
