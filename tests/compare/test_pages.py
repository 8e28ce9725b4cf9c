"""What a comparison is shown as: its answer first, differences to the best control, chance, LaTeX and CSV."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from acclimate.reports.page import markdown
from acclimate.runs.cells import ItemScores, Row
from acclimate.verbs.compare import Outcome, load_comparison
from acclimate.verbs.compare.pages import page_of, write_pages
from acclimate.verbs.compare.pages.answer import answer, foremost
from tests.compare.tables import row, texts

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def outcome(folder: Path, rows: list[Row], methods: dict[str, str], seeds: int = 1) -> Outcome:
    """Of a comparison whose methods have names of their own."""
    run = {"name": "x", "model": {"path": MODEL}, "optimizer": {"learning_rate": 1e-3}, "lora": {"rank": 16}}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    sections = {name: {"set": {"method": method}} for name, method in methods.items()}
    data = {"run": "run.yaml", "seeds": list(range(seeds)), "methods": sections}
    (folder / "compare.yaml").write_text(yaml.safe_dump(data))
    return Outcome(load_comparison(folder / "compare.yaml"), tuple(rows))


METHODS = {"plain": "sft", "mixed": "replay", "held": "mol"}


def three(folder: Path) -> Outcome:
    found = {"plain": (0.21, 0.4), "mixed": (0.2, 0.25), "held": (0.2, 0.1)}
    rows = [row(name, found=texts(*numbers, spread=0.02)) for name, numbers in found.items()]
    return outcome(folder, rows, METHODS)


def test_the_answer_is_the_paired_difference_to_the_best_control(tmp_path: Path) -> None:
    found = answer(three(tmp_path))
    assert found
    assert (found.best.method, found.rival.method) == ("held", "plain")  # plain gains clearly more than mixed
    rows = [one for one in three(tmp_path).rows if one.method != "plain"]
    found = answer(outcome(tmp_path, rows, {"mixed": "replay", "held": "mol"}))
    assert found
    assert (found.kind, found.word) == ("kept", "Ahead")
    assert "held against mixed (the best control, fine-tuning with general text mixed in)" in found.sentence
    assert "drifts 0.150 nats/token less [0.150 to 0.150], p < 0.001" in found.sentence.replace("\u00a0", " ")
    assert "gains about as much (0.0 points less" in found.sentence


def test_less_drift_for_less_gain_is_a_trade_and_no_difference_no_lead(tmp_path: Path) -> None:
    rows = [row("plain", found=texts(0.3, 0.4)), row("held", found=texts(0.2, 0.1))]
    found = answer(outcome(tmp_path, rows, METHODS))
    assert found
    assert found.word == "A trade"
    assert "gains 10.0 points less" in found.sentence
    rows = [row("plain", found=texts(0.3, 0.1)), row("held", found=texts(0.3, 0.1))]
    found = answer(outcome(tmp_path, rows, METHODS))
    assert found
    assert (found.kind, found.word) == ("unclear", "Not told apart")
    assert answer(outcome(tmp_path, rows[:1], METHODS)) is None


def test_the_least_drift_among_the_largest_gains(tmp_path: Path) -> None:
    standings = three(tmp_path).standings
    assert foremost(standings).method == "plain"
    assert foremost([one for one in standings if one.method != "plain"]).method == "held"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    found = three(folder)
    items = {"exam/quiz": ItemScores(base=[0, 1] * 20, model=[1, 1] * 20)}
    panels = [row(name, kind="panel", items=items, made={"chance": {"exam/quiz": 0.25}}) for name in METHODS]
    write_pages(Outcome(found.comparison, (*found.rows, *panels)), folder)
    return folder


def test_the_page_opens_with_its_answer_and_names_the_model(pages: Path) -> None:
    text = (pages / "comparison.md").read_text()
    first, second, *_ = text.split("\n\n")
    assert first == "# compare"
    assert second.startswith("**")
    assert "held against plain" in second
    assert "## Difference to plain" in text
    assert f"| model.path | {MODEL} |" in text
    assert "| lora.rank | 16 |" in text
    assert "![" in text
    assert "(gain-drift.svg)" in text
    html = (pages / "comparison.html").read_text()
    assert html.index("held against plain") < html.index("<h2>")
    assert "<script" not in html
    assert "://" not in html
    assert (pages / "gain-drift.svg").is_file()


def test_chance_stands_beside_accuracies_and_minus_is_a_minus(pages: Path) -> None:
    text = (pages / "comparison.md").read_text()
    assert "| exam/quiz | held | 40 | 25.0\u00a0% | 50.0\u00a0% | +50.0 [" in text.replace("**", "")
    section = text[text.index("## Difference") : text.index("## Costs")]
    assert "[-" not in section


def test_latex_and_csv_by_set(pages: Path) -> None:
    tex = (pages / "comparison.tex").read_text()
    assert r"\toprule" in tex
    assert "held & +20.0 [" in tex
    assert tex.isascii()
    with (pages / "comparison-sets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    domain = next(r for r in rows if (r["set"], r["method"], r["metric"]) == ("domain", "held", "bits_per_byte_change"))
    assert float(domain["value"]) == pytest.approx(-0.2, abs=0.02)
    quiz = next(r for r in rows if r["set"] == "exam/quiz")
    assert (quiz["base"], quiz["chance"]) == ("0.5", "0.25")


def test_colours_are_those_of_a_report(tmp_path: Path) -> None:
    (picture, *_) = next(block.pictures for block in page_of(three(tmp_path)).blocks if block.pictures)
    assert "var(--run-1)" in picture.svg  # sft
    assert "var(--run-3)" in picture.svg  # mol
    assert "var(--run-4)" not in picture.svg


def test_a_table_outlives_its_configuration(tmp_path: Path) -> None:
    found = three(tmp_path)
    (tmp_path / "run.yaml").unlink()
    assert "| weights of the base | b |" in markdown(page_of(found))


def test_drift_elsewhere_against_drift_on_the_domain(tmp_path: Path) -> None:
    """From six runs on, three of them on the domain alone; a run's panel is measured on it."""
    methods = {"plain": "sft", "held": "mol", "prepared": "ewc"}
    rows = []
    for method, drift in {"plain": 0.04, "held": 0.01, "prepared": 0.5}.items():
        tokens = {"domain": 100.0} | ({"general": 100.0} if method == "held" else {})
        for seed in range(3):
            rows.append(row(method, seed, found=texts(0.2, 0.4), tokens=tokens))
            news = {"panel/news": texts(0.0, drift)["general"]}
            rows.append(row(method, seed, kind="panel", found=news))
    (block,) = (b for b in page_of(outcome(tmp_path, rows, methods, 3)).blocks if b.title.startswith("Drift elsewhere"))
    (picture,) = block.pictures
    assert picture.caption.startswith("Elsewhere: panel/news, which none of these runs learned from. The line: 0.40 of")
    assert {line[0] for line in picture.rows} == {"plain", "held"}  # ewc's store holds general text
    assert {line[3] for line in picture.rows} == {"0.04", "0.01"}
    assert "3 lie below the shade" in picture.caption
    steered = [replace(one, made={"retain": {}}) if one.method == "held" else one for one in rows]
    blocks = page_of(outcome(tmp_path, steered, methods, 3)).blocks
    assert not [block for block in blocks if block.title.startswith("Drift elsewhere")]
