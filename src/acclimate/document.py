"""docs/configuration.md, written from the schema: ``python -m acclimate.document > docs/configuration.md``."""

from __future__ import annotations

import sys
import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from acclimate.config import RunConfig
from acclimate.explain import section_paths


def configuration_page(root: type[BaseModel]) -> str:
    """Every key with type, default and meaning, a table a section."""
    lines = [
        "# Configuration",
        "",
        "Written from the schema. `acclimate init` writes a commented file to start from.",
        "",
    ]
    for path, section in section_paths(root).items():
        lines += [f"## {path.replace('.*', '.NAME') or 'top level'}", ""]
        lines += [" ".join((section.__doc__ or "").split()), ""]
        lines += ["| key | type | default | |", "|---|---|---|---|"]
        for name, field in section.model_fields.items():
            cells = (name, _type(field.annotation), _default(field), field.description or "")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    """The type as a person writes it: ``text``, ``number``, ``a · b``."""
    return f"`{_plain(annotation)}`"


def _plain(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " · ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys("null" if a is type(None) else _plain(a) for a in arguments))
    if origin is list:
        return f"list of {_plain(arguments[0])}"
    if origin is dict:
        return f"{_plain(arguments[0])}: {_plain(arguments[1])}"
    if origin is tuple:
        return f"list of {len(arguments)} {_plain(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {str: "text", int: "integer", float: "number", bool: "boolean", Any: "value"}[annotation]


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    return "its defaults" if isinstance(value, BaseModel) else f"`{'null' if value is None else value}`"


if __name__ == "__main__":
    sys.stdout.write(configuration_page(RunConfig))
