"""JSON Schemas of the YAML files that a user writes, for editors; ``python -m acclimate.cli.document`` writes them."""

from __future__ import annotations

from pathlib import Path

from acclimate.disk.files import write_text

KINDS = ("run", "panel", "comparison", "policy")
MARK = '"$comment": "acclimate '
"""Stands in every schema of ours, so that no other file is written over."""


def schema_file(kind: str) -> Path:
    """Where the package keeps the schema of such files."""
    return Path(__file__).with_name(f"{kind}.json")


def schema_line(path: Path, kind: str = "run") -> str:
    """A comment by which editors find the schema, which is written beside the file that the comment stands in.

    The comment is empty where a file of another origin has the schema's name; it is left alone.

    Reference: yaml-language-server's modeline, which VS Code, Neovim, Emacs and JetBrains read [from its README].
    """
    name = "acclimate.schema.json" if kind == "run" else f"acclimate.{kind}.schema.json"
    beside = path.parent / name
    if beside.exists() and MARK not in beside.read_text(encoding="utf-8", errors="replace")[:500]:
        return ""
    write_text(beside, schema_file(kind).read_text(encoding="utf-8"))
    return f"# yaml-language-server: $schema={name}\n"
