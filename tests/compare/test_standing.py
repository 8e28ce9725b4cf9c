"""Statistics of a comparison on tables made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acclimate.paired.estimate import ALPHA
from acclimate.runs.cells import ItemScores, TextScores
from acclimate.types.errors import ConfigError
from acclimate.verbs.compare.schema import TuningSection
from acclimate.verbs.compare.standing import Standing, accuracy_changes, front, standings
from acclimate.verbs.compare.tuning import choose
from tests.compare.tables import DOCUMENTS, row, texts


def standing(found: list[Standing], method: str) -> Standing:
    return next(one for one in found if one.method == method)


def test_numbers_are_means_of_sets_and_seeds() -> None:
    rows = [row("mol", 0, found=texts(0.2, 0.1)), row("mol", 1, found=texts(0.3, 0.3))]
    (found,) = standings(rows, ["sft", "mol"])
    assert found.gain
    assert found.drift
    assert found.loss
    assert found.gain.value == pytest.approx(0.25)
    assert found.drift.value == pytest.approx(0.2)
    assert found.loss.value == pytest.approx(0.0)
    assert found.gain.seeds == ((0, pytest.approx(0.2)), (1, pytest.approx(0.3)))
    assert found.gain.estimate.low < -0.2 < 0.7 < found.gain.estimate.high  # the luck of two seeds: 0.25 +- 12.7 x 0.05


def test_parts_are_of_sums_and_loss_is_a_rise() -> None:
    """Two documents of unlike length and gain: the longer one counts for more; more nats elsewhere are a loss."""
    sizes, nats = [100.0, 300.0, 50.0], [60.0, 150.0, 40.0]
    plain = {"bytes": sizes, "tokens": [25.0, 75.0, 10.0], "base_nats": nats}
    domain = TextScores(role="domain", nats=[30.0, 135.0, 40.0], kl_base_tuned=[1.0, 1.0, 1.0], **plain)
    general = TextScores(role="general", nats=[66.0, 150.0, 44.0], kl_base_tuned=[5.0, 0.0, 6.0], **plain)
    (found,) = standings([row("mol", found={"domain": domain, "general": general})], ["mol"])
    assert found.gain
    assert found.drift
    assert found.loss
    assert found.gain.value == pytest.approx(1 - 205 / 250)
    assert found.loss.value == pytest.approx(260 / 250 - 1)
    assert found.drift.value == pytest.approx(11 / 110)


def test_of_two_documents_nothing_is_claimed() -> None:
    def few(part: float) -> dict[str, TextScores]:
        return {
            name: TextScores(**{k: v[:2] if isinstance(v, list) else v for k, v in vars(scores).items()})
            for name, scores in texts(part, 0.5 - part).items()
        }

    a, b = standings([row("a", found=few(0.3)), row("b", found=few(0.1))], ["a", "b"])
    assert a.gain
    assert not a.gain.estimate.bounded
    assert a.ahead_of(b)
    assert a.p_ahead_of(b) >= ALPHA


def test_copies_of_documents_are_no_more_documents() -> None:
    """Each document four times: drawn one by one they halve the interval, in groups they do not narrow it."""
    once = texts(0.2, 0.1, spread=0.05)

    def copied(groups: list[int]) -> dict[str, TextScores]:
        columns = {name: {k: v for k, v in vars(scores).items() if k != "groups"} for name, scores in once.items()}
        return {
            name: TextScores(**{k: 4 * v if isinstance(v, list) else v for k, v in given.items()}, groups=groups)
            for name, given in columns.items()
        }

    widths = []
    for found in (once, copied([]), copied(4 * list(range(DOCUMENTS)))):
        (standing,) = standings([row("mol", found=found)], ["mol"])
        assert standing.gain
        assert standing.gain.estimate.bounded
        widths.append(standing.gain.estimate.high - standing.gain.estimate.low)
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.1)
    assert widths[0] < widths[2] < 1.2 * widths[0]
    right, wrong = [1] * 20 + [0] * 20, [0] * 40
    alone, grouped = (
        accuracy_changes([row("mol", items={"q": ItemScores(wrong, right, groups)}, kind="panel")], "mol")
        for groups in ([], [i // 5 for i in range(40)])
    )
    assert grouped["q"].high - grouped["q"].low > 1.5 * (alone["q"].high - alone["q"].low)


def test_a_panel_counts_with_its_run() -> None:
    other = {"panel/news": replace(texts(0.1, 0.5)["general"])}
    rows = [row("mol", found=texts(0.2, 0.1)), row("mol", kind="panel", found=other)]
    (found,) = standings(rows, ["mol"])
    assert found.drift
    assert found.drift.value == pytest.approx((0.1 + 0.5) / 2)
    (found,) = standings([rows[0], replace(rows[1], key="of another run")], ["mol"])
    assert found.drift
    assert found.drift.value == pytest.approx(0.1)


def test_means_are_over_the_sets_that_all_have() -> None:
    other = {"panel/news": texts(0.1, 0.5)["general"]}
    rows = [row("a", found=texts(0.2, 0.1)), row("a", kind="panel", found=other), row("b", found=texts(0.2, 0.1))]
    a, b = standings(rows, ["a", "b"])
    assert a.drift
    assert b.drift
    assert a.drift.value == b.drift.value
    assert a.sets == b.sets == ("domain", "general")


def test_documents_are_drawn_together() -> None:
    """Two methods that differ by the same part of every document differ for certain, however documents spread."""
    rows = [
        row("a", found=texts(0.2, 0.1, spread=0.05)),
        row("b", found=texts(0.21, 0.11, spread=0.05)),
        row("same", found=texts(0.2, 0.1, spread=0.05)),
    ]
    found = standings(rows, ["a", "b", "same"])
    a, b, same = (standing(found, name) for name in ("a", "b", "same"))
    assert a.gain
    assert b.gain
    assert same.gain
    assert a.gain.estimate.high > b.gain.estimate.low  # each by itself would tell nothing
    assert b.gain.differs(a.gain)
    assert not same.gain.differs(a.gain)
    assert np.array_equal(same.gain.drawn, a.gain.drawn)


def test_the_interval_covers_what_it_says() -> None:
    """Of 200 samples of documents, about 95 % have the truth in their interval."""
    covered = 0
    for seed in range(200):
        (found,) = standings([row("a", found=texts(0.2, 0.1, spread=0.05, seed=seed))], ["a"])
        assert found.gain
        covered += found.gain.estimate.low <= 0.2 <= found.gain.estimate.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_claim_a_difference_no_more_often_than_said(seeds: int) -> None:
    """Two methods of the same true gain, whose runs differ by luck alone."""
    random, wrong = np.random.default_rng(seeds), 0
    for sample in range(300):
        luck = 0.01 * random.standard_normal((2, seeds))
        rows = [
            row(method, seed, found=texts(0.2 + luck[i, seed], 0.1, spread=0.01, seed=sample))
            for i, method in enumerate("ab")
            for seed in range(seeds)
        ]
        a, b = standings(rows, ["a", "b"])
        assert a.gain
        assert b.gain
        wrong += a.gain.differs(b.gain)
    assert wrong / 300 <= 0.08


def test_front_and_who_is_behind() -> None:
    rows = [
        row("greedy", found=texts(0.4, 0.5)),
        row("careful", found=texts(0.3, 0.1)),
        row("worse", found=texts(0.3, 0.4)),
        row("worst", found=texts(0.2, 0.6)),
    ]
    found = standings(rows, ["greedy", "careful", "worse", "worst"])
    assert [one.method for one in front(found)] == ["greedy", "careful"]
    careful, worse, worst = (standing(found, name) for name in ("careful", "worse", "worst"))
    assert careful.ahead_of(worse)
    assert careful.p_ahead_of(worse) >= ALPHA  # as much gain: that difference has no sign
    assert careful.p_ahead_of(worst) < ALPHA
    assert not worse.ahead_of(careful)
    assert not careful.ahead_of(careful)


def test_accuracy_is_paired_by_item() -> None:
    base = [1] * 50 + [0] * 50
    items = {"panel/exam": ItemScores(base=base, model=[1] * 40 + [0] * 60)}
    one = row("sft", kind="panel", items=items)
    found = accuracy_changes([one], "sft")["panel/exam"]
    assert (found.n, found.base, found.value) == (100, 0.5, pytest.approx(-0.1))
    assert found.low == pytest.approx(-0.17, abs=0.02)  # binomial: 0.1 +- 1.96 * 0.03
    assert found.high == pytest.approx(-0.05, abs=0.02)
    assert found.p == pytest.approx(2 / 2**10)  # ten lost, none won
    both = accuracy_changes([one, row("sft", 1, kind="panel", items=items)], "sft")["panel/exam"]
    assert both.value == pytest.approx(-0.1)
    assert both.low == pytest.approx(-0.16, abs=0.02)
    assert both.p < 0.01
    still = {"panel/exam": ItemScores(base=base, model=base)}
    for seeds in ([0], [0, 1]):
        found = accuracy_changes([row("sft", s, kind="panel", items=still) for s in seeds], "sft")["panel/exam"]
        assert -0.05 < found.low < 0 < found.high < 0.05  # no flip is no proof
        assert found.p == 1
        assert found.mde >= 0.03


def test_the_rule_that_chooses() -> None:
    trials = [
        row("m", kind="trial", found=texts(0.10, 0.01), key="low"),
        row("m", kind="trial", found=texts(0.19, 0.05), key="enough"),
        row("m", kind="trial", found=texts(0.20, 0.30), key="most"),
        row("m", kind="trial", outcome="diverged", key="diverged"),
    ]

    def chosen(**section: object) -> str | None:
        found = choose(trials, TuningSection.model_validate(section))
        return found.key if found else None

    assert chosen() == "enough"
    assert chosen(domain_gain=0.4) == "low"
    assert chosen(domain_gain=1) == "most"
    assert chosen(rule="domain") == "most"
    assert choose(trials[3:], TuningSection()) is None
    losing = [row("m", kind="trial", found=texts(g, d), key=f"{g}") for g, d in ((-0.1, 0.5), (-0.3, 0.1))]
    found = choose(losing, TuningSection())
    assert found
    assert found.key == "-0.1"  # nine tenths of a loss is no gain


def test_a_rule_needs_what_it_looks_at() -> None:
    without = {name: scores for name, scores in texts(0.1, 0.1).items() if name == "domain"}
    with pytest.raises(ConfigError, match=r"^tuning\.rule: retain looks at drift .* set rule: domain\.$"):
        choose([row("m", kind="trial", found=without)], TuningSection())
    with pytest.raises(ConfigError, match=r"^tuning: no domain source holds documents out"):
        choose([row("m", kind="trial")], TuningSection())
