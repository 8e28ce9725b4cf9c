"""The run configuration as a file: load, override, resolve, save. Every user-facing configuration error is a sentence.

A configuration is one YAML file. Unknown keys are errors with the nearest valid spelling; every error
names the dotted path and, where there is one, the file and line.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from acclimate.config.chosen.mixture import MixtureSection
from acclimate.config.chosen.online import BASE
from acclimate.config.explain import Places, shown
from acclimate.config.schema import ModelSection, RunConfig
from acclimate.config.source_schema import SELF
from acclimate.config.yamlfile import read_mapping, read_yaml
from acclimate.disk.files import write_text
from acclimate.types.errors import ConfigError, listed, nearest

__all__ = [
    "RunConfig",
    "Spec",
    "dump_config",
    "load_config",
    "located",
    "parse_config",
    "save_config",
    "specs",
    "with_absolute_paths",
    "with_specs",
]


NOWHERE = Places("configuration")

Spec = str | dict[str, Any]
"""A method as it is written: its name, or a section of name and settings."""


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a YAML run configuration.

    Args:
        path: the YAML file.
        overrides: ``dotted.path=value`` strings; values are read as YAML and win over the file.

    Raises:
        ConfigError: file missing, not YAML, unknown key, wrong value; the message says where and what is accepted.
    """
    data, places = read_mapping(Path(path), "configuration", " `acclimate init` writes one to start from.")
    sources = data.get("sources")
    known = list(sources) if isinstance(sources, dict) else []
    given = {override: apply_override(data, override) for override in overrides}
    for override, changed in given.items():
        _check_source(known, data, changed, override)
        places = {p: place for p, place in places.items() if p != changed and not p.startswith(f"{changed}.")}
        places[changed] = _place(override)
    return parse_config(data, Places(str(path), places))


def parse_config(data: Mapping[str, Any], places: Places = NOWHERE) -> RunConfig:
    """Builds a :class:`RunConfig` from plain data, with errors as sentences."""
    return RunConfig.parsed(data, places)


Verb = TypeVar("Verb", bound=Callable[..., Any])


def located(verb: Verb) -> Verb:
    """Errors about a setting that only show once data or model are known name its file and line too."""

    @wraps(verb)
    def named(config: RunConfig, *arguments: Any, **options: Any) -> Any:
        try:
            return verb(config, *arguments, **options)
        except ConfigError as error:
            raise ConfigError(config.places.locate(str(error))) from None

    return cast(Verb, named)


def specs(config: RunConfig) -> list[Spec]:
    """Its methods in order."""
    return config.method if isinstance(config.method, list) else [config.method]


def with_specs(config: RunConfig, change: Callable[[Spec], Spec]) -> RunConfig:
    """With each method as ``change`` makes it; what was no list stays none."""
    changed = [change(spec) for spec in specs(config)]
    return config.model_copy(update={"method": changed if isinstance(config.method, list) else changed[0]})


def with_absolute_paths(config: RunConfig, keep_missing: bool = False) -> RunConfig:
    """Local paths that do not depend on the working folder, so that a run folder can be used from anywhere.

    Args:
        keep_missing: leaves a source's path that is not there as it is, to be named so in the error about it.
    """

    def absolute(path: str) -> str:
        return os.path.abspath(os.path.expanduser(path))

    def found(path: str) -> str:
        there = os.path.exists(os.path.expanduser(path)) or glob.has_magic(path)
        return path if "://" in path or (keep_missing and not there) else absolute(path)

    named = {key: path for key in ("path", "base") if (path := getattr(config.model, key)) is not None}
    there = {key: absolute(path) for key, path in named.items() if os.path.exists(os.path.expanduser(path))}
    model = ModelSection.model_validate(config.model.model_dump() | there)  # two names of one place are one model
    sources = {}
    for name, section in config.sources.items():
        paths = [path if section.is_self or section.is_hub_id(path) else found(path) for path in section.paths]
        changed: dict[str, Any] = {"path": paths[0] if isinstance(section.path, str) else paths}
        if section.replay is not None:
            given = {key: path for key in ("prompts", "prefixes") if (path := getattr(section.replay, key)) is not None}
            own = {key: found(path) for key, path in given.items()}
            changed["replay"] = section.replay.model_copy(update=own)
        sources[name] = section.model_copy(update=changed)
    config = with_specs(config, lambda spec: _with_absolute_expert(spec, absolute))
    data = config.data.model_copy(update={"cache_dir": absolute(config.data.cache_dir)})
    mixture = _with_absolute_reference(config.mixture, absolute)
    return config.model_copy(update={"model": model, "sources": sources, "data": data, "mixture": mixture})


def _with_absolute_expert(spec: Spec, absolute: Callable[[str], str]) -> Spec:
    """``expert`` is the one setting of methods that is a path."""
    expert = spec.get("expert") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(expert, str) or not os.path.exists(os.path.expanduser(expert)):
        return spec
    return spec | {"expert": absolute(expert)}


def _with_absolute_reference(mixture: MixtureSection | None, absolute: Callable[[str], str]) -> MixtureSection | None:
    """DoReMi's reference may be a path."""
    doremi = mixture.doremi if mixture is not None else None
    if mixture is None or doremi is None or doremi.reference == BASE:
        return mixture
    if not os.path.exists(os.path.expanduser(doremi.reference)):
        return mixture
    return mixture.model_copy(update={"doremi": doremi.model_copy(update={"reference": absolute(doremi.reference)})})


def save_config(config: RunConfig, path: str | Path) -> None:
    """Writes the resolved configuration: every field, as plain YAML that :func:`load_config` reads back."""
    write_text(Path(path), dump_config(config))


def dump_config(config: RunConfig) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _place(override: str) -> str:
    """The override as an error names it: on one line, without characters that a terminal would obey."""
    text = override if override.isprintable() else repr(override)[1:-1]
    return f"--set {text}" if len(text) <= 100 else f"--set {text[:100]}..."


def _check_source(known: list[str], data: dict[str, Any], changed: str, override: str) -> None:
    """A setting of a source that the file does not have; a whole new one is given with its path."""
    first, *rest = changed.split(".")
    if first != "sources" or len(rest) < 2 or rest[0] in known:
        return
    new = data["sources"].get(rest[0])
    if new != SELF and not (isinstance(new, dict) and "path" in new):
        has = f"accepted: {listed(known)}" if known else "the file has none"
        hint = nearest(rest[0], known) or f" A new one begins with --set sources.{rest[0]}.path=FILE."
        raise ConfigError(f"{_place(override)}: there is no source '{rest[0]}'; {has}.{hint}")


def apply_override(data: dict[str, Any], override: str) -> str:
    """Puts the value into ``data`` and returns its dotted path."""
    dotted, equals, raw = override.partition("=")
    name = _place(override)
    if not equals or not all(dotted.strip().split(".")):
        raise ConfigError(f"{name}: an override reads dotted.path=value, for example optimizer.learning_rate=1e-5.")
    try:
        value, _ = read_yaml(raw, name)
    except ConfigError as error:
        if "is not YAML" not in str(error):
            raise
        raise ConfigError(f"{name}: the value is not YAML; quote it if it is text.") from None
    *parents, leaf = dotted.strip().split(".")
    target = data
    for depth, part in enumerate(parents):
        step = target.get(part)
        if step is None:
            step = target[part] = {}
        if isinstance(step, str) and part == "method":  # `method: mol` and --set method.kl_weight=2
            step = target[part] = {"name": step}
        if step == SELF and parents[:depth] == ["sources"]:  # `general: self` and --set sources.general.share=0.3
            step = target[part] = {"path": SELF}
        if not isinstance(step, dict):
            raise ConfigError(
                f"{name}: '{'.'.join(parents[: depth + 1])}' is {shown(step)}, not a section, so it has no '{leaf}'."
            )
        target = step
    target[leaf] = value
    return dotted.strip()
