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


def write_with_schema(path: Path, text: str, kind: str = "run") -> None:
    """Writes the file, below a comment by which editors find its schema, and then the schema beside it.

    A file of another origin that has the schema's name is left alone, and there is no comment.

    Reference: yaml-language-server's modeline, which VS Code, Neovim, Emacs and JetBrains read [from its README].
    """
    name = "acclimate.schema.json" if kind == "run" else f"acclimate.{kind}.schema.json"
    beside = path.parent / name
    if beside.exists() and MARK not in beside.read_text(encoding="utf-8", errors="replace")[:500]:
        write_text(path, text)
        return
    write_text(path, f"# yaml-language-server: $schema={name}\n{text}")
    write_text(beside, schema_file(kind).read_text(encoding="utf-8"))
