"""docs/configuration.md, written from the schema: ``python -m acclimate.document > docs/configuration.md``."""

from __future__ import annotations

import re
import sys
from typing import Any

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
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"acclimate\.config\.|typing\.|, FieldInfo\(.*?\)\)?|Annotated\[", "", text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda m: m[1].replace("'", "").replace(", ", " · "), text)
    return f"`{text.rstrip()}`" if not text.startswith("`") else text


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    return "below" if isinstance(value, BaseModel) else f"`{'null' if value is None else value}`"


if __name__ == "__main__":
    sys.stdout.write(configuration_page(RunConfig))
