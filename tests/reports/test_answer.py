"""The first screen: the answer in words, its mark, the one changed answer, the scale, and overlap beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acclimate.methods.registry import METHODS
from acclimate.reports import collect, write_report
from acclimate.reports.answers import changed
from acclimate.reports.collect import ReportData
from acclimate.reports.pictures.palette import slots_of
from acclimate.reports.sections.glances import glances_of
from acclimate.reports.sections.sources import shared_text
from acclimate.reports.words.answer import Answer, answer
from acclimate.reports.words.methods import WORDS
from tests.reports.runs import add_change, edit_summary, write_run


def of(*runs: Path) -> Answer:
    return answer(collect(runs))


def agreement(run: Path, value: float) -> Path:
    """Sets what part of chat tokens keep the base's choice."""
    edit_summary(run, set="chat", metric="top1_agreement", value=value, low=value - 0.02, high=value + 0.02)
    return run


def quiet(run: Path) -> Path:
    """No change on general and chat text, and sure of it."""
    for name in ("general", "chat"):
        add_change(run, 0.0, half=0.01, mde=0.014, name=name, role=name)
    return run


def test_a_run_that_kept_and_one_that_forgot(tmp_path: Path) -> None:
    kept = of(agreement(quiet(write_run(tmp_path / "mol")), 0.82))
    assert (kept.kind, kept.mark) == ("kept", "✓")
    assert str(kept).replace("\u00a0", " ") == (
        "✓ Kept. It predicts unseen domain text 22 % better and still chooses the base's next word 82 times in 100 on "
        "chat."
    )
    run = agreement(quiet(write_run(tmp_path / "sft", "sft", general=1.02)), 0.69)
    add_change(run, 0.09, half=0.02, mde=0.03, name="general", role="general")
    forgot = of(run)
    assert (forgot.kind, forgot.mark) == ("forgot", "✗")
    assert "but predicts general text 10 % worse; it now chooses the base's next word only 69 times in 100" in str(
        forgot
    ).replace("\u00a0", " ")


def test_a_small_clear_loss_is_no_forgetting_and_a_wide_interval_no_keeping(tmp_path: Path) -> None:
    small = quiet(write_run(tmp_path / "a", general=0.94))
    add_change(small, 0.01, half=0.005, mde=0.007, name="general", role="general")
    assert of(agreement(small, 0.82)).kind == "kept"
    wide = quiet(write_run(tmp_path / "b", general=0.94))
    add_change(wide, 0.01, half=0.2, mde=0.3, name="general", role="general")
    found = of(agreement(wide, 0.82))
    assert found.kind == "unclear"
    assert "may predict general text worse (up to" in found.sentence


def test_moved_and_learned_nothing(tmp_path: Path) -> None:
    moved = of(agreement(quiet(write_run(tmp_path / "a")), 0.6))
    assert moved.kind == "moved"
    assert "only 60 times in 100" in moved.sentence
    assert of(write_run(tmp_path / "b", domain=1.2)).kind == "worse"
    assert of(write_run(tmp_path / "c", domain=1.03)).kind == "unlearned"


def test_beside_ordinary_tuning(tmp_path: Path) -> None:
    runs = [
        agreement(quiet(write_run(tmp_path / "mol", kl_chat=0.11)), 0.82),
        agreement(quiet(write_run(tmp_path / "sft", "sft", kl_chat=0.38, domain=0.83)), 0.7),
    ]
    found = of(*runs)
    assert found.about
    assert found.about.method == "mol"
    assert "mol predicts unseen domain text 22\u00a0% better" in found.sentence
    assert "82 times in 100 on chat (ordinary fine-tuning: 70" in found.sentence


def test_one_run_has_a_scale(tmp_path: Path) -> None:
    gained, cost = glances_of(collect([write_run(tmp_path / "mol")]))
    assert [bar.label for bar in gained.bars] == ["base", "mol"]
    assert [(bar.label, bar.reference) for bar in cost.bars] == [
        ("mol", False), ("ordinary fine-tuning, typically", True),
    ]  # fmt: skip
    assert cost.bars[0].length == pytest.approx(0.11 / 0.4)


def test_bars_are_gains_and_the_best_comes_first(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "sft", "sft", domain=0.9, kl_chat=0.4), write_run(tmp_path / "mol", domain=0.8)]
    gained, cost = glances_of(collect(runs))
    assert [bar.label for bar in gained.bars] == ["mol", "sft"]
    assert gained.bars[0].text.startswith("+23.8")
    assert not any(bar.reference for bar in cost.bars)


def answers(run: Path, found: dict[tuple[str, str], tuple[str, str]]) -> Path:
    records = [
        {"set": name, "prompt": prompt, "base": base, "tuned": tuned} for (name, prompt), (base, tuned) in found.items()
    ]
    (run / "generations.json").write_text(json.dumps({"version": 1, "answers": records}))
    return run


def one(data: ReportData) -> tuple[str, list[str]]:
    found = changed(data, answer(data))
    assert found
    return found.prompt, list(found.answers)


def test_the_answer_that_the_control_changed_and_the_run_kept(tmp_path: Path) -> None:
    same, other = "a b c d e f", "g h i j k l"
    mol = {("chat", "1"): (same, same), ("chat", "2"): (same, other), ("domain", "3"): (same, same)}
    sft = {("chat", "1"): (same, other), ("chat", "2"): (same, other), ("domain", "3"): (same, other)}
    runs = [
        answers(write_run(tmp_path / "mol"), mol),
        answers(write_run(tmp_path / "sft", "sft", kl_chat=0.4), sft),
    ]
    assert one(collect(runs)) == ("1", ["", "mol", "sft"])


def test_of_one_run_what_it_forgot_or_learned(tmp_path: Path) -> None:
    same, near, other = "a b c d e f", "a b c d e x", "g h i j k l"
    both = {("chat", "1"): (same, near), ("chat", "2"): (same, other), ("domain", "3"): (same, near)}
    good = answers(agreement(quiet(write_run(tmp_path / "mol")), 0.82), both)
    assert one(collect([good])) == ("3", ["", "mol"])
    bad = answers(agreement(quiet(write_run(tmp_path / "sft", "sft")), 0.5), both)
    assert one(collect([bad])) == ("2", ["", "sft"])
    still = answers(write_run(tmp_path / "still"), {("chat", "1"): (same, same)})
    assert changed(collect([still]), of(still)) is None


def test_overlap_stands_beside_the_verdict(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mol")
    data = json.loads((run / "data.json").read_text())
    data["overlap"] = [
        {"train_source": "domain", "heldout_source": "domain", "documents": 20, "documents_hit": 20, "ngrams": 9,
         "ngrams_hit": 9},
    ]  # fmt: skip
    (run / "data.json").write_text(json.dumps(data))
    said, warned = shared_text(collect([run]))
    assert warned
    assert said.startswith("20 of 20 held-out domain documents share text with training documents")
    page = write_report([run], tmp_path / "r.html").read_text()
    assert page.index("20 of 20 held-out") < page.index('<section id="summary">')


def test_without_text(tmp_path: Path) -> None:
    run = answers(write_run(tmp_path / "mol"), {("chat", "SECRET ask"): ("a b", "SECRET reply")})
    for path in (run / "eval").glob("*.jsonl"):
        path.write_text(
            path.read_text().replace('"where": "', '"where": "/SECRET/').replace('"text": "', '"text": "SECRET words ')
        )
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("data/domain.jsonl", "/SECRET/notes.jsonl"))
    shown = write_report([run], tmp_path / "a.html").read_text()
    assert {word for word in ("SECRET ask", "SECRET reply", "SECRET words", "/SECRET/notes") if word in shown} == {
        "SECRET ask", "SECRET reply", "SECRET words", "/SECRET/notes",
    }  # fmt: skip
    hidden = write_report([run], tmp_path / "b.html", with_text=False).read_text()
    assert "SECRET" not in hidden
    assert "document" in hidden


def test_every_method_has_words_and_a_colour_of_its_own() -> None:
    assert METHODS.keys() == WORDS.keys()
    assert slots_of({"x": "mol"})["x"] == slots_of({"y": "sft", "z": "mol"})["z"]
