"""Two runs are told apart by their documents, in report, terminal, card and comparison alike."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acclimate.paired.ratio import ratio
from acclimate.reports import collect, model_card
from acclimate.reports.html import render
from acclimate.reports.words.pairs import against
from acclimate.runs.scores import read_places, read_scores, write_scores
from acclimate.verbs.compare.pages import told_apart
from acclimate.verbs.compare.standing import standings
from tests.compare.tables import row, texts
from tests.reports.runs import add_change, write_run
from tests.test_wrong_inputs import run_cli


def alike(folder: Path) -> list[Path]:
    """sft and mol, which differs by 0.01 bits/byte and a part of the divergence, on every document by about as much."""
    sft = write_run(folder / "sft", "sft", domain=0.83, kl_chat=0.12)
    mol = write_run(folder / "mol", "mol", domain=0.82, kl_chat=0.11)
    random = np.random.default_rng(0)
    for name in ("domain", "chat"):
        path = sft / "eval" / f"{name}.jsonl"
        scores, part = read_scores(path), random.uniform(0.5, 1.5, 40)
        nats = scores["nats"] - 0.01 * part * math.log(2) * scores["bytes"]
        moved = {"nats": nats, "kl_base_tuned": scores["kl_base_tuned"] * (1 - 0.08 * part)}
        write_scores(mol / "eval" / f"{name}.jsonl", read_places(path), scores | moved)
    return [sft, mol]


def far(folder: Path) -> list[Path]:
    """Two runs whose intervals in summary.json are far from each other, and whose documents differ either way."""
    return [
        write_run(folder / method, method, domain=domain, kl_chat=kl, spread=0.001)
        for method, domain, kl in (("sft", 0.83, 0.12), ("mol", 0.82, 0.11))
    ]


def terminal(runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    code, out, err = run_cli(["report", *map(str, runs)], monkeypatch, capsys)
    assert (code, err) == (0, "")
    return " ".join(out.split())


def test_overlapping_intervals_hide_no_paired_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = alike(tmp_path)
    data = collect(runs)
    alone = [ratio(s["kl_base_tuned"], s["tokens"]) for run in runs for s in [read_scores(run / "eval" / "chat.jsonl")]]
    assert alone[1].high > alone[0].low
    assert against(data, data.runs[1], data.role("chat")[0], "kl_base_tuned")["sft"].p < 0.01
    for page in (render(data), terminal(runs, monkeypatch, capsys)):
        assert "and moved 8 % less from the base on chat than sft" in " ".join(page.split()).replace("\u00a0", " ")
        assert "It also learned more of the domain than sft" in page
        assert "cannot be told" not in page


def test_intervals_that_do_not_touch_make_no_paired_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = far(tmp_path)
    data = collect(runs)
    drifts = [run.measure("chat", "kl_base_tuned") for run in data.runs]
    assert drifts[0]
    assert drifts[1]
    assert (drifts[1].high or 1) < (drifts[0].low or 0)
    for page in (render(data), terminal(runs, monkeypatch, capsys)):
        assert "its distance from the base on chat cannot be told from sft" in page
        assert "What the two gained on the domain cannot be told apart" in page
        assert "paired over 40 documents, p = 0." in page.replace("\u00a0", " ")


def test_a_card_goes_by_the_paired_change(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol", domain=1.03)
    add_change(run, -0.02, half=0.008, mde=0.011)
    assert "mol learned the domain" in model_card(run)
    run = write_run(tmp_path / "sft", "sft", domain=0.9, spread=0.001)
    add_change(run, -0.15, half=0.2, mde=0.3)
    assert "It is not clear that sft learned the domain" in model_card(run)


def test_a_comparison_goes_by_its_documents() -> None:
    close = [
        row("sft", found=texts(0.20, 0.12, spread=0.05)),
        row("mol", found=texts(0.21, 0.11, spread=0.05)),
    ]
    sft, mol = standings(close, ["sft", "mol"])
    assert sft.gain
    assert mol.gain
    assert sft.gain.estimate.high > mol.gain.estimate.low
    assert told_apart([sft, mol]) == "Told apart, paired over the same documents: sft behind mol (p <\u202f0.001)."
    apart = [replace(close[0]), row("mol", found=texts(0.21, 0.11, spread=0.05, seed=1))]
    assert told_apart(standings(apart, ["sft", "mol"])).startswith("Cannot be told apart: sft behind mol (p 0.")


def test_holm_over_all_that_a_run_is_held_against(tmp_path: Path) -> None:
    runs = alike(tmp_path)
    pair = collect(runs)
    chat = pair.role("chat")[0]
    alone = against(pair, pair.runs[1], chat, "kl_base_tuned")["sft"]
    several = collect([*runs, write_run(tmp_path / "l2", "l2", kl_chat=0.4), write_run(tmp_path / "lwf", "lwf")])
    found = against(several, several.runs[1], chat, "kl_base_tuned")
    assert found["l2"].below
    assert not found["lwf"].apart
    assert found["sft"].p == pytest.approx(3 * alone.p)


def test_runs_of_other_documents_cannot_be_compared_pairwise(tmp_path: Path) -> None:
    runs = alike(tmp_path)
    for name in ("domain", "chat"):
        path = runs[1] / "eval" / f"{name}.jsonl"
        path.write_text(path.read_text().replace('"where": "', '"where": "elsewhere '))
    page = render(collect(runs))
    assert "not measured on the same documents" in page
    assert "less from the base on chat than" not in page
