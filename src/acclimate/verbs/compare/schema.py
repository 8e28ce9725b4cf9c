"""The schema of a comparison: which methods, with which settings, over which seeds, from one run configuration."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from acclimate.config.explain import Places
from acclimate.config.schema import NAME
from acclimate.config.settings_file import SettingsFile
from acclimate.config.source_schema import Section
from acclimate.config.yamlfile import read_mapping
from acclimate.types.errors import ConfigError, listed, nearest

FREE = ("method", "lora", "objective", "optimizer", "schedule", "training", "retain", "mixture")
"""Sections that a method may set whole or in part."""
FREE_OF_SOURCES = ("share", "route", "terms")
FREE_OF_BUDGET = "budget.batch_tokens"

LONGEST_NAME = 70  # of a method: seed and key are added

Settings = dict[str, Any]
"""Dotted path -> value, as ``--set`` has them."""


def _free(path: str) -> bool:
    first, *rest = path.split(".")
    if first == "sources":
        return len(rest) == 2 and rest[1] in FREE_OF_SOURCES
    return first in FREE or path == FREE_OF_BUDGET


def only_free(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Refuses settings that would make what is compared unequal."""
    for path in value or ():
        if not _free(path):
            raise ValueError(
                f"{path} is equal for all that is compared; a method may set {listed([*FREE, FREE_OF_BUDGET])}, "
                f"and {listed(FREE_OF_SOURCES)} of a source"
            )
    return value


class PrepareSection(Section):
    """What a method needs beforehand, made once for all its cells: a statistic (``acclimate stats``), or an expert."""

    expert: Settings | None = Field(
        None, min_length=1, description="dotted.path: value, on top of the run: of the run that becomes the expert"
    )
    tokens: int | None = Field(None, ge=1, description="of a statistic: trained tokens of general text to look at")
    source: str | None = Field(None, min_length=1, description="one source; default: those of route general")
    labels: Literal["true", "sampled"] | None = Field(None, description="fisher: of the text, or drawn")
    rank: int | None = Field(None, ge=1, description="mean-gradient: singular triplets of each matrix")
    dtype: Literal["bfloat16", "float32"] | None = Field(None, description="mean-gradient: of the stored gradient")
    xi: float | None = Field(None, gt=0, description="path-integral: of the mean squared movement")

    @field_validator("expert")
    @classmethod
    def _of_equal_budget(cls, value: Settings | None) -> Settings | None:
        return only_free(value)

    @property
    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class MethodSection(Section):
    """One column of the comparison: a method, its settings, and those that are tried."""

    set: Settings = Field(min_length=1, description="dotted.path: value, on top of the run: {method: mol}")
    tune: dict[str, list[Any]] | None = Field(
        None, min_length=1, description="dotted.path: [values]; every combination is one trial"
    )
    prepare: PrepareSection | None = Field(
        None, description="for a method that reads a statistic or learns from an expert: how that is made"
    )

    @field_validator("set", "tune")
    @classmethod
    def _equal_for_all(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return only_free(value)

    @field_validator("tune")
    @classmethod
    def _values_to_try(cls, value: dict[str, list[Any]] | None) -> dict[str, list[Any]] | None:
        for path, values in (value or {}).items():
            if not values:
                raise ValueError(f"{path} has no value to try")
        return value

    @model_validator(mode="after")
    def _set_or_tuned(self) -> MethodSection:
        if both := sorted(self.set.keys() & (self.tune or {}).keys()):
            raise ValueError(f"{both[0]} is both set and tuned; keep one")
        return self

    @property
    def trials(self) -> int:
        return math.prod(len(values) for values in self.tune.values()) if self.tune else 0


class TuningSection(Section):
    """How a method's settings are chosen among its trials, on validation documents and one seed."""

    rule: Literal["retain", "domain"] = Field(
        "retain",
        description="retain: the least drift among trials with `domain_gain` of the method's largest gain [ours]; "
        "domain: the largest gain",
    )
    domain_gain: float = Field(0.9, gt=0, le=1, description="retain: the part of its largest gain that a trial keeps")
    seed: int = Field(0, ge=0, description="of every trial")


class Comparison(SettingsFile):
    """Methods side by side at equal token budgets."""

    called: ClassVar[str] = "comparison"

    name: str = Field(
        "comparison",
        pattern=f"^{NAME}$",
        description="names the folder of runs, and files; by default the file's own name",
    )
    run: str = Field(min_length=1, description="the run configuration that all share; relative to this file")
    output_dir: str = Field("runs", min_length=1, description="run folders are in output_dir/name/")
    table: str | None = Field(
        None, min_length=1, description="the table of finished cells; default: NAME.jsonl beside this file"
    )
    seeds: list[int] = Field([0], min_length=1)
    panels: list[str] = Field(default_factory=list, description="panel files measured on every run")
    methods: dict[str, MethodSection] = Field(min_length=1)
    tuning: TuningSection = TuningSection()
    keep_models: bool = Field(False, description="keep model/ of runs once measured; of trials it is never kept")

    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def table_path(self) -> Path:
        return self._folder / (self.table or f"{self.name}.jsonl")

    @property
    def run_path(self) -> Path:
        return self._folder / self.run

    @property
    def panel_paths(self) -> list[Path]:
        return [self._folder / panel for panel in self.panels]

    @property
    def folder(self) -> Path:
        """Of run folders and pages."""
        return Path(self.output_dir).expanduser() / self.name

    @property
    def trials(self) -> int:
        """Of each method."""
        return next(iter(self.methods.values())).trials

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: list[int]) -> list[int]:
        if twice := next((seed for seed in value if value.count(seed) > 1), None):
            raise ValueError(f"seed {twice} is listed twice; keep one")
        if negative := next((seed for seed in value if seed < 0), None):
            raise ValueError(f"{negative} is no seed; a seed is 0 or more")
        return value

    @field_validator("methods")
    @classmethod
    def _equal_trials(cls, value: dict[str, MethodSection]) -> dict[str, MethodSection]:
        first, *others = value
        for name in (first, *others):
            if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
                raise ValueError(
                    f"'{name}' is no name for a method, which becomes a folder: at most {LONGEST_NAME} letters a-z, "
                    "digits, . _ -"
                )
        for name in others:
            if value[name].trials != value[first].trials:
                raise ValueError(
                    f"'{first}' has {value[first].trials} trials and '{name}' has {value[name].trials}: more trials "
                    "are more chances; tune every method over as many combinations"
                )
        return value


def load_comparison(path: str | Path) -> Comparison:
    """Reads a comparison's YAML file.

    Raises:
        ConfigError: file missing, not YAML, unknown key, wrong value; the message says where and what is accepted.
    """
    path = Path(path)
    data, written = read_mapping(path, "comparison", " docs/howto/comparison.md has one to start from.")
    places = Places(str(path), written)
    if "methods" not in data and "sources" in data:
        raise ConfigError(
            f"{path}: this is a run configuration; a comparison names one as `run:` and has `methods:`."
            + nearest("methods", data)
        )
    comparison = Comparison.parsed({"name": path.stem} | data, places)
    comparison._folder = path.parent
    return comparison
