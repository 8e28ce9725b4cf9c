"""What a report says of runs whose shares a rule moved, and of none else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acclimate.reports import collect, write_report
from acclimate.reports.sections.steps import online_notes
from acclimate.runs.scores import read_lines
from tests.reports.runs import write_run


def moved(folder: Path, seed: int, last: float, rule: str) -> Path:
    """240 steps, of which the first half is dealt evenly."""
    run = write_run(folder, seed=seed, config={"mixture": {"temperature": None, "ramp": None, rule: {"route": None}}})
    rows = []
    for row in read_lines(run / "metrics.jsonl"):
        law = 0.5 if row["step"] <= 120 else last
        dials = {"dial/share/domain": law, "dial/share/general": 1 - law, "online/drift": abs(law - 0.5)}
        asked = {"asked_tokens/domain": 50.0 * row["step"], "trained_tokens/domain": 50.0 * row["step"]}
        rows.append(row | dials | asked)
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run


@pytest.mark.parametrize("rule", ["doremi", "dids"])
def test_mean_and_drift_and_the_control_beside_them(rule: str, tmp_path: Path) -> None:
    runs = [moved(tmp_path / f"s{seed}", seed, last, rule) for seed, last in enumerate((0.6, 0.8))]
    note, control = online_notes(collect(runs))
    assert f"{rule} gave, as a mean over the steps" in note
    shown = note.replace("\u00a0", " ")
    assert "domain 60.0 % (from 50.0 % to 70.0 %); general 40.0 % (from 50.0 % to 30.0 %)" in shown
    assert "changed by at most 0.3." in shown
    assert "stratified sampling" in control
    page = write_report(runs, tmp_path / "page.html").read_text()
    assert control in page[page.index('<section id="shares">') :]


def test_a_run_without_a_rule_has_no_such_note(tmp_path: Path) -> None:
    assert online_notes(collect([write_run(tmp_path / "mol", config={"mixture": {"temperature": 5.0}})])) == []
