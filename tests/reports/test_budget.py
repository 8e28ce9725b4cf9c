"""The section of a forgetting budget: what it says, what it draws, and that runs without one have none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from acclimate.reports import model_card, write_report
from acclimate.runs.layout import Layout, write_json
from acclimate.runs.scores import read_lines
from tests.reports.runs import write_run

MEAN: dict[str, Any] = {
    "metric": "kl_base_tuned",
    "limits": {"mean": 0.05},
    "outcome": "met",
    "says": "retain: met. The model is that of step 120 of 240.",
    "helps": [],
    "step": 120,
    "alpha": 1.0,
    "sets": {
        "general": {"value": 0.06, "low": 0.05, "high": 0.07, "limit": None},
        "chat": {"value": 0.03, "low": None, "high": None, "limit": None},
        "mean": {"value": 0.045, "low": 0.04, "high": 0.05, "limit": 0.05},
    },
    "strength": {"first": 1.0, "last": 30.0, "low": 0.03, "high": 30.0},
    "domain_change_percent": -20.0,
    "exceeded": [60],
    "rolled_back": [],
}
EACH = MEAN | {
    "metric": "bits_per_byte", "limits": {"general": 0.01}, "outcome": "infeasible", "strength": None,
    "says": "retain: infeasible. As it was.", "helps": ["a lower <rate>."], "rolled_back": [60],
    "sets": {"general": {"value": 0.0125, "low": 0.01, "high": 0.02, "limit": 0.01}},
}  # fmt: skip


def budgeted(folder: Path, record: dict[str, Any], **options: Any) -> Path:
    """A run with this retain.json, whose steps of 60 are checks."""
    run, rows = write_run(folder, **options), []
    for row in read_lines(run / "metrics.jsonl"):
        found = {"retain/signal": 0.5, "retain/target": 1.0} | ({"dial/strength": 2.0} if record["strength"] else {})
        if row["step"] % 60 == 0:
            found |= {"retain/spent": 0.9, "eval/general/change_percent": 1.25}
            found |= {f"eval/{name}/kl_base_tuned": 0.045 for name in ("general", "chat")}
        rows.append(row | found)
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_json(Layout(run).retain, record)
    return run


def page(runs: list[Path], folder: Path) -> str:
    text = write_report(runs, folder / "page.html").read_text().replace("\u00a0", " ")
    return re.sub(r"\s+", " ", text)


def test_what_was_asked_and_what_became_of_it(tmp_path: Path) -> None:
    one = budgeted(tmp_path / "mol", MEAN)
    two = budgeted(tmp_path / "sft", EACH, method="sft")
    plain = write_run(tmp_path / "replay", "replay")
    text = page([one, two, plain], tmp_path)
    section = text[text.index('<section id="budget">') : text.index('<section id="tradeoff">')]
    assert "runs without a budget are left out" in section
    assert "KL(base‖tuned) at most 0.050 nats/token, as a mean over held-out sets" in section
    assert "bits per byte up by at most, in percent: general +1.00 %" in section
    assert '<p class="gate passed"><b>met</b>' in section
    assert '<p class="gate failed"><b>infeasible</b>' in section
    assert "The model is that of step 120 of 240." in section
    assert "retain: " not in section  # the word stands before it
    assert "a lower &lt;rate&gt;." in section
    assert "<td>0.045<small>0.040 to 0.050</small></td><td>0.050</td><td>90.0 %</td>" in section.replace("\u202f", " ")
    assert "30, its largest" in section
    assert "<td>+1.25 %" in section
    pictures = re.findall(r'<figure id="(budget-\w+)">', section)
    assert pictures == ["budget-0", "budget-1", "budget-2", "budget-signal", "budget-dial"]
    assert "Did the mean over sets stay inside of the budget?" in section
    assert "budget.csv" in section
    assert section.count("logarithmic") == 1


def test_a_run_without_a_budget_has_no_section(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    assert 'id="budget' not in page([run], tmp_path)
    assert "budget" not in model_card(run).replace("budget.", "").lower()


def test_the_card_says_it(tmp_path: Path) -> None:
    card = model_card(budgeted(tmp_path / "mol", MEAN)).replace("\u00a0", " ").replace("\u202f", " ")
    assert "## The forgetting budget\n\nAsked: KL(base‖tuned) at most 0.050 nats/token" in card
    assert "Outcome: **met**." in card
    assert "| mean over sets | 0.045 (0.040 to 0.050) | 0.050 |\n" in card
    assert "| chat | 0.030 | – |\n" in card
    assert "by which the weights were chosen" in card


@pytest.mark.parametrize("told", [True, False])
def test_a_run_that_ended_early_says_so(told: bool, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    record = json.loads((run / "provenance.json").read_text())
    why = "Ended after step 5 of 9 (training.patience)."
    record |= {"ended": {"step": 5, "of": 9, "why": why}} if told else {}
    (run / "provenance.json").write_text(json.dumps(record))
    assert (f"mol: {why}" in page([run], tmp_path)) == told
    assert ("Ended after step 5 of 9" in model_card(run)) == told
