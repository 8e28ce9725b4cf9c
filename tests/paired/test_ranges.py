"""No interval, wherever it is made, holds a value that its quantity cannot have."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from acclimate.measurement.measure import Scores
from acclimate.measurement.panel.records import averages
from acclimate.measurement.summary import change_records
from acclimate.paired.memorisation import memorisation
from acclimate.paired.metrics import METRICS
from acclimate.paired.ratio import mean_ratio, ratio, ratio_change
from acclimate.reports import collect
from acclimate.runs.cells import ItemScores
from acclimate.runs.comparison import compare_runs
from acclimate.runs.scores import read_lines
from acclimate.verbs.compare.standing import accuracy_changes, standings
from tests.compare.tables import row, texts
from tests.reports.runs import add_change, write_run

FEW = np.array([1.0, 1.0, 1.0, 1.0])
ONE_OF_FOUR = np.array([0.0, 0.0, 0.0, 4.0])
"""One document holds all: the studentised interval of their mean reaches far below 0, and above 4."""


def test_of_a_gate() -> None:
    size = 10 * FEW
    scores = {"kl_base_tuned": ONE_OF_FOUR, "tokens": size, "agree": size - ONE_OF_FOUR * 2.4, "bytes": size}
    assert ratio(ONE_OF_FOUR, size).low < 0  # or nothing is tested
    assert METRICS["kl_base_tuned"].drop("max_drop", "nats/token", scores, 0.95).low == 0
    found = METRICS["top1_agreement"].drop("max_drop", "points", scores, 0.95)
    assert (found.low, found.high <= 100) == (0, True)
    scores |= {"base_nats": np.array([0.01, 0.01, 0.01, 9.0]), "nats": np.array([0.01, 0.01, 0.01, 0.1])}
    base = scores["base_nats"].sum() / math.log(2) / 40
    for kind, bound in (("max_drop", "low"), ("min_gain", "high")):
        sign = -1 if bound == "low" else 1
        relative = METRICS["bits_per_byte"].drop(kind, "%", scores, 0.95)
        assert getattr(relative, bound) == sign * 100
        absolute = METRICS["bits_per_byte"].drop(kind, "bits/byte", scores, 0.95)
        assert getattr(absolute, bound) == pytest.approx(sign * base)
        words = {"word_nats": scores["nats"], "base_word_nats": scores["base_nats"]}
        assert getattr(METRICS["word_nats"].drop(kind, "nats/word", words, 0.95), bound) == pytest.approx(
            sign * scores["base_nats"].mean()
        )


def lost_in_one() -> tuple[Scores, Scores]:
    """Almost all of the base's bits are in one document, and gone."""
    plain = {"document": np.arange(4), "tokens": 10 * FEW, "bytes": 10 * FEW}
    tuned, base = np.array([0.01, 0.01, 0.01, 0.1]), np.array([0.01, 0.01, 0.01, 9.0])
    assert ratio_change(tuned, base, 10 * FEW).low < -base.sum() / 40  # or nothing is tested
    return Scores(nats=tuned, **plain), Scores(nats=base, **plain)


def test_of_a_run_and_of_a_panel() -> None:
    tuned, base = lost_in_one()
    bits = base.nats.sum() / math.log(2) / 40
    (record,) = change_records(tuned, base, run="mol", seed=0, set_name="domain", role="domain")
    assert record["low"] == pytest.approx(-bits)
    assert mean_ratio([((tuned.nats - base.nats) / math.log(2), tuned.bytes)]).low < -bits
    assert averages([("domain", tuned, base, None)])["domain"]["change"]["low"] == pytest.approx(-bits)
    columns = {"nats": tuned.nats, "base_nats": base.nats, "bytes": tuned.bytes}
    found = memorisation(columns, columns, 4, 100)
    assert found is not None
    assert found.training.low == pytest.approx(-bits)


def test_of_a_comparison() -> None:
    rows = [row("mol", 0, found=texts(0.02, 0.001)), row("mol", 1, found=texts(0.9, 0.4))]
    (found,) = standings(rows, ["mol"])
    assert found.gain
    assert found.drift
    assert found.loss
    assert (found.drift.estimate.low, found.gain.estimate.high) == (0, 1)  # two seeds: Student's t goes beyond
    assert found.drift.estimate.high is not None
    assert found.drift.estimate.high > 0.4
    right, wrong = [True] * 20, [False] * 20
    answers = [ItemScores(model=right, base=wrong), ItemScores(model=wrong, base=wrong)]
    panels = [row("mol", seed, "panel", items={"quiz": scores}) for seed, scores in enumerate(answers)]
    quiz = accuracy_changes(panels, "mol")["quiz"]
    assert (quiz.low, quiz.high) == (-1, 1)


def test_of_seeds_in_a_report_and_of_two_runs(tmp_path: Path) -> None:
    near = write_run(tmp_path / "a", "mol", seed=0, kl_chat=0.001, domain=0.5)
    far = write_run(tmp_path / "b", "mol", seed=1, kl_chat=0.5, domain=0.9)
    for folder, value in ((near, -0.55), (far, -0.15)):
        add_change(folder, value=value, half=0.01, mde=0.02)
    report = collect([near, far])
    (run,) = report.runs
    drift, agreement = (run.measures["chat", metric] for metric in ("kl_base_tuned", "top1_agreement"))
    assert drift.low == 0  # Student's t of two seeds reaches below
    assert drift.high is not None
    assert drift.high > 0.5
    assert agreement.high == 1
    assert run.changes["domain"].low == pytest.approx(-report.base["domain"].value, rel=1e-3)
    assert report.relative_change(run, report.sets[0]).low == pytest.approx(-100, rel=1e-3)  # type: ignore[union-attr]


def test_of_two_runs(tmp_path: Path) -> None:
    near = write_run(tmp_path / "a", "mol", kl_chat=0.1)
    far = write_run(tmp_path / "b", "sft", kl_chat=0.1)
    path = far / "eval" / "chat.jsonl"
    lines = read_lines(path)[:4]
    for line, kl in zip(lines, (0.0, 0.0, 0.0, 9.0), strict=True):
        line["kl_base_tuned"] = kl
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = near / "eval" / "chat.jsonl"
    path.write_text("".join(json.dumps(line | {"kl_base_tuned": 0.0}) + "\n" for line in lines))
    found, tokens = compare_runs(near, far, "chat")["kl_base_tuned"], sum(line["tokens"] for line in lines)
    assert found.low == pytest.approx(-9 / tokens)
