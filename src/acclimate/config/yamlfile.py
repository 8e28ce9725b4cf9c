"""YAML as plain data, and where each value stands. Nothing that a file holds is run, and no file explodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from acclimate.types.errors import ConfigError, nearest

MAX_DEPTH, MAX_VALUES = 20, 10_000
MAX_TEXT = 4096  # of a path
NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that would break the line, obey no encoding, or command a terminal."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | bool):
                raise ConfigError(f"{self.name}:{line}: a key must be a word, not {kind(key)}.")
            if key in seen:
                raise ConfigError(f"{self.name}:{line}: '{key}' is given twice (first in line {seen[key]}); keep one.")
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


# A run called 2026-11-22 is a word, not a date.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", tuple: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), "a value")


def read_mapping(path: Path, what: str, hint: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """The mapping that a YAML file holds, and where each key stands (``file:line``).

    Args:
        what: the file's kind, as errors name it: ``configuration``.
        hint: a sentence, after a blank, for one who has no such file.

    Raises:
        ConfigError: it is missing, cannot be read, or is not YAML or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (file.name for file in path.parent.glob("*.y*ml")))
        raise ConfigError(f"There is no {what} file '{path}'.{hint}{near}") from None
    except IsADirectoryError:
        raise ConfigError(f"'{path}' is a folder; a {what} is one YAML file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The {what} file '{path}' is not UTF-8 text (byte {error.start}): "
            f"a {what} is one YAML file, saved as UTF-8."
        ) from None
    except OSError as error:
        raise ConfigError(f"The {what} file '{path}' cannot be read: {error.strerror}.") from None
    data, node = read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a {what} is a mapping of sections; this file holds {kind(data)}.")
    return data, written(node, str(path))


def read_yaml(text: str, name: str) -> tuple[Any, yaml.Node | None]:
    """One YAML document as plain data, and its nodes.

    Raises:
        ConfigError: not YAML, several documents, or nested or long beyond what a configuration can mean.
    """
    try:
        loader = _Loader(text)
        loader.name = name
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_extent(node, name, {})
        return loader.construct_document(node), node
    except yaml.composer.ComposerError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if "another document" in str(error.problem):
            raise ConfigError(f"{name}:{line}: a second document begins here; a configuration is one.") from None
        raise ConfigError(f"{name}:{line}: this is not YAML: {error.problem}.") from None
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: only plain YAML is read, no tags or merge keys: {error.problem}.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = "; indent with blanks, not with tabs" if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{name}:{line}: this is not YAML: {error.problem}{tab}.") from None
    except RecursionError:
        raise ConfigError(
            f"{name}: this is nested too deeply; a configuration is {MAX_DEPTH} levels at most."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: this is not YAML: {' '.join(str(error).split())}.") from None


def _check_extent(node: yaml.Node, name: str, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Values and levels below ``node``, aliases counted wherever they stand: a few lines of them can mean billions."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_VALUES + 1, 0  # what an alias inside its own anchor finds
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        if found := NO_TEXT.search(node.value):
            raise ConfigError(f"{name}:{line}: no setting holds the character U+{ord(found[0]):04X}; take it out.")
        if len(node.value) > (100 if node.tag == "tag:yaml.org,2002:int" else MAX_TEXT):
            raise ConfigError(f"{name}:{line}: a value of {len(node.value)} characters; no setting is that long.")
        inner = []
    else:
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(value,) for value in node.value]
        inner = [_check_extent(part, name, known) for pair in pairs for part in pair]
    values, depth = 1 + sum(v for v, _ in inner), 1 + max((d for _, d in inner), default=0)
    if values > MAX_VALUES or depth > MAX_DEPTH:
        raise ConfigError(
            f"{name}:{line}: what begins here is more than {MAX_VALUES} values or {MAX_DEPTH} levels, anchors and "
            "aliases written out; no configuration is that large."
        )
    known[id(node)] = values, depth
    return values, depth


def written(node: yaml.Node | None, name: str, prefix: str = "") -> dict[str, str]:
    """Dotted path -> ``file:line`` of its key."""
    found: dict[str, str] = {}
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    if isinstance(node, yaml.SequenceNode):
        entries = [(None, value) for value in node.value]
    for index, (key, value) in enumerate(entries):
        path = f"{prefix}.{index if key is None else key.value}".lstrip(".")
        found[path] = f"{name}:{(key or value).start_mark.line + 1}"
        found.update(written(value, name, path))
    return found
