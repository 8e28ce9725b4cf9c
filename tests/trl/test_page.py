"""docs/howto/your-trainer.md names what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import acclimate as ac
import acclimate.trl

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "your-trainer.md").read_text()


def test_programs_use_public_names() -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    nodes = [node for program in programs for node in ast.walk(ast.parse(program))]
    used = {
        n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "ac"
    }
    assert {"ForgettingBudget", "ForgettingPanel", "Objective", "gate"} <= used <= set(ac.__all__)
    imported = {
        alias.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "acclimate.trl" for alias in n.names
    }
    assert imported
    assert imported <= set(acclimate.trl.__all__)
