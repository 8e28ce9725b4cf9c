"""Drift elsewhere against drift on the domain: which sets and runs may be drawn, where the line lies, what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from acclimate.reports.collect import collect
from acclimate.reports.html import render
from acclimate.reports.pictures.figures import foretold
from acclimate.reports.pictures.forecast import Distances, forecast
from acclimate.reports.pictures.palette import Slot
from tests.reports.runs import three_methods, write_run


def run(label: str, seed: int, domain: float, part: float, alone: bool = True, **elsewhere: float) -> Distances:
    learned = frozenset({"law"}) if alone else frozenset({"law", "wiki"})
    sets = {"news": part * domain, "wiki": 0.5} | elsewhere
    return Distances(label, Slot(1 + len(label) % 8), seed, domain, sets, learned, alone)


ALONE = [run("sft", seed, 1.0 + seed, 0.3) for seed in range(3)]
ANCHORED = [run("held", seed, 1.2, 0.05, alone=False) for seed in range(3)]


def test_the_line_is_that_of_runs_on_the_domain_alone() -> None:
    (picture,) = forecast([*ALONE, *ANCHORED])
    assert "The line: 0.30 of the drift on the domain, through the 3 runs" in picture.caption
    assert "Of the 3 that saw other text 3 lie below the shade" in picture.caption
    rows = {(row[0], row[1]): row[2:] for row in picture.rows}
    assert rows["sft", "2"] == ("3", "0.9", "0.9", "yes")
    assert rows["held", "0"] == ("1.2", "0.06", "0.36", "no")
    assert {"var(--run-4)", "var(--run-5)"} <= set(re.findall(r"var\(--run-\d\)", picture.svg))


def test_a_set_that_one_of_the_runs_learned_from_is_not_elsewhere() -> None:
    (picture,) = forecast([*ALONE, *ANCHORED])
    assert picture.caption.startswith("Elsewhere: news, which none of these runs learned from.")
    (picture,) = forecast([*ALONE, *[run("more", seed, 2.0, 0.3) for seed in range(3)]])
    assert picture.caption.startswith("Elsewhere: news and wiki, which")
    assert "saw other text" not in picture.caption


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [*ALONE, *ANCHORED[:2]],  # five
        [*ALONE[:2], *ANCHORED, run("more", 0, 1.0, 0.1, alone=False)],  # two of them on the domain alone
        [Distances(r.label, r.slot, r.seed, r.domain, {"wiki": 0.5}, r.learned, r.alone) for r in [*ALONE, *ANCHORED]],
        [run(f"sft{n}", n, 0.0, 0.3) for n in range(6)],  # untouched: no logarithm
    ],
)
def test_no_picture_where_it_would_tell_nothing(runs: list[Distances]) -> None:
    assert forecast(runs) == []


def test_a_run_that_lacks_a_set_is_left_out() -> None:
    wide = [run("sft", seed, 1.0, 0.3, court=0.4) for seed in range(6)]
    (picture,) = forecast([*wide, run("sft", 7, 1.0, 0.3), *ANCHORED])
    assert "news and court" in picture.caption
    assert [row[1] for row in picture.rows] == ["0", "1", "2", "3", "4", "5"]


def test_a_report_draws_it_from_six_runs_on(tmp_path: Path) -> None:
    folders = three_methods(tmp_path, seeds=3)
    data = collect(folders)
    (picture,) = foretold(data)
    assert len(picture.rows) == 9
    assert picture.caption.startswith("Elsewhere: chat, which")  # replay and mol learned from general
    page = render(data)
    assert 'id="forecast"' in page
    assert (
        page.index("Gain against cost")
        < page.index("Does drift on the domain foretell")
        < page.index("Learning curves")
    )
    assert foretold(collect(three_methods(tmp_path / "few"))) == []


def test_a_report_leaves_out_runs_that_the_text_steered(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"sft-{seed}", "sft", seed) for seed in range(6)]
    (picture,) = foretold(collect(folders))
    assert picture.caption.startswith("Elsewhere: general and chat, which")
    (folders[0] / "retain.json").write_text('{"version": 1, "outcome": "met"}')
    assert foretold(collect(folders)) == []  # five are left


def test_every_run_is_named_whatever_its_name_begins_with() -> None:
    (picture,) = forecast([*ALONE, *[run("_held", seed, 1.2, 0.05, alone=False) for seed in range(3)]])
    assert ">_held<" in picture.svg
    assert ">sft<" in picture.svg
