"""Runs that began before `lora.experts` was a setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from acclimate.config.load import RunConfig, save_config
from acclimate.runs.beginning import as_begun, differences_from
from acclimate.runs.layout import Layout
from tests.fixtures.runs import config


@pytest.fixture
def begun(tmp_path: Path) -> RunConfig:
    """Its config.yaml is as 0.1.0 wrote it."""
    found = config(Path("base"), tmp_path, tmp_path, lora={"rank": 2})
    found.run_dir.mkdir()
    path = Layout(found.run_dir).config
    save_config(found, path)
    lines = path.read_text().splitlines()
    assert "  experts: false" in lines
    path.write_text("\n".join(line for line in lines if line != "  experts: false"))
    return found


def test_a_run_of_0_1_0_goes_on_with_the_adapter_that_it_began_with(begun: RunConfig) -> None:
    """Also the second time, when config.yaml says so."""
    assert begun.lora is not None
    for _ in range(2):
        assert differences_from(begun) == []
        resolved = as_begun(begun)
        assert resolved.lora is not None
        assert resolved.lora.experts is None
        save_config(resolved, Layout(begun.run_dir).config)
    asked = begun.model_copy(update={"lora": begun.lora.model_copy(update={"experts": True})})
    assert differences_from(asked) == ["lora.experts: False then, True now"]


def test_a_run_of_now_keeps_what_it_says(begun: RunConfig) -> None:
    save_config(begun, Layout(begun.run_dir).config)
    resolved = as_begun(begun)
    assert resolved.lora is not None
    assert resolved.lora.experts is False
