"""Gain against cost: who is beaten, and what the picture says of it."""

from __future__ import annotations

from acclimate.paired.estimate import Estimate
from acclimate.reports.pictures.palette import Slot
from acclimate.reports.pictures.pareto import Point, dominated, pareto


def point(label: str, x: float, y: float) -> Point:
    return Point(label, Slot(1 + len(label) % 8), Estimate(x, x - 1, x + 1, 40), Estimate(y, y - 0.1, y + 0.1, 40))


def test_a_point_is_beaten_by_one_that_is_better_at_one_and_no_worse_at_the_other() -> None:
    points = [point("a", 10, 1.0), point("b", 8, 1.0), point("c", 10, 1.2), point("d", 12, 2.0), point("e", 10, 1.0)]
    assert dominated(points) == [False, True, True, False, False]  # equals do not beat each other
    assert dominated([point("a", 10, 1.0)]) == [False]


def test_the_picture_brings_intervals_and_says_who_is_beaten() -> None:
    seeds = Point("many", Slot(3), Estimate(9, n=40), Estimate(-0.5, -0.7, -0.3, 40), [(0, 8.5, -0.4), (1, 9.5, -0.6)])
    picture = pareto("p", "Which?", [point("best", 10, -1.0), seeds], "gain, %", "cost,\nnats")
    assert picture.columns == (
        "run", "seed", "gain, %", "low (95 %)", "high (95 %)", "cost, nats", "low (95 %)", "high (95 %)",
        "another run is better at both",
    )  # fmt: skip
    assert picture.rows == (
        ("best", "", "10", "9", "11", "-1", "-1.1", "-0.9", "no"),
        ("many", "mean", "9", "", "", "-0.5", "-0.7", "-0.3", "yes"),
        ("many", "0", "8.5", "", "", "-0.4", "", "", ""),
        ("many", "1", "9.5", "", "", "-0.6", "", "", ""),
    )
    assert "Hollow" in picture.caption
    assert "Hollow" not in pareto("p", "Which?", [point("a", 1, 1.0)], "x", "y").caption
    assert 'aria-label="Which? best 10, -1; many 9, -0.5"' in picture.svg


def test_many_runs_are_named_in_a_column_and_outliers_leave_the_others_readable() -> None:
    points = [point(f"run {index}", 20 + index, 0.1 + 0.02 * index) for index in range(11)]
    worst = point("worst", -60, 3.0)
    picture = pareto("p", "Which?", [*points, worst], "gain", "cost")
    assert all(f">run {index}<" in picture.svg for index in range(11))
    assert ">← worst<" in picture.svg
    assert "Further to the left than the picture: worst at -60." in picture.caption
    assert all(f">{tick}<" in picture.svg for tick in ("0.1", "0.2", "1", "2"))  # logarithmic: 0.1 and 1 both have room
    few = pareto("p", "Which?", points[:3], "gain", "cost")
    assert "← run" not in few.svg
    assert "Further" not in few.caption
    assert "better<" in few.svg
