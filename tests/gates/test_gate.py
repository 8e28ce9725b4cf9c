"""The gate errs as seldom as it says, and says what it found."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from acclimate.config.load import parse_config
from acclimate.gates import gate, parse_policy
from acclimate.gates.check import Check
from acclimate.gates.policy import Margin, parse_margin
from acclimate.paired.estimate import Estimate
from acclimate.paired.flips import Flips
from acclimate.paired.metrics import METRICS
from acclimate.paired.ratio import items_to_tell_from
from acclimate.reports import collect
from acclimate.reports.gate_page import verdict_markdown, verdict_page
from acclimate.runs.scores import read_scores
from acclimate.types.errors import ConfigError
from acclimate.verbs.run import train
from tests.fixtures.panels import answers, last_words, texts, write_panel
from tests.fixtures.runs import settings, write_corpora
from tests.fixtures.sentences import says
from tests.gates.runs import planted, scored_run
from tests.test_wrong_inputs import run_cli

MARGINS = {
    "a rise": ("max_drop", "bits_per_byte", Margin(0.02, "bits/byte"), {"rise": 0.02}),
    "a relative rise": ("max_drop", "bits_per_byte", Margin(2.0, "%"), {"rise": 0.02}),
    "a divergence": ("max_drop", "kl_base_tuned", Margin(0.1, "nats/token"), {"kl": 0.1}),
    "disagreement": ("max_drop", "top1_agreement", Margin(10.0, "points"), {"points": 10.0}),
    "a gain": ("min_gain", "bits_per_byte", Margin(5.0, "%"), {"rise": -0.05}),
}


def checks(
    trials: int, kind: str, metric: str, limit: Margin, n: int = 60, seed: int = 0, **truth: float
) -> list[Check]:
    random = np.random.default_rng(seed)
    return [
        Check(
            "s", "chat", kind, metric, METRICS[metric].drop(kind, limit.unit, planted(random, n, **truth), 0.95), limit
        )
        for _ in range(trials)
    ]


@pytest.mark.parametrize("case", MARGINS)
def test_at_the_limit_itself_it_seldom_passes_or_fails(case: str) -> None:
    kind, metric, limit, truth = MARGINS[case]
    outcomes = [check.outcome for check in checks(700, kind, metric, limit, **truth)]
    assert outcomes.count("pass") <= 0.05 * 700
    assert outcomes.count("fail") <= 0.05 * 700
    assert outcomes.count("pass") + outcomes.count("fail") >= 0.02 * 700  # and it is not merely mute


def test_a_run_at_every_limit_passes_no_more_often_than_at_one() -> None:
    at_limit = [checks(200, *MARGINS["a rise"][:3], seed=seed, rise=0.02) for seed in range(4)]
    passed = [all(check.outcome == "pass" for check in run) for run in zip(*at_limit, strict=True)]
    one_at_limit = [
        all(check.outcome == "pass" for check in run)
        for run in zip(
            at_limit[0], *(checks(200, *MARGINS["a rise"][:3], seed=9, rise=-0.05) for _ in range(3)), strict=True
        )
    ]
    assert np.mean(passed) <= 0.01
    assert np.mean(one_at_limit) <= 0.05


@pytest.mark.parametrize(("sign", "outcome"), [(-1, "pass"), (1, "fail")])
def test_at_the_printed_mde_it_decides(sign: int, outcome: str) -> None:
    limit = Margin(0.02, "bits/byte")
    printed = np.mean([check.found.mde for check in checks(500, "max_drop", "bits_per_byte", limit, rise=0.02)])
    found = checks(700, "max_drop", "bits_per_byte", limit, seed=1, rise=0.02 + sign * float(printed))
    decided = np.mean([check.outcome == outcome for check in found])
    assert 0.80 <= decided <= 0.97


def test_estimates_are_in_their_units() -> None:
    scores = planted(np.random.default_rng(0), 4000, rise=0.05, kl=0.2, points=20)
    found = {
        (kind, unit): METRICS[metric].drop(kind, unit, scores, 0.95).value
        for kind, metric, unit in (
            ("max_drop", "bits_per_byte", "bits/byte"), ("max_drop", "bits_per_byte", "%"),
            ("min_gain", "bits_per_byte", "%"), ("max_drop", "kl_base_tuned", "nats/token"),
            ("max_drop", "top1_agreement", "points"),
        )
    }  # fmt: skip
    assert list(found.values()) == pytest.approx([0.05, 5, -5, 0.2, 20], rel=0.05)


def example(low: float, high: float, kind: str = "max_drop", limit: float = 1.0) -> Check:
    middle = (low + high) / 2
    reach = 0.71 * (high - low)
    found = Estimate(middle, low, high, 100, items_to_tell_from=items_to_tell_from(middle, 100, reach, reach))
    return Check("s", "chat", kind, "bits_per_byte", found, Margin(limit, "%"))


def test_outcomes() -> None:
    assert [example(*bounds).outcome for bounds in ((0.2, 0.9), (1.1, 1.9), (0.5, 1.5), (0.2, 1.0), (1.0, 2.0))] == [
        "pass", "fail", "inconclusive", "inconclusive", "inconclusive",
    ]  # fmt: skip
    assert [example(*bounds, "min_gain").outcome for bounds in ((0.2, 0.9), (1.1, 1.9))] == ["fail", "pass"]


def test_how_many_more_documents() -> None:
    check = example(0.1, 1.1)  # error 0.25, 0.4 below the limit: 100 (0.71 / 0.4)^2 in all
    assert says(check.remedy, "about 216 more documents (100 now) … 80 % …")
    assert says(example(0.5, 1.5).remedy, "… close to the limit … 100 times the documents … not decide")


POLICY: dict[str, Any] = {
    "roles": {"domain": {"min_gain": {"bits_per_byte": "5 %"}}},
    "default": {"max_drop": {"bits_per_byte": "0.03 bits/byte"}},
}


def test_the_closest_rule_wins_as_a_whole(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run")
    drift = {"max_drop": {"kl_base_tuned": "0.3 nats/token", "top1_agreement": "20 points"}}
    verdict = gate(run, parse_policy(POLICY | {"sets": {"chat": drift}}))
    assert [(check.set_name, check.kind, check.metric) for check in verdict.checks] == [
        ("domain", "min_gain", "bits_per_byte"), ("general", "max_drop", "bits_per_byte"),
        ("chat", "max_drop", "kl_base_tuned"), ("chat", "max_drop", "top1_agreement"),
    ]  # fmt: skip
    assert verdict.outcome == "pass"
    assert verdict.ungated == ()
    assert gate(run, parse_policy({"sets": {"chat": drift}})).ungated == ("domain", "general")


def test_a_wider_confidence_is_harder(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run")
    strict, lax = (gate(run, parse_policy(POLICY | {"confidence": level})).checks[1].found for level in (0.995, 0.8))
    assert strict.low < lax.low < lax.high < strict.high


def written(tmp_path: Path, margin: str, **policy: Any) -> list[str]:
    """Arguments of `acclimate gate` on a run whose rise on general text is about 0.004."""
    if not (tmp_path / "run").exists():
        scored_run(tmp_path / "run")
    rules = {"sets": {"general": {"max_drop": {"bits_per_byte": margin}}}} | policy
    (tmp_path / "gate.yaml").write_text(json.dumps(rules))
    return ["gate", str(tmp_path / "run"), "--policy", str(tmp_path / "gate.yaml")]


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        return run_cli(list(arguments), monkeypatch, capsys)

    code, out, err = run(*written(tmp_path, "0.05 bits/byte"))
    assert (code, err) == (0, "")
    assert "PASS: 1 of 1 checks passed." in out
    assert "No rule is about domain, chat." in out
    code, out, _ = run(*written(tmp_path, "0 bits/byte"))
    assert code == 5
    assert "INCONCLUSIVE: 0 of 1 checks passed, 1 inconclusive." in out
    assert "more documents (60 now) would decide, in 80 % of cases." in " ".join(out.split())
    code, out, _ = run(*written(tmp_path, "0 bits/byte", allow_inconclusive=True))
    assert code == 0
    assert "1 inconclusive, which the policy allows." in out
    rules = {"domain": {"min_gain": {"bits_per_byte": "0.5 bits/byte"}}}
    code, out, _ = run(*written(tmp_path, "", sets=rules, allow_inconclusive=True))
    assert code == 2
    assert "FAIL: 0 of 1 checks passed, 1 failed." in out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_word_of_the_verdict_is_cut(width: int, tmp_path: Path) -> None:
    console = Console(width=width, record=True, file=StringIO())
    drift = {"max_drop": {"kl_base_tuned": "0.3 nats/token", "top1_agreement": "20 points"}}
    console.print(verdict_page(gate(scored_run(tmp_path / "run"), parse_policy(POLICY | {"sets": {"chat": drift}}))))
    text = console.export_text()
    assert "…" not in text
    words = set(text.split())
    assert {"KL(base‖tuned),", "nats/token"} <= words
    assert ("interval" in text.split("\n")[2]) == (width == 200)


def test_json_and_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "out" / "gate.md"
    arguments = [*written(tmp_path, "0 bits/byte"), "--json", "--markdown", str(page)]
    code, out, _ = run_cli(arguments, monkeypatch, capsys)
    found = json.loads(out)
    assert code == 5
    assert (found["outcome"], found["passed"], found["ungated"]) == ("inconclusive", False, ["domain", "chat"])
    (check,) = found["checks"]
    assert check["low"] < check["value"] < check["high"]
    assert check["more_items"] > 0
    scores = read_scores(tmp_path / "run" / "eval" / "general.jsonl")
    change = (scores["nats"].sum() - scores["base_nats"].sum()) / scores["bytes"].sum() / np.log(2)
    assert check["value"] == pytest.approx(change)
    text = page.read_text()
    assert "| set | check | found | interval | limit | MDE | n | unseen | outcome |" in text
    assert "| general | bits/byte rise | " in text
    assert "| ❔ **inconclusive** |" in text
    assert "\n❔ INCONCLUSIVE: 0 of 1 checks passed, 1 inconclusive.\n" in text


def test_names_of_sets_are_text(tmp_path: Path) -> None:
    name = "[red]<b>|"
    scores = {name: planted(np.random.default_rng(0), 30)}
    run = scored_run(tmp_path / "run", scores, names={"chat": name})
    verdict = gate(run, parse_policy({"roles": {"chat": {"max_drop": {"bits_per_byte": "5 %"}}}}))
    assert r"| \[red\]&lt;b&gt;\| |" in verdict_markdown(verdict)


def test_no_spread_decides_at_once(tmp_path: Path) -> None:
    """A model that is its base lost nothing, on however few bytes."""
    scores = planted(np.random.default_rng(0), 20)
    scores["nats"] = scores["base_nats"]
    run = scored_run(tmp_path / "run", {"chat": scores})
    policy = {"sets": {"chat": {"max_drop": {"bits_per_byte": "0.001 bits/byte"}}}}
    assert gate(run, parse_policy(policy)).outcome == "pass"


@pytest.mark.parametrize("text", ["0.02", "-1 %", "1 nats/token", "x", "1e400 %", "nan %", "", "1 2 %"])
def test_margins_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"margin|unit|negative"):
        parse_margin("bits_per_byte", text)
    with pytest.raises(ConfigError):
        parse_policy({"default": {"max_drop": {"bits_per_byte": text}}})


def test_a_trained_run_is_gated_on_what_its_summary_says(pico_folder: Path, tmp_path: Path) -> None:
    """The same interval in ``summary.json``, in the report and in the gate."""
    corpora = write_corpora(tmp_path / "corpora", 60)
    data = settings(pico_folder, corpora, tmp_path)
    for source in data["sources"].values():
        source["heldout"] = 20
    result = train(parse_config(data))
    records = {(record["set"], record["metric"], record["run"]): record for record in result.summary}
    verdict = gate(result.run_dir, parse_policy({"default": {"max_drop": {"bits_per_byte": "0.5 bits/byte"}}}))
    assert [check.set_name for check in verdict.checks] == ["domain", "general", "chat"]
    for check in verdict.checks:
        record = records[check.set_name, "bits_per_byte_change", "mol"]
        base, tuned = (records[check.set_name, "bits_per_byte", run]["value"] for run in ("base", "mol"))
        assert record["value"] == pytest.approx(tuned - base)
        found = check.found
        assert [record[name] for name in ("value", "low", "high", "n", "p", "mde")] == pytest.approx(
            [found.value, found.low, found.high, 20, found.p, found.mde]
        )
        assert collect([result.run_dir]).runs[0].paired_change(check.set_name).mde == pytest.approx(found.mde)


def test_panels_are_gated_by_set(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    run = scored_run(tmp_path / "run")
    sets = {
        "exam": ("choice", answers(random, 400, flipped=0.1, drop=0.08)),
        "recall": ("choice", answers(random, 400, flipped=0.1, drop=-0.08)),
        "words": ("cloze", last_words(random, 60, rise=0.5)),
        "news": ("text", texts(random, 60, rise=0.1)),
        "left": ("text", texts(random, 60)),
    }
    write_panel(run / "panels" / "medical", sets)
    drop = {name: {"max_drop": margins} for name, margins in {
        "exam": {"accuracy": "2 points", "accuracy_norm": "4 points", "kl_base_tuned": "0.03 nats/token"},
        "words": {"word_nats": "0.6 nats/word", "accuracy": "10 points", "top1_agreement": "1 points"},
        "news": {"bits_per_byte": "20 %", "kl_base_tuned": "0.04 nats/token"},
    }.items()}  # fmt: skip
    gain = {"recall": {"min_gain": {"accuracy": "2 points", "accuracy_norm": "2 points"}}}
    verdict = gate(run, parse_policy({"panels": {"medical": drop | gain}}))
    assert {(check.set_name, check.metric): check.outcome for check in verdict.checks} == {
        ("medical/exam", "accuracy"): "fail",
        ("medical/exam", "accuracy_norm"): "pass",
        ("medical/exam", "kl_base_tuned"): "pass",
        ("medical/recall", "accuracy"): "pass",
        ("medical/recall", "accuracy_norm"): "fail",
        ("medical/words", "word_nats"): "pass",
        ("medical/words", "accuracy"): "pass",
        ("medical/words", "top1_agreement"): "pass",
        ("medical/news", "bits_per_byte"): "pass",
        ("medical/news", "kl_base_tuned"): "fail",
    }
    assert verdict.ungated == ("domain", "general", "chat", "medical/left")
    check = next(check for check in verdict.checks if check.metric == "accuracy")
    found = check.found
    lost = np.mean([line["base_correct"] - line["model_correct"] for line in sets["exam"][1]])
    assert (found.value, found.n) == (pytest.approx(100 * lost), 400)
    assert check.as_json()["mde"] > 0
    assert "| medical/exam | accuracy lost, points |" in verdict_markdown(verdict)


def test_a_panel_that_cannot_decide_says_how_many_more_items_would(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run")
    lines = answers(np.random.default_rng(0), 100, flipped=0.1)
    write_panel(run / "panels" / "p", {"exam": ("choice", lines)})
    policy = {"panels": {"p": {"exam": {"max_drop": {"accuracy": "3 points"}}}}}
    (check,) = gate(run, parse_policy(policy)).checks
    assert check.outcome == "inconclusive"
    assert re.fullmatch(r"about [\d,]+ more items \(100 now\) would decide, in 80 % of cases", check.remedy)
    needed = 100 + (check.more_items or 0)
    drops = np.array([int(line["base_correct"]) - int(line["model_correct"]) for line in lines])
    won, lost = int(np.sum(drops > 0)), int(np.sum(drops < 0))
    assert check.found.value == won - lost  # the drop: base before model
    alike = Flips(round(won * needed / 100), round(lost * needed / 100), needed)
    assert 100 * alike.high < 3.0


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize(("flipped", "points"), [(0.05, 2), (0.05, 5), (0.1, 2), (0.3, 5)])
def test_at_the_limit_itself_an_accuracy_seldom_passes_or_fails(n: int, flipped: float, points: int) -> None:
    """Simulated; `tests/paired/test_flips.py` enumerates."""
    random, limit, outcomes = np.random.default_rng(n), Margin(float(points), "points"), []
    for _ in range(1500):
        kind = random.choice(3, n, p=[(flipped - points / 100) / 2, (flipped + points / 100) / 2, 1 - flipped])
        scores = {"right": (kind == 0) * 1.0, "base_right": (kind == 1) * 1.0}
        found = METRICS["accuracy"].drop("max_drop", "points", scores, 0.95)
        outcomes.append(Check("s", "general", "max_drop", "accuracy", found, limit, "items").outcome)
    assert outcomes.count("pass") <= 0.05 * 1500
    assert outcomes.count("fail") <= 0.05 * 1500
    assert outcomes.count("pass") + outcomes.count("fail") >= 0.01 * 1500
