"""Statistics that a cell's methods read, taken by the comparison itself: their cost is part of the method's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.compare.schema import PrepareSection
from acclimate.config import RunConfig
from acclimate.errors import ConfigError, listed
from acclimate.registry import METHODS
from acclimate.statistics.store import required_statistics

OPTIONS = {"fisher": ("labels",), "path-integral": ("xi",), "mean-gradient": ("rank", "dtype")}
"""What a kind of statistic knows beside tokens and source."""
NOT_RECORDED = ("method", "name", "output_dir", "evaluation", "report_to", "parallel", "training")


@dataclass(frozen=True)
class Preparation:
    """One statistic: its kind, the options of ``acclimate stats``, and where its store is."""

    kind: str
    options: Mapping[str, Any]
    config: RunConfig
    folder: Path

    @property
    def command(self) -> list[str]:
        options = [part for name, value in self.options.items() for part in (f"--{name}", str(value))]
        begun = ["--resume"] if self.folder.with_name(f"{self.folder.name}.recording").exists() else []
        return [
            "stats",
            self.kind,
            str(self.folder.with_suffix(".yaml")),
            "--output",
            str(self.folder),
            *options,
            *begun,
        ]

    @property
    def is_made(self) -> bool:
        return (self.folder / "manifest.json").is_file()


def prepared(
    config: RunConfig, section: PrepareSection | None, seed: int, folder: Path
) -> tuple[RunConfig, list[Preparation]]:
    """The configuration with the stores in place that its methods do not name themselves, and how they are made.

    A store is shared by trials, seeds and runs: it is taken with ``seed`` and never sees a document that is measured.

    Raises:
        ConfigError: a method needs a statistic and nothing says how it is taken, or the other way round.
    """
    specs = config.method if isinstance(config.method, list) else [config.method]
    found: list[Preparation] = []
    completed: list[str | dict[str, Any]] = []
    for spec in specs:
        own = {"name": spec} if isinstance(spec, str) else dict(spec)
        for field, kind in _missing(own).items():
            if section is None:
                raise ConfigError(
                    f"method.{field}: '{own['name']}' reads a statistic ({kind}); name a store of `acclimate stats "
                    f"{kind}`, or say prepare: {{tokens: 20000}} and it is taken once for all cells."
                )
            known = ("tokens", "source", *OPTIONS[kind])
            if unknown := [name for name in section.given if name not in known]:
                raise ConfigError(f"prepare: {unknown[0]} is no option of {kind}; it has {listed(known)}.")
            recorded = _recorded(config, seed)
            found.append(Preparation(kind, section.given, recorded, folder / f"{kind}-{_key(recorded, section)}"))
            own[field] = str(found[-1].folder.resolve())
        completed.append(own if not isinstance(spec, str) or len(own) > 1 else spec)
    if section is not None and not found:
        raise ConfigError("prepare: no method here lacks a statistic, so it would have no effect; leave it out.")
    method = completed if isinstance(config.method, list) else completed[0]
    return config.model_copy(update={"method": method}) if found else config, found


def _missing(spec: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a method that want a store and have none; of an unknown method, which is refused elsewhere, none."""
    method = METHODS.get(str(spec.get("name")))
    return {f: kind for f, kind in required_statistics(method).items() if f not in spec} if method else {}


def _recorded(config: RunConfig, seed: int) -> RunConfig:
    apart = config.data.model_copy(update={"split": "validation"})
    return config.model_copy(update={"method": "sft", "seed": seed, "data": apart})


def _key(config: RunConfig, section: PrepareSection) -> str:
    plain = config.model_dump(mode="json", exclude=set(NOT_RECORDED))
    return hashlib.sha256(json.dumps([plain, section.given], sort_keys=True).encode()).hexdigest()[:8]
