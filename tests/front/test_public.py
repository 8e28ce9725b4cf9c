"""What is public is documented, typed, and loaded only when it is asked for."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import acclimate as ac

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
PUBLIC = sorted(set(ac.__all__) - {"__version__"})
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
USED = {
    node.attr
    for program in PROGRAMS
    for node in ast.walk(ast.parse(program))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac"
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name: str) -> None:
    said = inspect.getdoc(getattr(ac, name)) or ""
    assert len(said) > 40
    assert f"::: acclimate.{name}\n" in PAGE
    assert f"`{name}`" in PAGE.split("## ", maxsplit=1)[0], "the table of what one wants"
    assert ">>>" in said or name in USED or name in ("Mix", "Measured", "Estimate"), "no example; these three are given"


@pytest.mark.parametrize("name", [name for name, home in ac._HOMES.items() if home.startswith("front.")])
def test_parameters_of_the_front_are_explained(name: str) -> None:
    """Every one stands under Args."""
    public = getattr(ac, name)
    said = inspect.getdoc(public) or ""
    for parameter in inspect.signature(public).parameters:
        assert re.search(rf"^\s+(\w+, )*{parameter}(, \w+)*: ", said, re.M), parameter


def test_the_page_names_nothing_that_is_not_public() -> None:
    assert set(PUBLIC) >= USED
    assert {name.split(".")[0] for name in re.findall(r"^::: acclimate\.(\S+)$", PAGE, re.M)} == set(PUBLIC)


def test_statistics_and_the_gate_load_no_torch() -> None:
    program = (
        "import sys, acclimate as ac; assert 'numpy' not in sys.modules; "
        "ac.paired.change, ac.paired.holm, ac.paired.accuracy_change, ac.runs.open, ac.runs.table, ac.Estimate, "
        "ac.gate, ac.load_config, ac.write_report; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ac.trian  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'tabel'"):
        ac.runs.tabel  # noqa: B018
    assert set(ac.__all__) == set(dir(ac))
