"""What got worse, one by one: documents and panel items, with their text where the folder holds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acclimate.reports import collect, write_report
from acclimate.reports.pictures.figures import hurts
from acclimate.reports.sections.documents import worst
from acclimate.reports.sections.hurts import flip_numbers, flips, worst_documents
from acclimate.runs.panel import panels_of
from acclimate.runs.scores import read_lines
from acclimate.types.errors import RunError
from tests.fixtures.sentences import says
from tests.reports.runs import add_change, add_memorisation, add_panel, drop_change, three_methods, write_run


def write_documents(run: Path, losses: dict[str, float], name: str = "general") -> None:
    """One document of 8 bytes each, which the base reads at 1 bit per byte."""
    nats = 8 * 0.6931471805599453
    columns = {"base_nats": nats, "bytes": 8.0, "tokens": 2.0, "kl_base_tuned": 0.1, "agree": 2.0}
    lines = [
        {"where": f"{name}.txt:{key}", "nats": nats * (1 + loss), "text": key} | columns for key, loss in losses.items()
    ]
    (run / "eval" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_worst_documents_come_first_and_better_ones_not_at_all(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("domain", "chat"):
        (run / "eval" / f"{name}.jsonl").unlink()
    write_documents(run, {"a": 0.1, "b": -0.3, "c": 0.5, "d": 0.0, "e": 0.2})
    folder = collect([run]).folders[0]
    found = worst(folder, 2)
    assert [(one.text, one.where, one.bytes) for one in found] == [("c", "general.txt:c", 8), ("e", "general.txt:e", 8)]
    assert (found[0].base, found[0].tuned, found[0].loss) == pytest.approx((1.0, 1.5, 0.5))
    assert len(worst(folder, 9)) == 3


def test_without_its_text_a_document_is_its_place(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_documents(run, {"a": 9.0})
    path = run / "eval" / "general.jsonl"
    path.write_text(path.read_text().replace('"text": "a", ', ""))
    found = worst_documents(collect([run])).rows["mol"][0]
    assert (found.text, found.where) == ("", "general.txt:a")
    assert "general.txt:a" in write_report([run], tmp_path / "r.html").read_text()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "eval" / "chat.jsonl"
    path.write_text(path.read_text().replace('"bytes"', '"byte"', 1))
    with pytest.raises(RunError) as caught:
        write_report([run], tmp_path / "r.html")
    assert says(caught.value, f"{path}:2: … (KeyError: 'bytes'). … `acclimate eval {run}` …")


def test_sets_are_ranked_by_their_change(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "sft", "sft"), write_run(tmp_path / "mol")]
    for run, change in zip(runs, (0.04, -0.01), strict=True):
        add_change(run, change, half=0.02, mde=0.03, name="general", role="general")
        add_change(run, -0.2, half=0.02, mde=0.03)
        drop_change(run, "chat")
    (picture,) = hurts(collect(runs))
    assert [row[:2] for row in picture.rows] == [
        ("general", "sft"),
        ("general", "mol"),
        ("domain", "sft"),
        ("domain", "mol"),
    ]
    assert picture.rows[0][3:6] == ("0.04", "0.02", "0.06")
    assert picture.title == "Clearly worse than before: general (sft)"
    add_change(write_run(tmp_path / "l2", "l2"), -0.2, half=0.02, mde=0.03)
    assert hurts(collect([tmp_path / "l2"]))[0].title == "No held-out set got clearly worse"
    old = write_run(tmp_path / "old", "lwf")
    for name in ("domain", "general", "chat"):
        drop_change(old, name)
    assert hurts(collect([old])) == []


def test_flipped_items_with_their_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_panel(run)
    data = collect([run])
    panels = [(data.runs[0], panels_of(run, data.folders[0].provenance))]
    (found,) = flips(panels)
    assert found.counts == (("exam", "anatomy", 1, 2), ("exam", "history", 1, 0), ("exam", "last", 0, 1))
    assert [(item.where, item.nats) for item in found.lost] == [("anatomy.jsonl:1", -3.0), ("history.jsonl:1", -3.0)]
    assert [(item.where, item.nats) for item in found.won] == [
        ("anatomy.jsonl:3", 4.0), ("anatomy.jsonl:2", 3.0), ("c.jsonl:1", 1.0),
    ]  # fmt: skip
    rows = flip_numbers(panels).rows
    assert rows[0] == ("mol", "exam", "anatomy", "anatomy.jsonl:1", "the kidney", "the skin", "the kidney", "-3")
    assert rows[-1] == ("mol", "exam", "last", "c.jsonl:1", "another word", "right", "so", "1")
    page = write_report([run], tmp_path / "r.html").read_text()
    assert "Which organ filters blood? (0)" in page
    assert "<bdi>anatomy</bdi> 1 lost, 2 won; <bdi>history</bdi> 1 lost, 0 won" in page


def test_items_of_older_folders_have_no_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_panel(run)
    path = run / "panels" / "exam" / "anatomy.jsonl"
    lines = read_lines(path)
    path.write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k not in ("context", "choices")}) + "\n" for line in lines)
    )
    panels = [(collect([run]).runs[0], panels_of(run, collect([run]).folders[0].provenance))]
    assert flip_numbers(panels).rows[0][4:7] == ("choice 1", "choice 2", "choice 1")
    assert "anatomy.jsonl:1" in write_report([run], tmp_path / "r.html").read_text()


def test_the_table_of_a_panel(tmp_path: Path) -> None:
    runs = three_methods(tmp_path)
    add_panel(runs[0])
    add_panel(runs[2])
    page = write_report(runs, tmp_path / "r.html").read_text()
    section = page[page.index('<section id="panels">') :]
    section = section[: section.index("</section>")]
    assert section.count('<h3 class="question">') == 1  # asked the same, they stand in one table
    rows = [row for row in section.split("<tr")[2:] if "history" in row or "anatomy" in row]
    history = next(row for row in rows if "<bdi>history</bdi></th>" in row and "<bdi>sft</bdi>" in row)
    for shown in ("50.0\u00a0%", "25.0\u00a0%", "−25.0\u00a0points", "−37.5 to −12.5\u00a0points", "0.020",
                  "31.2\u00a0points", "0.062"):  # fmt: skip
        assert shown in history, shown
    assert 'class="claimed"' in history
    assert section.index("<bdi>history</bdi></th>") < section.index("<bdi>anatomy</bdi></th>")  # the worst first


@pytest.mark.parametrize(("name", "missing"), [("panel.json", "panel"), ("anatomy.jsonl", "base_correct")])
def test_a_damaged_panel_is_named(tmp_path: Path, name: str, missing: str) -> None:
    run = write_run(tmp_path / "run")
    add_panel(run)
    path = run / "panels" / "exam" / name
    path.write_text("{}\n")
    with pytest.raises(RunError) as caught:
        write_report([run], tmp_path / "r.html")
    assert says(caught.value, f"'{path}' … (KeyError: '{missing}'). … `acclimate eval RUN --panel`, …")


def test_a_task_without_an_accuracy_does_not_stop_the_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_panel(run)
    folder = run / "panels" / "exam"
    document = json.loads((folder / "panel.json").read_text())
    document["sets"]["essays"] = document["sets"]["anatomy"] | {"kind": "lm_eval"}
    (folder / "panel.json").write_text(json.dumps(document))
    lines = [
        {"where": "1", "base_f1": 0.2, "model_f1": 0.4},
        {"where": "2", "base_correct": True, "model_correct": False},
    ]
    (folder / "essays.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "anatomy" in write_report([run], tmp_path / "r.html").read_text()


def test_what_was_memorised(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_memorisation(run, missing="notes")
    page = write_report([run], tmp_path / "r.html").read_text()
    section = page[page.index('<section id="memorisation">') :]
    for shown in ("20 of 1,200", "−0.300", "−0.250", "+0.050", "0.055", "notes: not measured (streamed)."):
        assert shown in section, shown
    (run / "memorisation" / "check.json").write_text('{"sources": {"domain": {}}}')
    with pytest.raises(RunError) as caught:
        write_report([run], tmp_path / "r.html")
    assert says(caught.value, f"'{run}/memorisation/check.json' … (KeyError: 'measured'). … `acclimate eval {run}`.")
