"""The page about intervals: its program prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from acclimate.laws.anchored import INPUTS, drift_forms, gain_forms

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "planning.md").read_text(encoding="utf-8")


def test_the_program_prints_what_the_page_says() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (said,) = re.findall(r"```\n\n((?:    .*\n)+)", PAGE)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "planning.md", "exec"), {})
    assert out.getvalue() == re.sub(r"^    ", "", said, flags=re.M)


def test_the_tables_have_every_form() -> None:
    for form in (*drift_forms(INPUTS), *gain_forms(INPUTS)):
        shape = form.formula.partition(" = ")[2].removesuffix(" (1 + c q)")
        shape = shape.replace("t e^g / T", "x") if form.outcome == "gain" else shape
        assert f"| {form.name.removesuffix(', anchored')} | {shape}" in PAGE
