"""Shares over the run in the report: asked and realised, and nothing where they are constant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acclimate.reports import collect, write_report
from acclimate.reports.pictures.shares import ASKED, TRAINED, moving_sources, share_of
from acclimate.reports.sections.steps import absent
from acclimate.runs.scores import read_lines
from tests.reports.runs import write_run


def moved(folder: Path) -> Path:
    """240 steps of 100 tokens: general text from step 121 on, a row too late."""
    run, rows = write_run(folder), []
    for row in read_lines(run / "metrics.jsonl"):
        late = max(0.0, row["step"] - 120)
        asked = {"domain": 100 * row["step"] - 50 * late, "general": 50 * late}
        behind = 20.0 if 0 < late < 120 else 0.0
        told = {"domain": asked["domain"] + behind, "general": asked["general"] - behind}
        found = {key: value for key, value in row.items() if "general" not in key or late}
        rows.append(
            found | {f"{ASKED}{n}": v for n, v in asked.items()} | {f"{TRAINED}{n}": v for n, v in told.items()}
        )
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run


def test_asked_and_realised_shares(tmp_path: Path) -> None:
    run = moved(tmp_path / "mol")
    (folder,) = collect([run]).folders
    asked, told = (dict(share_of(folder, kind, "general")) for kind in (ASKED, TRAINED))
    assert len(asked) == 20
    assert asked[120] == told[120] == 0
    assert asked[132] == pytest.approx(0.5)
    assert told[132] == pytest.approx(0.5 - 20 / 1200)
    assert told[240] == pytest.approx(0.5 + 20 / 1200)
    assert sum(asked.values()) * 1200 == pytest.approx(6000)
    page = write_report([run], tmp_path / "page.html").read_text()
    section = page[page.index('<section id="shares">') :]
    assert section.count('<figure id="shares-') == 2
    assert "Which part of the tokens did general give?" in section


def test_a_constant_mixture_has_no_section(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    assert moving_sources(collect([run])) == []
    assert 'id="shares' not in write_report([run], tmp_path / "page.html").read_text()


def test_a_term_that_was_not_asked_for_was_not_absent(tmp_path: Path) -> None:
    (folder,) = collect([moved(tmp_path / "mol")]).folders
    assert absent(folder)["kl"] == 0
