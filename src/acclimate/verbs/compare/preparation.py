"""What a cell's methods need beforehand, made by the comparison itself: its cost is part of the method's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from acclimate.config.apart import SAME_EXPERT, SAME_PATH, SAME_STATISTIC, without
from acclimate.config.load import RunConfig, Spec, specs, with_specs
from acclimate.methods.registry import METHODS
from acclimate.runs.layout import Layout, read_json
from acclimate.stores.store import MANIFEST, required_statistics
from acclimate.types.errors import ConfigError, listed
from acclimate.verbs.compare.identity import identity
from acclimate.verbs.compare.schema import PrepareSection, Settings

EXPERT = "expert"  # the kind, and the setting of a method
OPTIONS = {
    "fisher": ("tokens", "source", "labels"),
    "path-integral": ("tokens", "source", "xi"),
    "mean-gradient": ("tokens", "source", "rank", "dtype"),
    EXPERT: ("expert",),
}
"""What a kind of preparation knows; the first is required."""
NO_PART = {EXPERT: SAME_EXPERT, "path-integral": SAME_PATH, "fisher": SAME_STATISTIC, "mean-gradient": SAME_STATISTIC}
"""Settings on which a preparation does not depend."""

Load = Callable[[Settings], RunConfig]
"""The configuration that all cells share, with settings on top."""


@dataclass(frozen=True)
class Preparation:
    """A statistic or an expert: its kind, its options, and the folder it is in."""

    kind: str
    options: Mapping[str, Any]
    config: RunConfig
    folder: Path
    digest: str
    """Of what it is made of, without paths."""

    @property
    def command(self) -> list[str]:
        path = str(self.folder.with_suffix(".yaml"))
        if self.kind == EXPERT:
            return ["train", path, *(["--resume"] if Layout(self.folder).config.exists() else [])]
        options = [part for name, value in self.options.items() for part in (f"--{name}", str(value))]
        begun = ["--resume"] if self.folder.with_name(f"{self.folder.name}.recording").exists() else []
        return ["stats", self.kind, path, "--output", str(self.folder), *options, *begun]

    @property
    def is_made(self) -> bool:
        return (Layout(self.folder).summary if self.kind == EXPERT else self.folder / MANIFEST).is_file()

    @property
    def stored(self) -> Path:
        """What the method reads of it."""
        return Layout(self.folder).model if self.kind == EXPERT else self.folder

    @property
    def cost(self) -> tuple[float, float]:
        """Seconds, and tokens through one forward."""
        if self.kind == EXPERT:
            record = read_json(Layout(self.folder).provenance)
            return record["train_seconds"], record["forward_tokens"]
        manifest = read_json(self.folder / MANIFEST)
        return manifest["seconds"], manifest["forward_tokens"]


def prepared(
    config: RunConfig, section: PrepareSection | None, seed: int, folder: Path, load: Load
) -> tuple[RunConfig, list[Preparation]]:
    """The configuration with the folders in place that its methods do not name themselves, and how they are made.

    What is prepared is shared by trials, seeds and runs: it is made with ``seed`` and never sees a document that is
    measured.

    Raises:
        ConfigError: a method needs a preparation and nothing says which, or the other way round.
    """
    own = [_section(spec) for spec in specs(config)]
    wanted = {kind: (spec["name"], field) for spec in own for field, kind in _missing(spec).items()}
    options = _options(section, wanted)
    made: dict[str, Preparation] = {}
    for kind, given in options.items():
        made_by = load(given[EXPERT]) if kind == EXPERT else config.model_copy(update={"method": "sft"})
        made_by = _apart(made_by, seed)
        plain = without(made_by.model_dump(mode="json"), RunConfig, NO_PART[kind])
        key = hashlib.sha256(json.dumps([plain, given], sort_keys=True).encode()).hexdigest()[:8]
        place = folder / f"{kind}-{key}"
        if kind == EXPERT:
            made_by = made_by.model_copy(update={"name": place.name, "output_dir": str(place.parent)})
        made[kind] = Preparation(kind, given, made_by, place, _digest(kind, given, made_by))
    if not made:
        return config, []

    def complete(spec: Spec) -> Spec:
        places = {field: str(made[kind].folder.resolve()) for field, kind in _missing(_section(spec)).items()}
        return _section(spec) | places if places else spec

    return with_specs(config, complete), list(made.values())


def _section(spec: Spec) -> dict[str, Any]:
    return {"name": spec} if isinstance(spec, str) else spec


def _digest(kind: str, options: Mapping[str, Any], config: RunConfig) -> str:
    plain = without(identity(config), RunConfig, NO_PART[kind])
    return hashlib.sha256(json.dumps([plain, options], sort_keys=True).encode()).hexdigest()[:16]


def _missing(spec: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a method that want a preparation and have none; of an unknown method, refused elsewhere, none."""
    if (method := METHODS.get(str(spec.get("name")))) is None:
        return {}
    wanted = required_statistics(method) | ({EXPERT: EXPERT} if EXPERT in get_type_hints(method) else {})
    return {field: kind for field, kind in wanted.items() if field not in spec}


def _options(section: PrepareSection | None, wanted: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """The options of each kind that is wanted, by a method's setting."""
    given = section.given if section is not None else {}
    if section is not None and not wanted:
        raise ConfigError(
            "prepare: no method here lacks a statistic or an expert, so it would have no effect; leave it out."
        )
    for kind, (method, field) in wanted.items():
        if OPTIONS[kind][0] in given:
            continue
        if kind == EXPERT:
            raise ConfigError(
                f"method.{field}: '{method}' learns from an expert; name a run or a model, or say prepare: "
                "{expert: {method: sft}} and it is trained once for all cells."
            )
        raise ConfigError(
            f"method.{field}: '{method}' reads a statistic ({kind}); name a store of `acclimate stats {kind}`, or say "
            "prepare: {tokens: 20000} and it is taken once for all cells."
        )
    known = [name for kind in wanted for name in OPTIONS[kind]]
    if unknown := [name for name in given if name not in known]:
        raise ConfigError(f"prepare: {unknown[0]} is no option of {listed(wanted)}; it has {listed(known)}.")
    return {kind: {name: value for name, value in given.items() if name in OPTIONS[kind]} for kind in wanted}


def _apart(config: RunConfig, seed: int) -> RunConfig:
    """Trained on documents that neither trials nor runs measure; of it nothing but weights is looked at."""
    return config.model_copy(
        update={
            "seed": seed,
            "retain": None,
            "training": config.training.model_copy(update={"on_budget_exceeded": "warn"}),  # has no effect without it
            "search": None,
            "data": config.data.model_copy(update={"split": "validation"}),
            "evaluation": config.evaluation.model_copy(update={"generations": 0, "memorisation_documents": 0}),
        }
    )
