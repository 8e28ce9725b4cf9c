from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from acclimate.reports import collect, summary_table, write_report
from acclimate.reports.pictures.picture import inert
from acclimate.runs.folder import read_summary, write_summary
from acclimate.types.errors import RunError
from tests.reports.runs import three_methods, write_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202egnp.exe"


class Page(HTMLParser):
    """Elements with their attributes, and the cells of the compact table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.board: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = self._inside or dict(attrs).get("id") == "board"
        if self._inside and tag == "tr":
            self.board.append([])
        if self._inside and tag in ("td", "th"):
            self.board[-1].append("")
        if self._inside and tag == "small":
            self.board[-1][-1] += "|"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "table"

    def handle_data(self, data: str) -> None:
        if self._inside and self.board and self.board[-1]:
            self.board[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def seeds_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("seeds")
    return write_report(three_methods(folder, seeds=3), folder / "report.html").read_text(encoding="utf-8")


def assert_self_contained(text: str) -> None:
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text.lower()
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    for tag, attributes in Page(text).elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        target = attributes.get("href") or attributes.get("src") or "#"
        assert target.startswith(("#", "data:")), target


def test_the_page_is_self_contained(seeds_page: str) -> None:
    assert_self_contained(seeds_page)
    assert len(seeds_page) < 800_000


def test_sections_come_in_order(seeds_page: str) -> None:
    found = re.findall(r'<section[^>]* id="(\w+)"', seeds_page)
    assert found == [
        "verdict", "summary", "gained", "kept", "hurts", "tradeoff", "learning", "generations", "data", "provenance",
    ]  # fmt: skip


def test_every_picture_speaks_and_brings_its_numbers(seeds_page: str) -> None:
    pictures = [attributes for tag, attributes in Page(seeds_page).elements if tag == "svg"]
    assert len(pictures) == seeds_page.count("<figure") == 15
    assert all(picture["role"] == "img" and len(picture["aria-label"] or "") > 30 for picture in pictures)
    assert seeds_page.count('href="data:text/csv') == len(pictures) + 2  # all measures, and the worst documents
    assert "#0101" not in seeds_page  # every sentinel became a variable of the page
    assert "#0102" not in seeds_page


def test_ids_are_unique(seeds_page: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(seeds_page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_same_method_has_the_same_colour_whatever_it_is_compared_with(tmp_path: Path) -> None:
    alone = write_report([write_run(tmp_path / "mol")], tmp_path / "a.html").read_text()
    assert '<span class="mark m3"' in alone
    assert '<span class="mark m1"' not in alone


def test_every_number_of_the_table_comes_from_the_files(tmp_path: Path) -> None:
    runs = three_methods(tmp_path)
    board = Page(write_report(runs, tmp_path / "report.html").read_text()).board
    assert [row[0] for row in board[1:]] == ["base", "sft", "replay", "mol"]
    for row, run in zip(board[2:], runs, strict=True):
        records = read_summary(run / "summary.json")
        found = {(r["run"] == "base", r["set"], r["metric"]): r for r in records}

        def cell(key: tuple[bool, str, str], scale: float = 1, digits: int = 3, unit: str = "") -> str:
            record = found[key]  # noqa: B023
            value, low, high = (f"{scale * record[name]:.{digits}f}" for name in ("value", "low", "high"))
            return f"{value}{unit}|{low} to {high}{unit}"

        base, tuned = (found[is_base, "domain", "bits_per_byte"]["value"] for is_base in (True, False))
        change = found[False, "domain", "bits_per_byte_change"]
        low, high = (-100 * change[name] / base for name in ("low", "high"))
        assert row[1:] == [
            cell((False, "domain", "bits_per_byte")),
            f"+{100 * (1 - tuned / base):.1f}\u00a0%|+{high:.1f} to +{low:.1f}\u00a0%",
            cell((False, "general", "kl_base_tuned")),
            cell((False, "chat", "kl_base_tuned")),
            cell((False, "chat", "top1_agreement"), 100, 1, "\u00a0%"),
            cell((False, "general", "bits_per_byte")),
        ]
        assert board[1][1] == cell((True, "domain", "bits_per_byte"))


def test_csv_holds_the_numbers_and_no_formula(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "=cmd()")
    text = write_report([run], tmp_path / "report.html").read_text()
    links = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', text)
    rows = unquote(links[1]).splitlines()
    assert rows[0].startswith("run,seed,bits per byte")
    assert rows[1].startswith("base,,1.05,")
    assert rows[2].startswith("'=cmd(),0,0.82,")
    assert {row.split(",")[0] for row in unquote(links[0]).splitlines()} == {"run", "base", "'=cmd()"}


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", " =1", "\t=1", "\r=1", "--1"])
def test_a_formula_is_quoted(cell: str) -> None:
    assert inert(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "-0.25", "+3", "1e-05", "mol", "a=b", "−2 %", "x-1"])
def test_numbers_and_words_are_left_alone(cell: str) -> None:
    assert inert(cell) == cell


def test_hostile_text_is_text(tmp_path: Path) -> None:
    names = {"domain": HOSTILE, "chat": "$x^{$", "general": "שלום עולם"}
    run = write_run(tmp_path / "run", HOSTILE, names=names, answer=HOSTILE + "\ud800" + "x" * 5000)
    provenance = json.loads((run / "provenance.json").read_text()) | {"host": HOSTILE, "long": "y" * 9000}
    (run / "provenance.json").write_text(json.dumps(provenance))
    text = write_report([run], tmp_path / "report.html", title=HOSTILE).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "<script>alert(1)" in text.replace("&lt;", "<").replace("&gt;", ">")
    assert "x" * 1300 not in text
    assert "more characters)" in text
    assert "y" * 400 not in text


def test_the_home_folder_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    run = write_run(tmp_path / "run", config={"model": {"path": "/home/ada/models/tiny"}})
    provenance = json.loads((run / "provenance.json").read_text()) | {"argv": ["/home/ada/bin/acclimate", "train"]}
    (run / "provenance.json").write_text(json.dumps(provenance))
    assert "/home/ada" not in write_report([run], tmp_path / "report.html").read_text()


def test_a_run_that_logged_and_measured_little(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=0)
    (run / "generations.json").unlink()
    (run / "data.json").write_text("{}")
    records = [r for r in read_summary(run / "summary.json") if r["metric"] == "bits_per_byte"]
    write_summary(run / "summary.json", records)
    text = write_report([run], tmp_path / "report.html").read_text()
    assert 'id="learning"' not in text
    assert 'id="kept"' not in text
    assert "what was kept is unknown" in text


def test_the_report_is_whole_or_absent(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    output = write_report([run], tmp_path / "deep" / "report.html")
    assert [path.name for path in output.parent.iterdir()] == ["report.html"]
    assert stat.S_IMODE(output.stat().st_mode) & 0o400
    before = output.read_bytes()
    assert write_report([run], output).read_bytes() == before  # and the same files give the same bytes
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(RunError, match=r"taken\.html' cannot be written"):
        write_report([run], tmp_path / "taken.html")
    assert not list(tmp_path.glob(".taken*"))


def test_terminal_table_shows_the_same_numbers(tmp_path: Path) -> None:
    data = collect(three_methods(tmp_path, seeds=2, names={"domain": "[red]medical"}))
    table = summary_table(data)
    assert table.row_count == 4
    cells = [str(cell) for column in table.columns for cell in column.cells]
    measure = data.runs[2].measure("chat", "kl_base_tuned")
    assert measure is not None
    assert any(cell.startswith(f"{measure.value:.3f}\n") for cell in cells)
    assert any("[red]medical" in str(column.header) for column in table.columns)
