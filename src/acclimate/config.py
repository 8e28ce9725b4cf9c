"""The run configuration as a file: load, override, resolve, save. Every user-facing configuration error is a sentence.

A configuration is one YAML file. Unknown keys are errors with the nearest valid spelling; every error
names the dotted path and, where there is one, the file and line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from acclimate.errors import ConfigError
from acclimate.explain import explain
from acclimate.files import write_text
from acclimate.schema import FORMAT_VERSION, RunConfig

__all__ = ["RunConfig", "dump_config", "load_config", "parse_config", "save_config", "with_absolute_paths"]


class _Lines(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | bool):
                raise ConfigError(f"{key_node.start_mark.name}:{line}: a key must be a word, not a list or mapping.")
            if key in seen:
                raise ConfigError(
                    f"{node.start_mark.name}:{line}: '{key}' is given twice (first in line {seen[key]}); keep one."
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


# A run called 2026-11-22 is a word, not a date.
_Lines.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _line_numbers(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    """Dotted path -> line of its key."""
    lines: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            lines[path] = key.start_mark.line + 1
            lines.update(_line_numbers(value, path))
    return lines


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a YAML run configuration.

    Args:
        path: the YAML file.
        overrides: ``dotted.path=value`` strings; values are read as YAML and win over the file.

    Raises:
        ConfigError: file missing, not YAML, unknown key, wrong value; the message says where and what is accepted.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file '{path}'. `acclimate init` writes one to start from."
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"'{path}' is a folder; a configuration is one YAML file.") from None
    except PermissionError:
        raise ConfigError(f"The configuration file '{path}' is not readable by you.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The configuration file '{path}' is not UTF-8 text (byte {error.start}): "
            "a configuration is one YAML file, saved as UTF-8."
        ) from None
    try:
        loader = _Lines(text)
        loader.name = str(path)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: this is not YAML: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: this is not YAML: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of sections, this file holds {type(data).__name__}.")
    for override in overrides:
        _apply_override(data, override)
    return parse_config(data, origin=str(path), lines=_line_numbers(node))


def parse_config(
    data: Mapping[str, Any], origin: str = "configuration", lines: dict[str, int] | None = None
) -> RunConfig:
    """Builds a :class:`RunConfig` from plain data, with errors as sentences."""
    version = data.get("version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        line = f":{lines['version']}" if lines and "version" in lines else ""
        raise ConfigError(
            f"{origin}{line}: version: this file is of version {version!r}; "
            f"this acclimate reads version {FORMAT_VERSION}."
        )
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, origin, lines or {})) from None


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Local paths that do not depend on the working folder, so that a run folder can be used from anywhere."""

    def absolute(path: str) -> str:
        return os.path.abspath(os.path.expanduser(path))

    model = config.model
    if os.path.exists(os.path.expanduser(model.path)):
        model = model.model_copy(update={"path": absolute(model.path)})
    sources = {
        name: section.model_copy(
            update={"path": absolute(section.path) if isinstance(section.path, str) else [*map(absolute, section.path)]}
        )
        for name, section in config.sources.items()
    }
    return config.model_copy(update={"model": model, "sources": sources})


def save_config(config: RunConfig, path: str | Path) -> None:
    """Writes the resolved configuration: every field, as plain YAML that :func:`load_config` reads back."""
    write_text(Path(path), dump_config(config))


def dump_config(config: RunConfig) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply_override(data: dict[str, Any], override: str) -> None:
    dotted, equals, raw = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(
            f"--set {override}: an override reads dotted.path=value, for example optimizer.learning_rate=1e-5."
        )
    try:
        value = yaml.load(raw, Loader=_Lines)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {override}: the value '{raw}' is not YAML; quote it if it is text.") from None
    *parents, leaf = dotted.strip().split(".")
    target = data
    for depth, name in enumerate(parents):
        step = target.get(name)
        if step is None:
            step = target[name] = {}
        if isinstance(step, str) and name == "method":  # `method: mol` and --set method.kl_weight=2
            step = target[name] = {"name": step}
        if not isinstance(step, dict):
            raise ConfigError(
                f"--set {override}: '{'.'.join(parents[: depth + 1])}' is {step!r}, not a section, "
                f"so it has no '{leaf}'."
            )
        target = step
    target[leaf] = value
