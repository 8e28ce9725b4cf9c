"""The page docs/reference/configuration.md and the JSON Schemas, written from the schemas of the YAML files.

``python -m acclimate.cli.document`` prints the page; with ``--schemas`` it writes ``config/schemas/`` instead.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from acclimate.config.chosen.search import AUTO
from acclimate.config.explain import section_paths
from acclimate.config.load import RunConfig
from acclimate.config.schemas import KINDS, schema_file
from acclimate.config.source_schema import SELF
from acclimate.disk.files import write_text
from acclimate.gates.policy import Policy
from acclimate.methods.registry import METHODS
from acclimate.verbs.compare import Comparison
from acclimate.verbs.panel import PanelConfig


def configuration_page() -> str:
    """Every key of every file that a user writes, with type, default and meaning, a table a section."""
    lines = [
        "# Configuration",
        "",
        "Written from the schemas: every key of [a run](#a-run), [its methods](#methods), [a panel](#a-panel), "
        "[a comparison](#a-comparison) and [a gate's policy](#a-policy).",
        "",
        *_part("A run", "`acclimate init` writes a commented file to start from.", RunConfig),
        "## Methods",
        "",
        "Keys beside `name`, as in `method: {name: mol, kl_weight: 2}`. What they do: [methods.md](methods.md).",
        "",
    ]
    for name, method in METHODS.items():
        fields: Mapping[str, FieldInfo] = getattr(method, "__pydantic_fields__", {})
        if fields:
            lines += [f"### method {name}", "", *_table(fields), ""]
    without = ", ".join(
        f"`{name}`" for name, method in METHODS.items() if not getattr(method, "__pydantic_fields__", 0)
    )
    lines += [f"{without} have none.", ""]
    lines += _part("A panel", "How to use it: [evaluation.md](evaluation.md).", PanelConfig)
    lines += _part("A comparison", "How to use it: [howto/comparison.md](../howto/comparison.md).", Comparison)
    lines += _part("A policy", "How to use it: [howto/gate.md](../howto/gate.md).", Policy)
    return "\n".join(lines)


def _part(title: str, about: str, root: type[BaseModel]) -> list[str]:
    lines, places = [f"## {title}", "", about, ""], dict[type[BaseModel], list[str]]()
    for path, section in section_paths(root).items():
        places.setdefault(section, []).append(path.replace(".*", ".NAME"))
    for section, paths in places.items():
        heading = [f"### {', '.join(paths)}", ""] if section is not root else []
        lines += [*heading, " ".join((section.__doc__ or "").split()), "", *_table(section.model_fields), ""]
    return lines


def _table(fields: Mapping[str, FieldInfo]) -> list[str]:
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        cells = (name, _type(field.annotation), _default(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _type(annotation: Any) -> str:
    """The type as a person writes it: ``text``, ``number``, ``a · b``."""
    return f"`{_plain(annotation)}`"


def _plain(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(arguments[0])
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
    words = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "value"}
    return words[annotation] if annotation in words else str(annotation.__name__).lower()


def _default(field: FieldInfo) -> str:
    """As YAML has it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "its defaults" if isinstance(value, BaseModel) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)


def json_schema(kind: str) -> str:
    """What editors check and complete a file of that kind by: one of ``run, panel, comparison, policy``.

    It takes all that the reader takes, the short forms too; what only shows once several keys are known is left to
    ``acclimate validate``.
    """
    roots: dict[str, type[BaseModel]] = {
        "run": RunConfig,
        "panel": PanelConfig,
        "comparison": Comparison,
        "policy": Policy,
    }
    schema = roots[kind].model_json_schema(schema_generator=Untitled)
    sections = schema.get("$defs", {})
    if kind == "run":
        schema["properties"]["method"] = _methods(sections)
        sources = schema["properties"]["sources"]
        sources["additionalProperties"] = {"anyOf": [{"const": SELF}, sources["additionalProperties"]]}
        schema["properties"]["report_to"] = {"anyOf": [{"type": "string"}, schema["properties"]["report_to"]]}
        for budget in ("kl", "bits_per_byte"):  # 0.05 nats, 1%
            sections["RetainSection"]["properties"][budget]["anyOf"].append({"type": "string"})
    if "Margin" in sections:
        sections["Margin"] = {"type": "string", "description": "a number and its unit, like 2 % or 0.02 bits/byte"}
    title = f"acclimate {kind}"
    about = {"$schema": DIALECT, "$comment": f"{title}: acclimate schema {kind}", "title": title}
    return json.dumps(about | schema | {"title": title}, indent=1, ensure_ascii=False) + "\n"


DIALECT = "http://json-schema.org/draft-07/schema#"
"""That yaml-language-server reads."""


class Untitled(GenerateJsonSchema):
    """A key's own name says what it is called."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _methods(sections: dict[str, Any]) -> dict[str, Any]:
    """A name, a section of name and settings, or a list of these; puts one definition a method into ``sections``."""
    for name, method in METHODS.items():
        settings = getattr(method, "__pydantic_fields__", {})
        own = TypeAdapter(method).json_schema(schema_generator=Untitled) if settings else {}
        sections |= own.pop("$defs", {})
        sections[f"method_{name}"] = {
            "type": "object",
            "description": method.described()["summary"],
            "properties": {"name": {"const": name}} | own.get("properties", {}),
            "required": ["name", *own.get("required", [])],
            "additionalProperties": False,
        }
    one = {"anyOf": [{"enum": [*METHODS, AUTO]}, *({"$ref": f"#/$defs/method_{name}"} for name in METHODS)]}
    about = "a name, a section of name and settings, or a list of these"
    return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}], "default": "mol", "description": about}


if __name__ == "__main__":
    if sys.argv[1:] == ["--schemas"]:
        for written in KINDS:
            write_text(schema_file(written), json_schema(written))
    else:
        sys.stdout.write(configuration_page())
