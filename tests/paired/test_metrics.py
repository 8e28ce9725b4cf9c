"""One entry of METRICS is a metric everywhere: records, report, card, comparisons and gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acclimate.measurement.measure import Scores
from acclimate.measurement.summary import change_records, records
from acclimate.paired.estimate import NOT_NEGATIVE, Estimate
from acclimate.paired.metrics import METRICS, Metric
from acclimate.reports import collect, model_card
from acclimate.reports.page import table
from acclimate.reports.sections.scoreboard import scoreboard
from acclimate.runs.comparison import compare_runs
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.layout import Layout
from acclimate.runs.scores import read_scores
from acclimate.verbs.compare.pages import blocks
from tests.compare.tables import row, texts
from tests.gates.runs import scored_run, sign

TOY = Metric(
    "nats_per_token",
    unit="nats/token",
    label="nats/token",
    above="nats",
    below="tokens",
    base="base_nats",
    possible=NOT_NEGATIVE,
    words="nats per token",
    shown=("domain",),
    margins=("nats/token", "%"),
    max_drop="rise over the base: '0.1 nats/token'",
    min_gain="fall below the base: '0.1 nats/token'",
)
POLICY = """
default:
  max_drop: {nats_per_token: 0.1 nats/token}
roles:
  domain:
    min_gain: {nats_per_token: 2 %}
"""
GATE = """
import pathlib, sys
from math import inf
from acclimate.paired.metrics import METRICS, Metric
toy = eval(sys.argv[3])
METRICS[toy.name] = toy
from acclimate.gates import gate
from acclimate.reports.gate_page import verdict_markdown
print(verdict_markdown(gate(sys.argv[1], pathlib.Path(sys.argv[2]))))
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Metric:
    monkeypatch.setitem(METRICS, TOY.name, TOY)
    return TOY


def measured(run: Path, name: str, role: str) -> list[dict[str, Any]]:
    """Adds what `records` and `change_records` make of a set, with the metrics there are now, to summary.json."""
    scores = read_scores(run / "eval" / f"{name}.jsonl")
    tuned, base = (
        Scores(np.arange(len(scores[side])), scores[side], scores["bytes"], scores["tokens"])
        for side in ("nats", "base_nats")
    )
    found = records(tuned, run="mol", seed=0, set_name=name, role=role)
    found += change_records(tuned, base, run="mol", seed=0, set_name=name, role=role)
    path = Layout(run).summary
    before = read_summary(path)
    known = {(r["run"], r["set"], r["metric"]) for r in before}
    new = [record for record in found if (record["run"], name, record["metric"]) not in known]
    write_summary(path, [*before, *new])
    sign(run)
    return new


def test_a_new_metric_is_one_entry(toy: Metric, tmp_path: Path) -> None:
    run, other = scored_run(tmp_path / "run"), scored_run(tmp_path / "other")
    scores = read_scores(run / "eval" / "domain.jsonl")
    tuned, base, size = (scores[name] for name in ("nats", "base_nats", "tokens"))
    # 1. records: value, unit, and the paired change
    value, change = measured(run, "domain", "domain")
    assert (value["metric"], change["metric"]) == ("nats_per_token", "nats_per_token_change")
    assert value["unit"] == change["unit"] == "nats/token"
    assert value["value"] == pytest.approx(tuned.sum() / size.sum())
    assert change["value"] == pytest.approx((tuned.sum() - base.sum()) / size.sum())
    assert change["low"] < change["value"] < change["high"] < 0
    assert change["p"] < 0.05
    assert change["mde"] > 0
    # 2. the report's table, with label and direction, and the card
    data = collect([run])
    headings = [(column.title, column.unit) for column in scoreboard(data).columns]
    assert headings[2:4] == [("domain", "nats/token ↓"), ("domain", "nats/token change ↓")]
    cells = scoreboard(data).lines[1].cells
    assert cells[2].text == f"{value['value']:.3f}"
    assert cells[3].text == f"−{-change['value']:.3f}"
    assert "nats per token" in model_card(run)
    # 3. two runs, paired by document, and the page of a comparison
    assert compare_runs(run, other, "domain")[toy.name].value == 0
    found = row("mol", found=texts(0.2, 0.1))
    outcome = SimpleNamespace(rows=[found], standings=[SimpleNamespace(method="mol")], measured=lambda method: [found])
    grid = blocks._sets(outcome).grid  # type: ignore[arg-type]
    assert grid
    shown = table(grid)
    assert "| bits/byte | KL | nats/token |" in shown
    assert "| domain | domain | mol | −20.0\u00a0% | 0.100 | −20.0\u00a0% |" in shown


def test_the_gate_knows_a_new_metric(tmp_path: Path) -> None:
    """In a process of its own: the policy's keys are made when it is imported."""
    run, policy = scored_run(tmp_path / "run"), tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = subprocess.run(
        [sys.executable, "-c", GATE, str(run), str(policy), repr(TOY)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| domain | nats/token fall, % |" in done.stdout
    assert "| chat | nats/token rise |" in done.stdout
    assert "| &lt; 0.1 |" in done.stdout


def test_known_metrics_are_whole() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.unit
        assert metric.label
        assert bool(metric.margins) == bool(metric.max_drop)
        assert metric.paired or not metric.min_gain


def test_an_estimate_is_read_as_it_was_written() -> None:
    """Open ends, and what was not tested, are null."""
    found = Estimate(0.5, 0.25, 0.75, 40, 0.01, 0.125, "points", groups=8)
    assert Estimate.from_record(json.loads(json.dumps(found.record(change=True)))) == found
    assert found.record() == {"unit": "points", "value": 0.5, "low": 0.25, "high": 0.75, "n": 40, "groups": 8}
    few = Estimate(0.5, n=2)
    assert few.record(change=True) == {"value": 0.5, "low": None, "high": None, "n": 2, "p": None, "mde": None}
    assert Estimate.from_record(few.record()) == few
    with pytest.raises(ValueError, match="nan"):
        Estimate.from_record({"value": float("nan"), "n": 2})
