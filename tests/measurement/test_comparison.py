"""Two runs are compared document by document, whatever order and selection each has."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from acclimate.paired.ratio import ratio
from acclimate.runs.comparison import compare_runs, compare_seeds
from acclimate.runs.scores import write_scores
from acclimate.types.errors import RunError
from tests.gates.runs import Scores, planted


def written(folder: Path, scores: Scores, places: list[str], base: str = "weights:a") -> Path:
    (folder / "eval").mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"model": {"digest": base}}))
    write_scores(folder / "eval" / "chat.jsonl", places, scores)
    return folder


def test_documents_are_matched_by_place(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scores = planted(random, 50, rise=0.01, kl=0.2)
    better = scores | {
        "nats": scores["nats"] - 0.02 * scores["bytes"] * math.log(2) * random.uniform(0.8, 1.2, 50),
        "kl_base_tuned": scores["kl_base_tuned"] * random.uniform(0.4, 0.6, 50),
    }
    places = [f"chat:{i}" for i in range(50)]
    order = random.permutation(50)[:40]
    run = written(tmp_path / "a", {k: v[order] for k, v in better.items()}, [places[i] for i in order])
    other = written(tmp_path / "b", scores, places)
    found = compare_runs(run, other, "chat")
    shared = np.sort(order)
    change = (better["nats"] - scores["nats"])[shared].sum() / math.log(2) / scores["bytes"][shared].sum()
    assert found["bits_per_byte"].value == pytest.approx(change)
    assert found["bits_per_byte"].n == 40
    assert found["bits_per_byte"].high < -0.015  # apart, although the two runs' own intervals overlap
    alone = [ratio(s["nats"] / math.log(2), s["bytes"]) for s in (better, scores)]
    assert alone[0].high > alone[1].low
    assert found["kl_base_tuned"].value == pytest.approx(
        (better["kl_base_tuned"] - scores["kl_base_tuned"])[shared].sum() / scores["tokens"][shared].sum()
    )
    assert (found["top1_agreement"].value, found["top1_agreement"].p) == (0, 1)


def test_other_documents_at_the_same_places_do_not_compare(tmp_path: Path) -> None:
    scores = planted(np.random.default_rng(0), 20)
    places = [f"chat:{i}" for i in range(20)]
    run = written(tmp_path / "a", scores, places)
    assert compare_runs(run, written(tmp_path / "b", scores | {"bytes": scores["bytes"] + 1}, places), "chat") == {}
    retokenised = scores | {"tokens": scores["tokens"] + 1}
    assert list(compare_runs(run, written(tmp_path / "c", retokenised, places), "chat")) == ["bits_per_byte"]
    elsewhere = written(tmp_path / "d", scores, places, base="weights:b")
    assert list(compare_runs(run, elsewhere, "chat")) == ["bits_per_byte"]
    with pytest.raises(RunError, match=r"eval/none.jsonl' cannot be read"):
        compare_runs(run, run, "none")


def seeded(folder: Path, scores: Scores, part: float, luck: list[float]) -> dict[int, Path]:
    """Runs whose divergence is that part of the scores', more or less by seed."""
    random = np.random.default_rng(0)
    return {
        seed: written(
            folder / str(seed),
            scores | {"kl_base_tuned": scores["kl_base_tuned"] * (part + more) * random.uniform(0.95, 1.05, 50)},
            [f"chat:{i}" for i in range(50)],
        )
        for seed, more in enumerate(luck)
    }


def test_seeds_are_paired_where_they_are_the_same(tmp_path: Path) -> None:
    """Luck that both methods share, seed by seed, is no luck of their difference."""
    scores, luck = planted(np.random.default_rng(0), 50, kl=0.2), [0.0, 0.3, -0.3]
    runs, others = seeded(tmp_path / "a", scores, 1.0, luck), seeded(tmp_path / "b", scores, 0.9, luck)
    paired = compare_seeds(runs, others, "chat", "kl_base_tuned")
    assert paired
    assert paired.low > 0
    assert paired.p < 0.01
    elsewhere = {seed + 10: path for seed, path in others.items()}
    apart = compare_seeds(runs, elsewhere, "chat", "kl_base_tuned")
    assert apart
    assert apart.value == pytest.approx(paired.value)
    assert apart.low < 0
    assert apart.p > 0.2
    one = compare_seeds({0: runs[0]}, {0: others[0]}, "chat", "kl_base_tuned")
    assert one == compare_runs(runs[0], others[0], "chat")["kl_base_tuned"]
    assert compare_seeds(runs, {0: tmp_path}, "chat", "kl_base_tuned") is None


def test_one_base_has_one_score(tmp_path: Path) -> None:
    scores, places = planted(np.random.default_rng(0), 40), [f"chat:{i}" for i in range(40)]
    run = written(tmp_path / "a", scores, places)
    other = written(tmp_path / "b", scores | {"base_nats": scores["nats"] * 1.01, "nats": scores["base_nats"]}, places)
    with pytest.raises(RunError, match="name one base, but it scores"):
        compare_runs(run, other, "chat")
