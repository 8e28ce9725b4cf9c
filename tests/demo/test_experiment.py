"""The quick demo for real, once: the same code path as `make demo`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acclimate.demo import answers, corpora, prepare
from acclimate.runs.folder import read_summary
from tests.demo.test_corpora import rows_of
from tests.fixtures.nursery import Warm


def demo(output: Path) -> str:
    command = [sys.executable, "-m", "acclimate", "demo", "--quick", "--output", str(output)]
    process = Warm(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, said + errors
    return str(said)


@pytest.mark.real
@pytest.mark.timeout(1600)
def test_the_quick_demo_learns_and_keeps(tmp_path: Path) -> None:
    demo(tmp_path)
    records = read_summary(tmp_path / "summary.json")
    level = {"high", "low", "metric", "n", "role", "run", "seed", "set", "unit", "value"}
    changes = [r for r in records if r["metric"] == "bits_per_byte_change"]
    assert {r["run"] for r in changes} == {"sft", "replay", "mol", "self"}
    assert all(r.keys() == level | {"p", "mde"} for r in changes)
    drift = [r for r in records if "positions" in r]
    assert {r["metric"] for r in drift} >= {"kl_base_tuned", "kl_tuned_base", "top1_agreement"}
    assert all(r.keys() == level | {"positions"} for r in drift)
    assert all(r.keys() == level for r in records if r not in changes and r not in drift)
    value = {(r["run"], r["set"], r["metric"]): r["value"] for r in records}
    base = value["base", "medical", "bits_per_byte"]
    for run in ("sft", "replay", "mol", "self"):
        assert value[run, "medical", "bits_per_byte"] < 0.92 * base, run
    gain = {run: base - value[run, "medical", "bits_per_byte"] for run in ("sft", "mol", "self")}
    assert min(gain["mol"], gain["self"]) > 0.8 * gain["sft"]
    for name in ("general", "chat"):
        assert value["mol", name, "kl_base_tuned"] < 0.75 * value["sft", name, "kl_base_tuned"], name
        assert value["self", name, "kl_base_tuned"] < 0.95 * value["sft", name, "kl_base_tuned"], name
    budget = json.loads((tmp_path / "self-0" / "retain.json").read_text())
    assert budget["sets"]["own"]["value"] <= budget["limits"]["own"] == 0.1
    page = (tmp_path / "report.html").read_text()
    assert "mol" in page
    trials = json.loads((tmp_path / "trials" / "trials.json").read_text())
    assert trials["chosen"] == float(min(trials["bits_per_byte"], key=trials["bits_per_byte"].get))

    started = time.monotonic()
    assert "finished before, nothing to do" in demo(tmp_path)  # a second call trains, downloads and converts nothing
    assert time.monotonic() - started < 60
    assert read_summary(tmp_path / "summary.json") == records

    check_corpora()


def check_corpora() -> None:
    """Of the demo that ran: a test of its own would wait for the same files in another process."""
    data = prepare(Path("~/.cache/acclimate").expanduser(), quick=True)
    assert len(rows_of(data.domain)) > 16_000
    general = rows_of(data.general)
    assert len(general) > 4_500
    assert len({row["text"] for row in general}) == len(general)
    chat = rows_of(data.chat)
    assert len(chat) > corpora.CHAT_PROMPTS_QUICK / 2
    quoted = " ".join(row["messages"][0]["content"] for row in chat)
    assert not any(row["text"].split("\n\n")[-1] in quoted for row in general)
    [(text, _)] = answers.answer(data.model, ["What is the capital of France?"], max_new_tokens=24)
    assert "Paris" in text
